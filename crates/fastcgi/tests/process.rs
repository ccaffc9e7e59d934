//! What takes a process of its own: descriptors running out, a core that spins.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "allowed in tests, but clippy does not see that helpers are part of them"
)]

mod support;

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use fastcgi::connection::{Application, FastCgi, Limits, Request};
use fastcgi::listener::Listener;
use fastcgi::record::Stdout;
use fastcgi::server::{Handle, Server, Settings, Stopped};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketType};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::time::{ClockId, clock_gettime};

use support::{After, Client, Echo, PATIENCE, request, settings};

/// One test at a time: they share the process's limits, log and processor time.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

struct Log(Mutex<Vec<String>>);

static LOG: Log = Log(Mutex::new(Vec::new()));

impl log::Log for Log {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        self.0.lock().unwrap().push(format!("{} {}", record.level(), record.args()));
    }

    fn flush(&self) {}
}

fn serve(path: &Path) -> (Handle, JoinHandle<io::Result<Stopped>>) {
    serve_with(path, Echo, settings())
}

fn serve_with(
    path: &Path,
    application: impl Application,
    settings: Settings,
) -> (Handle, JoinHandle<io::Result<Stopped>>) {
    let listener = Listener::inherited(UnixListener::bind(path).unwrap().into()).unwrap();
    let mut server = Server::new(FastCgi::new(application, Limits::default()), settings).unwrap();
    server.listen(listener).unwrap();
    let handle = server.handle();
    (handle, std::thread::spawn(move || server.run()))
}

/// Leaves the process no descriptor beyond those it has.
fn exhaust_descriptors() -> Rlimit {
    let before = getrlimit(Resource::Nofile);
    let highest = fs::read_dir("/proc/self/fd")
        .unwrap()
        .filter_map(|entry| entry.unwrap().file_name().to_str()?.parse::<u64>().ok())
        .max();
    // Gaps below the highest one are filled.
    let limit = highest.unwrap();
    setrlimit(Resource::Nofile, Rlimit { current: Some(limit), maximum: before.maximum }).unwrap();
    before
}

fn fill_gaps() -> Vec<fs::File> {
    std::iter::from_fn(|| fs::File::open("/dev/null").ok()).collect()
}

fn unconnected() -> OwnedFd {
    rustix::net::socket(AddressFamily::UNIX, SocketType::STREAM, None).unwrap()
}

fn connect(socket: OwnedFd, path: &Path) -> Client {
    rustix::net::connect(&socket, &SocketAddrUnix::new(path).unwrap()).unwrap();
    UnixStream::from(socket).into()
}

/// Processor time of this process so far. Takes no descriptor.
fn cpu_time() -> Duration {
    clock_gettime(ClockId::ProcessCPUTime).try_into().unwrap()
}

/// More than a process at rest takes in 500 ms (it is less than 1 ms), and less
/// than one that spins gets on a busy machine.
const RESTFUL: Duration = Duration::from_millis(50);

/// Processor time that the process takes while nothing should happen.
fn cpu_time_at_rest() -> Duration {
    let before = cpu_time();
    std::thread::sleep(Duration::from_millis(500));
    cpu_time() - before
}

fn begin_log() {
    let _ = log::set_logger(&LOG);
    log::set_max_level(log::LevelFilter::Info);
    LOG.0.lock().unwrap().clear();
}

fn wait_for_log(text: &str) {
    let start = Instant::now();
    while !LOG.0.lock().unwrap().iter().any(|line| line.contains(text)) {
        assert!(start.elapsed() < PATIENCE, "never logged: {text}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

// rule: FCG-3
#[test]
fn without_descriptors_connections_wait_and_are_served_once_there_are_some() {
    let _alone = alone();
    begin_log();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("socket");
    let (handle, thread) = serve(&path);
    let mut first = connect(unconnected(), &path);
    first.ask(&request(1, After::Close, "/first", b""));
    first.expect_end(); // its descriptor is free again
    // The second time within a minute is only counted.
    for _ in 0..2 {
        let sockets: Vec<OwnedFd> = (0..10).map(|_| unconnected()).collect();
        let before = exhaust_descriptors();
        let filled = fill_gaps();

        let mut clients: Vec<Client> =
            sockets.into_iter().map(|socket| connect(socket, &path)).collect();
        clients.iter_mut().for_each(|client| client.send(&request(1, After::Close, "/a", b"")));
        wait_for_log("connections have to wait");
        let spent = cpu_time_at_rest();
        setrlimit(Resource::Nofile, before).unwrap();
        drop(filled);
        assert!(spent < RESTFUL, "{spent:?} of 500 ms");

        for client in &mut clients {
            assert_eq!(client.answer().text(), "/a pairs=2 ");
            client.expect_end(); // its descriptor is free again
        }
    }
    handle.stop();
    thread.join().unwrap().unwrap();
    let log = LOG.0.lock().unwrap();
    assert_eq!(log.len(), 2, "{log:?}");
    assert!(log[0].starts_with("ERROR connections have to wait: error="), "{log:?}");
    assert!(log[1].starts_with("INFO connections are accepted again: failures="), "{log:?}");
}

// rule: FCG-3
#[test]
fn where_all_connections_are_in_the_middle_of_a_request_the_log_says_so() {
    let _alone = alone();
    begin_log();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("socket");
    let settings = Settings { connections: 2, ..settings() };
    let (handle, thread) = serve_with(&path, Echo, settings);
    let octets = request(1, After::Close, "/a", b"");
    let mut clients = [(); 3].map(|()| {
        let mut client = connect(unconnected(), &path);
        client.send(&octets[..1]);
        client
    });
    wait_for_log("connections have to wait");
    for client in &mut clients {
        client.send(&octets[1..]);
        assert_eq!(client.answer().text(), "/a pairs=2 ");
    }
    handle.stop();
    thread.join().unwrap().unwrap();
    let log = LOG.0.lock().unwrap();
    assert_eq!(log.len(), 2, "{log:?}");
    let line = "WARN connections have to wait: all that may be are in use: connections=2";
    assert_eq!(log[0], line);
    assert!(log[1].starts_with("INFO connections are accepted again: failures="), "{log:?}");
}

// rule: FCG-3
#[test]
fn without_descriptors_an_idle_connection_makes_room() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("socket");
    let (handle, thread) = serve(&path);
    let mut idle = connect(unconnected(), &path);
    idle.ask(&request(1, After::Keep, "/idle", b""));
    let socket = unconnected();
    let before = exhaust_descriptors();
    let filled = fill_gaps();
    let mut client = connect(socket, &path);
    client.send(&request(1, After::Close, "/a", b""));
    let answer = client.answer();
    setrlimit(Resource::Nofile, before).unwrap();
    drop(filled);
    assert_eq!(answer.text(), "/a pairs=2 ");
    idle.expect_end();
    handle.stop();
    thread.join().unwrap().unwrap();
}

// rule: FCG-2
#[test]
fn peers_that_left_or_are_silent_take_no_processor_time() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("socket");
    let (handle, thread) = serve(&path);
    let whole = request(1, After::Keep, "/a", b"");
    let mut clients = Vec::new();
    for length in (0..whole.len()).step_by(7) {
        drop(connect(unconnected(), &path));
        let mut leaves = connect(unconnected(), &path);
        leaves.send(&whole[..length]);
        let mut stays = connect(unconnected(), &path);
        stays.send(&whole[..length]);
        clients.push(stays);
    }
    connect(unconnected(), &path).ask(&whole);
    let spent = cpu_time_at_rest();
    handle.stop();
    drop(clients);
    thread.join().unwrap().unwrap();
    assert!(spent < RESTFUL, "{spent:?} of 500 ms");
}

/// Takes its time.
struct Slow(Mutex<Receiver<()>>);

impl Application for Slow {
    fn respond(&self, _: &Request<'_>, _: &mut Stdout<'_>, before_waiting: &dyn Fn()) {
        before_waiting();
        let _ = self.0.lock().unwrap().recv_timeout(PATIENCE);
    }
}

// rule: FCG-2
#[test]
fn octets_sent_during_a_request_wake_nobody() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("socket");
    let (go, may_go) = channel();
    let (handle, thread) = serve_with(&path, Slow(Mutex::new(may_go)), settings());
    let whole = request(1, After::Keep, "/a", b"");
    let mut client = connect(unconnected(), &path);
    for part in [&whole[..20], &whole[20..], &whole[..20]] {
        client.send(part);
        std::thread::sleep(Duration::from_millis(20)); // each is read, or waits, alone
    }
    let spent = cpu_time_at_rest();
    go.send(()).unwrap();
    client.answer();
    drop(client);
    handle.stop();
    thread.join().unwrap().unwrap();
    assert!(spent < RESTFUL, "{spent:?} of 500 ms");
}
