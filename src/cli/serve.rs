//! `serve`: answers on every listener until it is told to stop.

use std::env;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::process::{self, ExitCode};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use arc_swap::ArcSwap;
use fastcgi::listener::{Access, Family, ListenError, Listener, listening_family};
use fastcgi::server::{Handle, Server, Settings, Stopped};
use listenfd::ListenFd;
use nix::unistd::{Group, User};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use sd_notify::NotifyState;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::app::{self, Keys, Shared};
use crate::cli::{NO_THREAD, report};
use crate::config::{Config, Limits, UnixSocket};
use crate::http::Exchange;
use crate::logging::{Launcher, quoted};
use crate::service::Service;
use crate::time::{Clock, SystemClock};
use crate::transport::front::Front;

#[derive(clap::Args, Default)]
pub struct Arguments {
    /// Stop when standard input ends, too: with whoever holds its other end
    #[arg(long)]
    until_eof: bool,
}

/// What a reload changes, and what it needs.
struct Current {
    config: ArcSwap<Config>,
    shared: Shared,
    service: Arc<Service>,
}

pub fn run(config: Option<PathBuf>, arguments: &Arguments) -> Result<ExitCode> {
    // First: a SIGHUP from here on is a reload, and not the end. The other signals end a start,
    // as a token or a file system may keep it waiting.
    let signals = Signals::new([SIGHUP])?;
    let launcher = match descriptor_0() {
        Some(_) => Launcher::WebServer,
        None => Launcher::Operator,
    };
    let (config, _log) = super::start(config, launcher)?;
    let connections = room_for_connections(config.limits.connections);
    let limits = Limits { connections, ..config.limits.clone() };
    let shared = Shared::new(&config);
    let (responder, warnings) = app::responder(&config, &shared, Keys::AtOnce)?;
    app::try_out(&responder)?;
    report(&warnings);
    let service = Arc::new(Service::new(responder));
    let handler: Arc<dyn Exchange> = Arc::clone(&service) as _;
    let front = Front::new(handler, Arc::new(SystemClock), fastcgi_limits(&limits));
    let mut server = Server::new(front, settings(&limits))?;
    if arguments.until_eof {
        watch_stdin(server.handle())?;
    }
    for listener in listeners(&config)? {
        log::info!("listening: on={}", quoted(describe(&listener)));
        server.listen(listener)?;
    }
    let current = Arc::new(Current { config: ArcSwap::from_pointee(config), shared, service });
    watch_signals(signals, server.handle(), Arc::clone(&current))?;
    look_after_daily(current)?;
    log::info!("started: version={} pid={}", env!("CARGO_PKG_VERSION"), process::id());
    notify(NotifyState::Ready);
    let stopped = server.run().context(NO_THREAD)?;
    match stopped {
        Stopped::Finished => log::info!("stopped"),
        Stopped::Unfinished(left) => {
            log::warn!("stopped before all was answered: connections={left}")
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Whether whoever started the program has handed it a listening socket.
pub fn is_handed_a_listener() -> bool {
    let for_us = env::var("LISTEN_PID").map_or(true, |pid| pid == process::id().to_string());
    descriptor_0().is_some() || (for_us && env::var_os("LISTEN_FDS").is_some())
}

/// The family of the listening socket that descriptor 0 is (FastCGI 1.0 section 2.2).
fn descriptor_0() -> Option<Family> {
    listening_family(io::stdin())
}

/// Descriptor 0 alone, where that is one: whoever hands it over starts several
/// processes, which could not all bind the configured addresses. Otherwise
/// systemd's sockets and the configured addresses together.
fn listeners(config: &Config) -> Result<Vec<Listener>> {
    if descriptor_0().is_some() {
        let socket = io::stdin().as_fd().try_clone_to_owned()?;
        return Ok(vec![Listener::inherited(socket)?]);
    }
    let mut listeners = handed_by_systemd()?;
    if let Some(port) = config.listen.port {
        listeners.append(&mut tcp(port, config)?);
    }
    if let Some(socket) = &config.listen.unix {
        listeners.push(unix(socket)?);
    }
    if listeners.is_empty() {
        bail!(
            "{}: no port and no [listen] unix, and nobody handed over a socket, wanted: one of them",
            config.path.display()
        );
    }
    Ok(listeners)
}

fn handed_by_systemd() -> Result<Vec<Listener>> {
    let mut handed = ListenFd::from_env();
    let mut listeners = Vec::new();
    for index in 0..handed.len() {
        let unix = handed.take_unix_listener(index).ok().flatten().map(OwnedFd::from);
        let socket = match unix {
            Some(socket) => Some(socket),
            None => handed.take_tcp_listener(index)?.map(OwnedFd::from),
        };
        if let Some(socket) = socket {
            listeners.push(Listener::inherited(socket)?);
        }
    }
    Ok(listeners)
}

/// Every address must be free; one that the machine does not have (IPv6 switched
/// off, say) is left out as long as another one is there.
fn tcp(port: u16, config: &Config) -> Result<Vec<Listener>> {
    let mut listeners = Vec::new();
    let mut missing = None;
    for address in &config.listen.addresses {
        match Listener::tcp(SocketAddr::new(*address, port)) {
            Ok(listener) => listeners.push(listener),
            Err(error) if is_absent(&error) => {
                log::info!("address not on this machine, left out: address={address}");
                missing = Some(error);
            }
            Err(error) => return Err(anyhow!(error).context("listening")),
        }
    }
    match missing {
        Some(error) if listeners.is_empty() => Err(anyhow!(error).context("listening")),
        _ => Ok(listeners),
    }
}

/// Whether an address could be listened on, for `check`.
pub(super) fn try_tcp(address: SocketAddr) -> Tried {
    match Listener::try_tcp(address) {
        Ok(()) => Tried::Free,
        Err(error) if is_absent(&error) => Tried::Absent,
        Err(ListenError::System { source, .. }) if source.kind() == io::ErrorKind::AddrInUse => {
            Tried::InUse
        }
        Err(error) => Tried::Refused(anyhow!(error)),
    }
}

/// What became of an attempt to listen.
pub(super) enum Tried {
    Free,
    /// By the service itself, perhaps.
    InUse,
    /// The machine does not have the address.
    Absent,
    Refused(anyhow::Error),
}

/// Not what a folder that is closed says (EACCES).
fn is_refused(error: &ListenError) -> bool {
    let ListenError::System { source, .. } = error else { return false };
    source.raw_os_error() == Some(nix::libc::EPERM)
}

fn is_absent(error: &ListenError) -> bool {
    let ListenError::System { source, .. } = error else { return false };
    source.kind() == io::ErrorKind::AddrNotAvailable
        || source.raw_os_error() == Some(nix::libc::EAFNOSUPPORT)
}

fn unix(socket: &UnixSocket) -> Result<Listener> {
    let access = access(socket)?;
    Listener::unix(&socket.path, access).map_err(|error| not_listening(error, access))
}

/// Whether the socket could be made, for `check`.
pub(super) fn try_unix(socket: &UnixSocket) -> Result<()> {
    let access = access(socket)?;
    Listener::try_unix(&socket.path, access).map_err(|error| not_listening(error, access))
}

fn access(socket: &UnixSocket) -> Result<Access> {
    let owner = socket.owner.as_deref().map(user_id).transpose()?;
    let group = socket.group.as_deref().map(group_id).transpose()?;
    Ok(Access { mode: socket.mode, owner, group })
}

fn not_listening(error: ListenError, access: Access) -> anyhow::Error {
    let refused = is_refused(&error);
    let error = anyhow!(error).context("listening");
    if refused && (access.owner.is_some() || access.group.is_some()) {
        error.context("unix_owner, unix_group: only root, or a member of the group, may set them")
    } else {
        error
    }
}

fn user_id(name: &str) -> Result<u32> {
    if let Ok(id) = name.parse() {
        return Ok(id);
    }
    let user = User::from_name(name)?.with_context(|| format!("unix_owner: no user {name}"))?;
    Ok(user.uid.as_raw())
}

fn group_id(name: &str) -> Result<u32> {
    if let Ok(id) = name.parse() {
        return Ok(id);
    }
    let group = Group::from_name(name)?.with_context(|| format!("unix_group: no group {name}"))?;
    Ok(group.gid.as_raw())
}

fn describe(listener: &Listener) -> String {
    match (listener.tcp_address(), listener.family()) {
        (Some(address), _) => address.to_string(),
        (None, Family::Tcp) => "tcp".to_owned(),
        (None, Family::Unix) => "unix".to_owned(),
    }
}

fn settings(limits: &Limits) -> Settings {
    Settings {
        workers: limits.workers,
        connections: limits.connections,
        read_timeout: limits.read_timeout,
        idle_timeout: limits.idle_timeout,
        write_timeout: limits.read_timeout,
        ..Settings::default()
    }
}

fn fastcgi_limits(limits: &Limits) -> fastcgi::connection::Limits {
    fastcgi::connection::Limits {
        stdin_bytes: limits.request_bytes,
        connections: limits.connections,
        ..Default::default()
    }
}

/// SIGTERM and SIGINT stop, SIGHUP reloads: in a thread of its own, as a token or a file
/// system that does not answer must not keep the program from its end.
fn watch_signals(mut signals: Signals, handle: Handle, current: Arc<Current>) -> Result<()> {
    for signal in [SIGTERM, SIGINT] {
        signals.add_signal(signal)?;
    }
    // One that waits is enough for all that come meanwhile.
    let (wake, woken) = mpsc::sync_channel(1);
    in_thread("reload", move || {
        for () in woken {
            notify(NotifyState::Reloading);
            reload(&current);
            notify(NotifyState::Ready);
        }
    })?;
    in_thread("signals", move || {
        for signal in &mut signals {
            if signal == SIGHUP {
                let _one_waits = wake.try_send(());
            } else {
                notify(NotifyState::Stopping);
                handle.stop();
            }
        }
    })
}

fn watch_stdin(handle: Handle) -> Result<()> {
    in_thread("stdin", move || {
        let _ended = io::copy(&mut io::stdin().lock(), &mut io::sink());
        handle.stop();
    })
}

/// Each connection takes a descriptor, and the usual limit is 1024: raised as far as
/// may be. Some are left for the database, the cache and reloads: without them
/// strangers who only connect would keep the answers from everybody.
fn room_for_connections(wanted: usize) -> usize {
    let all = u64::try_from(wanted).unwrap_or(u64::MAX).saturating_add(OTHER_DESCRIPTORS);
    let limit = getrlimit(Resource::Nofile);
    let allowed = limit.maximum.map_or(all, |maximum| all.min(maximum));
    let mut current = limit.current.unwrap_or(u64::MAX);
    if current < allowed {
        let raised = Rlimit { current: Some(allowed), maximum: limit.maximum };
        if setrlimit(Resource::Nofile, raised).is_ok() {
            current = allowed;
        }
    }
    let room = current.saturating_sub(OTHER_DESCRIPTORS.min(current / 2));
    let connections = usize::try_from(room).unwrap_or(usize::MAX).min(wanted);
    if connections < wanted {
        log::warn!(
            "fewer connections than configured, as descriptors are limited: \
             connections={connections} configured={wanted} descriptors={current}"
        );
    }
    connections
}

/// Reads everything anew and swaps it whole, or keeps the old and says why.
fn reload(current: &Current) {
    let fresh = || -> Result<_> {
        let (mut config, warnings) = Config::load(&current.config.load().path)?;
        for warning in warnings {
            log::warn!("configuration: {warning}");
        }
        let kept = config.keep_what_takes_a_restart(&current.config.load());
        let (responder, mut warnings) = app::responder(&config, &current.shared, Keys::AtOnce)?;
        app::try_out(&responder)?;
        if !kept.is_empty() {
            let kept = kept.join(", ");
            warnings.push(format!("changed, and needs a restart to take effect: {kept}"));
        }
        Ok((config, responder, warnings))
    };
    match fresh() {
        Ok((config, responder, warnings)) => {
            report(&warnings);
            current.service.replace(responder);
            log::info!("reloaded: configuration={}", quoted(config.path.display()));
            current.config.store(Arc::new(config));
        }
        Err(error) => {
            log::error!("not reloaded, going on as before: error={}", quoted(format!("{error:#}")));
        }
    }
}

/// Once a day: sweeps the cache folder, and warns of certificates that end. Ends with
/// the process.
fn look_after_daily(current: Arc<Current>) -> Result<()> {
    in_thread("daily", move || {
        loop {
            // Not kept through the day: a reload is to be rid of its keys and connections.
            let swept = app::sweep(&current.config.load(), &current.service.responder());
            match swept {
                Ok(0) => {}
                Ok(removed) => log::info!("cache swept: removed={removed}"),
                Err(error) => {
                    log::warn!("cache not swept: error={}", quoted(format!("{error:#}")));
                }
            }
            thread::sleep(DAY);
            report(&app::endings(&current.service.responder(), SystemClock.now()));
        }
    })
}

/// Goes on with this in a thread of its own, to the end of the process.
fn in_thread(name: &str, work: impl FnOnce() + Send + 'static) -> Result<()> {
    let started = thread::Builder::new().name(name.to_owned()).spawn(work);
    started.map(drop).context(NO_THREAD)
}

fn notify(state: NotifyState<'_>) {
    let _not_under_systemd = sd_notify::notify(&[state]);
}

const DAY: Duration = Duration::from_secs(86_400);

/// What is kept from connections.
const OTHER_DESCRIPTORS: u64 = 256;
