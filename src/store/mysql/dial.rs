//! Makes connections to one host at a time, each with its statement prepared.
//!
//! Bounded in time whatever happens: a name server, the queue of a Unix socket
//! and a TLS peer can all be slower than the time-outs of a socket allow, so a
//! thread of its own makes the connection and the caller stops waiting for it.

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use mysql::consts::{CapabilityFlags, StatusFlags};
use mysql::prelude::{AsStatement, Queryable};
use mysql::{Conn, Opts, OptsBuilder, SslOpts, Statement, Value};
use mysql_common::packets::HandshakePacket;

use crate::store::mapping::{Dialect, Parameter};
use crate::store::mysql::errors::{NO_ANSWER, words};
use crate::store::mysql::session::{Session, set_up};
use crate::store::mysql::values::{columns, value};
use crate::store::mysql::{Host, Options, Tls};
use crate::store::row::Row;

/// A session and its statement.
pub(super) struct Link {
    session: Session,
    statement: Statement,
    /// The place of its host among [`Options::hosts`].
    pub host: usize,
    /// Questions that it has answered.
    pub questions: u32,
}

/// Makes connections.
pub(super) struct Dialler {
    pub options: Options,
    /// Attempts under way for each host, those given up by their callers included.
    attempts: Vec<AtomicUsize>,
}

impl Link {
    /// The rows under any of the keys.
    pub(super) fn rows(&mut self, parameters: &[Parameter]) -> mysql::Result<Vec<Row>> {
        self.session.still_joined()?;
        rows(&mut self.session.conn, &self.statement, parameters)
    }

    /// What another statement finds; it is prepared once.
    pub(super) fn rows_by<T>(
        &mut self,
        statement: &str,
        parameters: &[Parameter],
        read: impl Fn(&mysql::Row) -> T,
    ) -> mysql::Result<Vec<T>> {
        self.session.still_joined()?;
        rows_as(&mut self.session.conn, statement, parameters, read)
    }
}

/// The rows that a statement finds with these parameters.
pub(super) fn rows(
    conn: &mut Conn,
    statement: &Statement,
    parameters: &[Parameter],
) -> mysql::Result<Vec<Row>> {
    rows_as(conn, statement, parameters, columns)
}

fn rows_as<T>(
    conn: &mut Conn,
    statement: impl AsStatement,
    parameters: &[Parameter],
    read: impl Fn(&mysql::Row) -> T,
) -> mysql::Result<Vec<T>> {
    let parameters: Vec<Value> = parameters.iter().map(value).collect();
    let mut rows = Vec::new();
    for row in conn.exec_iter(statement, parameters)? {
        rows.push(read(&row?));
    }
    Ok(rows)
}

impl Dialler {
    pub(super) fn new(options: Options) -> Self {
        let attempts = options.hosts.iter().map(|_| AtomicUsize::new(0)).collect();
        Self { options, attempts }
    }

    /// A connection to a host with its statement prepared; why not, otherwise.
    pub(super) fn dial(self: &Arc<Self>, host: usize) -> Result<Link, String> {
        self.within_limit(host, move |dialler| {
            let mut session = dialler.connect(host)?;
            let statement = session.conn.prep(dialler.statement());
            let statement = statement.map_err(|error| words(&error))?;
            Ok(Link { session, statement, host, questions: 0 })
        })
    }

    /// A connection to a host without a statement; why not, otherwise.
    pub(super) fn connection(self: &Arc<Self>, host: usize) -> Result<Conn, String> {
        self.within_limit(host, move |dialler| Ok(dialler.connect(host)?.conn))
    }

    /// The question that each find asks.
    pub(super) fn statement(&self) -> String {
        self.options.mapping.statement(Dialect::Mysql)
    }

    /// The host as messages name it.
    pub(super) fn name(&self, host: usize) -> String {
        self.options.hosts.get(host).map(ToString::to_string).unwrap_or_default()
    }

    fn within_limit<T: Send + 'static>(
        self: &Arc<Self>,
        host: usize,
        work: impl FnOnce(&Self) -> Result<T, String> + Send + 'static,
    ) -> Result<T, String> {
        let attempt = Attempt::begin(Arc::clone(self), host)
            .ok_or("earlier attempts to connect have not ended yet")?;
        let (sender, receiver) = mpsc::sync_channel(1);
        thread::Builder::new()
            .name("database".into())
            .spawn(move || {
                // Nobody listens any more when it took too long: it is closed.
                let _ = sender.send(work(&attempt.dialler));
            })
            .map_err(|error| format!("no thread to connect with: {error}"))?;
        match receiver.recv_timeout(self.limit()) {
            Ok(result) => result,
            Err(RecvTimeoutError::Timeout) => Err(NO_ANSWER.into()),
            Err(RecvTimeoutError::Disconnected) => Err("unexpected words from the server".into()),
        }
    }

    /// The longest that making one connection may take.
    fn limit(&self) -> Duration {
        self.options.connect_timeout.saturating_add(self.options.timeout)
    }

    fn connect(&self, host: usize) -> Result<Session, String> {
        let mut problem = "its name has no address".to_owned();
        for opts in self.routes(host)? {
            let conn = Conn::new(opts).map_err(|error| words(&error));
            match conn.and_then(|conn| set_up(conn, self.options.timeout)) {
                Ok(session) => return Ok(session),
                Err(error) => problem = error,
            }
        }
        Err(problem)
    }

    /// The ways to a host, to be tried one after the other.
    fn routes(&self, host: usize) -> Result<Vec<Opts>, String> {
        let options = self.common()?;
        match self.options.hosts.get(host) {
            None => Ok(Vec::new()),
            Some(Host::Unix(path)) => {
                let path = path.to_str().ok_or("the path of its socket is not UTF-8")?;
                Ok(vec![options.socket(Some(path)).into()])
            }
            Some(Host::Tcp { host, port }) => {
                let addresses = (host.as_str(), *port).to_socket_addrs();
                let addresses = addresses.map_err(|error| error.to_string())?;
                // The crate goes through them: silent ones are not to leave no time for the last.
                let number = u32::try_from(addresses.len()).unwrap_or(u32::MAX).max(1);
                let share = self.options.connect_timeout / number;
                let options = options.tcp_connect_timeout(Some(share));
                let options = options.ip_or_hostname(Some(host)).tcp_port(*port);
                let bound = |local| options.clone().bind_address(Some(local)).into();
                Ok(local_addresses(addresses).into_iter().map(bound).collect())
            }
        }
    }

    /// What is the same for every host.
    fn common(&self) -> Result<OptsBuilder, String> {
        let options = &self.options;
        let text = |text: &String| Some(text.clone()).filter(|text| !text.is_empty());
        Ok(OptsBuilder::new()
            // A socket only where the configuration says so.
            .prefer_socket(false)
            .user(text(&options.user))
            .pass(text(&options.password))
            .db_name(text(&options.name))
            .read_timeout(Some(options.timeout))
            .write_timeout(Some(options.timeout))
            .tcp_nodelay(true)
            .tcp_keepalive_time_ms(Some(KEEPALIVE_MILLISECONDS))
            .tcp_keepalive_probe_interval_secs(Some(10))
            .tcp_keepalive_probe_count(Some(3))
            // Otherwise a question of the crate's own on each connection.
            .max_allowed_packet(Some(MAX_PACKET))
            .ssl_opts(ssl(&options.tls)?))
    }
}

/// For a process that asks one question, and has other things to do first: has the crate
/// compile, in the background, the regular expressions that it reads a server's version
/// with. They take longer than all else about a connection to the same machine.
pub fn get_ready() {
    let compile = || {
        let (version, none) = (&b"5.5.5-10.11.0-MariaDB"[..], None::<&[u8]>);
        let (capabilities, flags) = (CapabilityFlags::empty(), StatusFlags::empty());
        let greeting =
            HandshakePacket::new(10, version, 0, [0; 8], none, capabilities, 0, flags, none);
        black_box((greeting.server_version_parsed(), greeting.maria_db_server_version_parsed()));
    };
    // Without a thread it is done later.
    let _ = thread::Builder::new().name("database".into()).spawn(compile);
}

/// One attempt under way; ends when dropped.
struct Attempt {
    dialler: Arc<Dialler>,
    host: usize,
}

impl Attempt {
    /// `None` when so many are under way that the host must be stuck.
    #[allow(deprecated, reason = "its other name, try_update, is newer than Rust 1.90")]
    fn begin(dialler: Arc<Dialler>, host: usize) -> Option<Self> {
        let most = dialler.options.connections.saturating_mul(2).saturating_add(1);
        let count = dialler.attempts.get(host)?;
        count
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |count| {
                (count < most).then_some(count + 1)
            })
            .ok()?;
        Some(Self { dialler, host })
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        if let Some(count) = self.dialler.attempts.get(self.host) {
            count.fetch_sub(1, Ordering::AcqRel);
        }
    }
}

/// The local address to bind for each family among the addresses of a host, in
/// their order. Without one the crate stops at the first address that refuses:
/// `localhost` with a server on 127.0.0.1 alone would never be reached.
fn local_addresses(addresses: impl Iterator<Item = SocketAddr>) -> Vec<SocketAddr> {
    let mut local = Vec::new();
    for address in addresses {
        let any = match address {
            SocketAddr::V4(_) => IpAddr::from(Ipv4Addr::UNSPECIFIED),
            SocketAddr::V6(_) => IpAddr::from(Ipv6Addr::UNSPECIFIED),
        };
        let any = SocketAddr::new(any, 0);
        if !local.contains(&any) {
            local.push(any);
        }
    }
    local
}

fn ssl(tls: &Tls) -> Result<Option<SslOpts>, String> {
    let Tls::Required { ca } = tls else { return Ok(None) };
    if let Some(path) = ca {
        // The crate says neither which file is missing nor that it holds none.
        let place = path.display();
        let pem = std::fs::read(path).map_err(|error| format!("{place}: {error}"))?;
        native_tls::Certificate::from_pem(&pem)
            .or_else(|_| native_tls::Certificate::from_der(&pem))
            .map_err(|error| format!("{place}: no certificate: {error}"))?;
    }
    Ok(Some(SslOpts::default().with_root_cert_path(ca.clone())))
}

const KEEPALIVE_MILLISECONDS: u32 = 30_000;
/// The most that a server can be told. A row that were too long for the crate would count as a
/// server that is away, for all who ask.
const MAX_PACKET: usize = 1 << 30;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::mapping::Mapping;

    #[test]
    fn a_host_that_is_stuck_has_no_more_attempts_than_twice_its_connections_and_one() {
        let dialler = Arc::new(Dialler::new(Options {
            hosts: vec![Host::Unix("/nowhere".into()), Host::Unix("/nowhere-else".into())],
            user: String::new(),
            password: String::new(),
            name: String::new(),
            mapping: Mapping::of_table("list_certs"),
            connections: 2,
            renew_after: 1,
            connect_timeout: Duration::ZERO,
            timeout: Duration::ZERO,
            retry_pause: Duration::ZERO,
            tls: Tls::Off,
        }));
        let begin = |host| Attempt::begin(Arc::clone(&dialler), host);
        let mut attempts: Vec<_> = (0..5).map(|_| begin(0).unwrap()).collect();
        assert!(begin(0).is_none());
        assert!(begin(1).is_some(), "each host for itself");
        attempts.pop();
        assert!(begin(0).is_some());
    }

    #[test]
    fn every_family_of_a_host_is_tried_once_in_its_order() {
        let addresses = ["[::1]:1", "127.0.0.1:1", "127.0.0.2:1"].map(|a| a.parse().unwrap());
        let local = local_addresses(addresses.into_iter());
        assert_eq!(local, ["[::]:0", "0.0.0.0:0"].map(|a| a.parse::<SocketAddr>().unwrap()));
    }
}
