//! Few workers, many connections.

use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Barrier};
use std::time::{Duration, Instant};

use fastcgi::connection::{Limits, Request};
use fastcgi::record::Stdout;
use fastcgi::server::Settings;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::running::{Answering, Running, Transport};
use crate::support::{After, Client, Echo, request, settings};

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
