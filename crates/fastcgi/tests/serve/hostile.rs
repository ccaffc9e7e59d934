//! Broken peers cost one connection, bounded memory and bounded time.

use std::time::{Duration, Instant};

use fastcgi::connection::Limits;
use fastcgi::record as fcgi;
use fastcgi::server::Settings;

use crate::running::{Running, Transport};
use crate::support::{After, Echo, PATIENCE, begin, record, request, settings};

const SHORT: Duration = Duration::from_millis(100);

fn still_serves(server: &Running) {
    let answer = server.connect().ask(&request(1, After::Close, "/still", b"here"));
    assert_eq!(answer, "/still pairs=2 here");
}

// rule: FCG-2
#[test]
fn a_request_that_stops_coming_ends_its_connection_and_no_other() {
    let settings = Settings { read_timeout: SHORT, ..settings() };
    let server = Running::start(Transport::Unix, settings, Limits::default(), Echo);
    let mut idle = server.connect();
    idle.ask(&request(1, After::Keep, "/a", b""));
    let whole = request(1, After::Keep, "/a", b"body");
    let mut silent: Vec<_> = [1, 7, 8, 16, 20, 40, whole.len() - 1]
        .map(|length| {
            let mut client = server.connect();
            client.send(&whole[..length]);
            client
        })
        .into();
    still_serves(&server);
    for client in &mut silent {
        client.expect_end();
    }
    assert_eq!(idle.ask(&request(1, After::Keep, "/idle", b"")), "/idle pairs=2 ");
}

// rule: FCG-2
#[test]
fn the_time_to_send_a_request_is_not_prolonged_by_sending_more_of_it() {
    let settings = Settings { read_timeout: SHORT, ..settings() };
    let server = Running::start(Transport::Unix, settings, Limits::default(), Echo);
    let mut client = server.connect();
    client.send(&begin(1, fcgi::FCGI_RESPONDER, After::Keep));
    let start = Instant::now();
    while client.try_send(&record(fcgi::FCGI_DATA, 1, b"still there")).is_ok() {
        assert!(start.elapsed() < PATIENCE);
        std::thread::sleep(SHORT / 20);
    }
    still_serves(&server);
}

// rule: FCG-2
#[test]
fn silence_before_and_between_requests_ends_after_the_idle_time() {
    let settings = Settings { idle_timeout: SHORT, ..settings() };
    let server = Running::start(Transport::Tcp, settings, Limits::default(), Echo);
    let mut never = server.connect();
    let mut once = server.connect();
    once.ask(&request(1, After::Keep, "/a", b""));
    never.expect_end();
    once.expect_end();
    still_serves(&server);
}

// rule: FCG-2
#[test]
fn another_protocol_is_closed_at_once() {
    let server = Running::echo(Transport::Tcp);
    let mut client = server.connect();
    client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    client.expect_end();
    still_serves(&server);
}

// rule: FCG-2
#[test]
fn endless_params_are_refused_and_then_cut_off() {
    let server = Running::echo(Transport::Tcp);
    let mut client = server.connect();
    client.send(&begin(1, fcgi::FCGI_RESPONDER, After::Keep));
    let params = record(fcgi::FCGI_PARAMS, 1, &[0; 0xffff]);
    for _ in 0..5 {
        client.send(&params);
    }
    let answer = client.answer();
    assert_eq!((answer.id, answer.status), (1, 2)); // FCGI_OVERLOADED
    let mut sent = 0;
    while client.try_send(&params).is_ok() {
        sent += 1;
        assert!(sent < 4000, "still read after 256 MiB");
    }
    still_serves(&server);
}

// rule: FCG-2
#[test]
fn the_answer_to_a_body_that_is_too_large_arrives_although_the_body_goes_on() {
    for transport in [Transport::Tcp, Transport::Unix] {
        let limits = Limits { stdin_bytes: 1000, ..Limits::default() };
        let server = Running::start(transport, settings(), limits, Echo);
        let mut client = server.connect();
        let whole = request(1, After::Keep, "/a", &[b'x'; 60_000]);
        client.send(&whole[..whole.len() - 8]);
        for _ in 0..50 {
            client.send(&record(fcgi::FCGI_STDIN, 1, &[b'x'; 60_000]));
        }
        assert_eq!(client.answer().text(), "/a pairs=2 (too large)");
        client.expect_end();
    }
}

// rule: FCG-2
#[test]
fn a_panic_of_the_application_costs_one_connection() {
    // More panics than there are workers.
    let server = Running::echo(Transport::Unix);
    let mut kept = server.connect();
    kept.ask(&request(1, After::Keep, "/a", b""));
    for _ in 0..10 {
        let mut client = server.connect();
        client.send(&request(1, After::Keep, "/panic", b""));
        client.expect_end();
    }
    assert_eq!(kept.ask(&request(1, After::Keep, "/b", b"")), "/b pairs=2 ");
    still_serves(&server);
}

// rule: FCG-2
#[test]
fn a_peer_that_never_reads_is_given_up() {
    let settings = Settings { workers: 1, write_timeout: SHORT, ..settings() };
    let server = Running::start(Transport::Unix, settings, Limits::default(), Echo);
    let mut client = server.connect();
    let requests: Vec<u8> = (1..=50).flat_map(|_| request(1, After::Keep, "/long", b"")).collect();
    client.send(&requests);
    still_serves(&server);
}

// rule: FCG-2
#[test]
fn peers_that_leave_at_once_leave_nothing_behind() {
    let settings = Settings { connections: 2, ..settings() };
    let server = Running::start(Transport::Tcp, settings, Limits::default(), Echo);
    for _ in 0..200 {
        drop(server.connect());
    }
    still_serves(&server);
}
