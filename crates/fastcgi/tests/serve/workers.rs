//! Few workers, many connections.

use std::collections::HashSet;
use std::io::{Read, Write};
use std::net::Shutdown;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Barrier, Mutex};
use std::thread::ThreadId;
use std::time::{Duration, Instant};

use fastcgi::connection::{Application, Limits, Request};
use fastcgi::record::Stdout;
use fastcgi::server::Settings;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::running::{Answering, Running, Transport};
use crate::support::{After, Client, Echo, PATIENCE, request, settings};

fn ask(client: &mut Client) {
    assert_eq!(client.ask(&request(1, After::Keep, "/a", b"x")), "/a pairs=2 x");
}

fn allow_many_descriptors() {
    let maximum = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).unwrap();
}

// rule: FCG-2
#[test]
fn a_thousand_idle_connections_hold_no_worker() {
    allow_many_descriptors();
    let settings = Settings { connections: 2000, ..settings() };
    let server = Running::start(Transport::Unix, settings, Limits::default(), Echo);
    let mut idle: Vec<Client> = (0..1000).map(|_| server.connect()).collect();
    idle.iter_mut().step_by(2).for_each(ask); // the others are silent from the start
    let mut times: Vec<Duration> = (0..11)
        .map(|_| {
            let start = Instant::now();
            ask(&mut server.connect());
            start.elapsed()
        })
        .collect();
    times.sort();
    assert!(times[5] < Duration::from_millis(500), "{times:?}");
    idle.iter_mut().for_each(ask);
}

// rule: FCG-2
#[test]
fn unfinished_requests_hold_no_worker() {
    let settings = Settings { workers: 2, ..settings() };
    let server = Running::start(Transport::Unix, settings, Limits::default(), Echo);
    let octets = request(1, After::Keep, "/a", b"x");
    let (first, rest) = octets.split_at(30);
    let mut slow: Vec<Client> = (0..20).map(|_| server.connect()).collect();
    slow.iter_mut().for_each(|client| client.send(first));
    ask(&mut server.connect());
    for client in &mut slow {
        assert_eq!(client.ask(rest), "/a pairs=2 x");
    }
}

// rule: FCG-1
#[test]
fn more_busy_connections_than_workers_are_all_served() {
    for workers in [1, 4] {
        let settings = Settings { workers, ..settings() };
        let server = Running::start(Transport::Unix, settings, Limits::default(), Echo);
        std::thread::scope(|scope| {
            for _ in 0..32 {
                scope.spawn(|| {
                    let mut client = server.connect();
                    (0..50).for_each(|_| ask(&mut client));
                });
            }
        });
    }
}

#[test]
fn connections_of_one_request_each_are_all_served() {
    for transport in [Transport::Tcp, Transport::Unix] {
        let server = Running::echo(transport);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..100 {
                        let mut client = server.connect();
                        client.ask(&request(1, After::Close, "/a", b""));
                        client.expect_end();
                    }
                });
            }
        });
    }
}

#[test]
fn as_many_requests_are_answered_at_once_as_there_are_workers() {
    // Each answer waits for all the others.
    let barrier = Arc::new(Barrier::new(16));
    let application = Answering(move |_: &Request<'_>, stdout: &mut Stdout<'_>| {
        barrier.wait();
        stdout.extend_from_slice(b"together");
    });
    let settings = Settings { workers: 16, ..settings() };
    let server = Running::start(Transport::Unix, settings, Limits::default(), application);
    let mut clients: Vec<Client> = (0..16).map(|_| server.connect()).collect();
    clients.iter_mut().for_each(|client| client.send(&request(1, After::Keep, "/a", b"")));
    for client in &mut clients {
        assert_eq!(client.answer().text(), "together");
    }
}

#[test]
fn no_more_requests_are_answered_at_once_than_there_are_workers() {
    let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let seen = Arc::clone(&most);
    let application = Answering(move |_: &Request<'_>, _: &mut Stdout<'_>| {
        most.fetch_max(now.fetch_add(1, SeqCst) + 1, SeqCst);
        std::thread::sleep(Duration::from_millis(5));
        now.fetch_sub(1, SeqCst);
    });
    let settings = Settings { workers: 3, ..settings() };
    let server = Running::start(Transport::Unix, settings, Limits::default(), application);
    let mut clients: Vec<Client> = (0..20).map(|_| server.connect()).collect();
    clients.iter_mut().for_each(|client| client.send(&request(1, After::Keep, "/a", b"")));
    clients.iter_mut().for_each(|client| assert_eq!(client.answer().status, 0));
    assert!(seen.load(SeqCst) <= 3);
}

/// Waits for a word at `/wait`, answers at once elsewhere.
struct Waiting(Mutex<Receiver<()>>);

impl Application for Waiting {
    fn respond(&self, request: &Request<'_>, stdout: &mut Stdout<'_>, before_waiting: &dyn Fn()) {
        if request.params.get("REQUEST_URI") == Some(b"/wait") {
            before_waiting();
            self.0.lock().unwrap().recv_timeout(PATIENCE).unwrap();
        }
        Echo.respond(request, stdout, before_waiting);
    }
}

// rule: FCG-2
#[test]
fn while_all_workers_but_one_wait_that_one_serves_all_others() {
    let (word, words) = channel();
    let settings = Settings { workers: 3, ..settings() };
    let application = Waiting(Mutex::new(words));
    let server = Running::start(Transport::Unix, settings, Limits::default(), application);
    let mut clients: Vec<Client> = (0..20).map(|_| server.connect()).collect();
    let mut waiting: Vec<Client> = (0..2).map(|_| server.connect()).collect();
    waiting.iter_mut().for_each(|client| client.send(&request(1, After::Keep, "/wait", b"")));
    for _ in 0..50 {
        clients.iter_mut().for_each(ask);
    }
    // In which order they get them is not said.
    waiting.iter().for_each(|_| word.send(()).unwrap());
    for client in &mut waiting {
        assert_eq!(client.answer().text(), "/wait pairs=2 ");
        ask(client);
    }
}

#[test]
fn who_asks_ahead_waits_for_no_more_than_one_answer_at_a_time() {
    let (word, words) = channel();
    let application = Waiting(Mutex::new(words));
    let server = Running::start(Transport::Unix, settings(), Limits::default(), application);
    let mut client = server.connect();
    let ahead = [1, 2, 3].map(|id| request(id, After::Keep, "/wait", b""));
    client.send(&ahead.concat());
    for id in [1, 2, 3] {
        word.send(()).unwrap();
        assert_eq!(client.answer().id, id);
    }
    ask(&mut client);
}

// rule: FCG-2
#[test]
fn what_was_asked_ahead_is_not_answered_to_who_has_left() {
    let (word, words) = channel();
    let settings = Settings { workers: 1, ..settings() };
    let application = Waiting(Mutex::new(words));
    let server = Running::start(Transport::Unix, settings, Limits::default(), application);
    let mut client = server.connect();
    client.send(&request(1, After::Keep, "/wait", b"").repeat(2));
    drop(client);
    word.send(()).unwrap();
    let asked = Instant::now();
    ask(&mut server.connect());
    assert!(asked.elapsed() < PATIENCE / 2, "the only worker waited once more");
}

/// Notes by which threads it is asked.
struct Noting(Arc<Mutex<HashSet<ThreadId>>>);

impl Application for Noting {
    fn respond(&self, request: &Request<'_>, stdout: &mut Stdout<'_>, before_waiting: &dyn Fn()) {
        self.0.lock().unwrap().insert(std::thread::current().id());
        Echo.respond(request, stdout, before_waiting);
    }
}

#[test]
fn requests_that_wait_for_nothing_take_no_more_workers_than_there_are_processors() {
    let workers = Arc::default();
    let application = Noting(Arc::clone(&workers));
    let settings = Settings { workers: 64, ..settings() };
    let server = Running::start(Transport::Unix, settings, Limits::default(), application);
    std::thread::scope(|scope| {
        for _ in 0..40 {
            scope.spawn(|| {
                let mut client = server.connect();
                (0..50).for_each(|_| ask(&mut client));
            });
        }
    });
    let processors = std::thread::available_parallelism().unwrap().get();
    let workers = workers.lock().unwrap().len();
    assert!((1..=processors.max(2)).contains(&workers), "{workers}");
}

// rule: FCG-2
#[test]
fn the_end_of_a_connection_is_seen_behind_a_request() {
    let (word, words) = channel();
    let settings = Settings { workers: 1, ..settings() };
    let application = Waiting(Mutex::new(words));
    let server = Running::start(Transport::Unix, settings, Limits::default(), application);
    let (mut client, mut waiting) = (server.connect(), server.connect());
    ask(&mut client);
    // While the only worker waits, both come.
    waiting.send(&request(1, After::Keep, "/wait", b""));
    std::thread::sleep(Duration::from_millis(20));
    client.send(&request(1, After::Keep, "/a", b""));
    let Client::Unix(stream) = &client else { panic!("a Unix socket") };
    stream.shutdown(Shutdown::Write).unwrap();
    word.send(()).unwrap();
    assert_eq!(client.answer().text(), "/a pairs=2 ");
    let asked = Instant::now();
    client.expect_end();
    assert!(asked.elapsed() < PATIENCE / 2, "the connection waited for its time-out");
}

#[test]
fn the_end_of_a_connection_that_is_being_served_is_seen_behind_its_next_request() {
    let (word, words) = channel();
    let settings = Settings { workers: 2, ..settings() };
    let application = Waiting(Mutex::new(words));
    let server = Running::start(Transport::Unix, settings, Limits::default(), application);
    let mut client = server.connect();
    ask(&mut client);
    client.send(&request(1, After::Keep, "/wait", b""));
    std::thread::sleep(Duration::from_millis(20));
    client.send(&request(1, After::Keep, "/a", b""));
    let Client::Unix(stream) = &client else { panic!("a Unix socket") };
    stream.shutdown(Shutdown::Write).unwrap();
    // Once this one has its answer, the other worker has seen both.
    ask(&mut server.connect());
    word.send(()).unwrap();
    for text in ["/wait pairs=2 ", "/a pairs=2 "] {
        assert_eq!(client.answer().text(), text);
    }
    let asked = Instant::now();
    client.expect_end();
    assert!(asked.elapsed() < PATIENCE / 2, "the connection waited for its time-out");
}

// rule: FCG-2
#[test]
fn a_connection_that_never_stops_asking_is_served_in_turn_with_others() {
    let settings = Settings { workers: 1, ..settings() };
    let server = Running::start(Transport::Unix, settings, Limits::default(), Echo);
    let Client::Unix(stream) = server.connect() else { panic!("a Unix socket") };
    std::thread::scope(|scope| {
        let requests = request(1, After::Keep, "/a", b"").repeat(1000);
        let (mut input, mut output) = (&stream, &stream);
        let asking = scope.spawn(move || while output.write_all(&requests).is_ok() {});
        input.read_exact(&mut [0]).unwrap();
        let reading = scope.spawn(move || std::io::copy(&mut input, &mut std::io::sink()));
        for _ in 0..20 {
            ask(&mut server.connect());
        }
        assert!(!asking.is_finished());
        stream.shutdown(Shutdown::Both).unwrap();
        asking.join().unwrap();
        // A reset, where the server had not read all.
        let _end_or_reset = reading.join().unwrap();
    });
}

// rule: FCG-2
#[test]
fn one_connection_too_many_takes_the_place_of_the_longest_idle_one() {
    // The one worker parks each connection before it looks at the next.
    let settings = Settings { workers: 1, connections: 3, ..settings() };
    let server = Running::start(Transport::Unix, settings, Limits::default(), Echo);
    let mut clients: Vec<Client> = (0..3).map(|_| server.connect()).collect();
    clients.iter_mut().for_each(ask);
    let mut one_more = server.connect();
    ask(&mut one_more);
    clients[0].expect_end();
    ask(&mut clients[1]);
    ask(&mut clients[2]);
    ask(&mut one_more);
}

// rule: FCG-2
#[test]
fn one_connection_too_many_waits_for_those_that_are_about_to_ask() {
    let settings = Settings { connections: 2, ..settings() };
    let server = Running::start(Transport::Unix, settings, Limits::default(), Echo);
    let octets = request(1, After::Close, "/a", b"");
    for _ in 0..5 {
        let mut clients: Vec<Client> = (0..6).map(|_| server.connect()).collect();
        // A round trip, say.
        std::thread::sleep(Duration::from_millis(20));
        clients.iter_mut().for_each(|client| client.send(&octets));
        for client in &mut clients {
            assert_eq!(client.answer().text(), "/a pairs=2 ");
        }
    }
}

// rule: FCG-2
#[test]
fn one_connection_too_many_takes_the_place_of_one_that_says_nothing() {
    let settings = Settings { connections: 2, ..settings() };
    let server = Running::start(Transport::Unix, settings, Limits::default(), Echo);
    let mut silent: Vec<Client> = (0..2).map(|_| server.connect()).collect();
    let mut client = server.connect();
    ask(&mut client);
    silent[0].expect_end();
}

// rule: FCG-2
#[test]
fn one_connection_too_many_waits_while_all_others_have_requests() {
    let settings = Settings { connections: 3, ..settings() };
    let server = Running::start(Transport::Unix, settings, Limits::default(), Echo);
    let octets = request(1, After::Close, "/a", b"");
    let mut clients: Vec<Client> = (0..3).map(|_| server.connect()).collect();
    clients.iter_mut().for_each(|client| client.send(&octets[..30]));
    let mut waiting = server.connect();
    waiting.send(&octets);
    for client in &mut clients {
        assert_eq!(client.ask(&octets[30..]), "/a pairs=2 ");
    }
    assert_eq!(waiting.answer().text(), "/a pairs=2 ");
}
