//! The end: what is under way is finished, within the grace period.

use std::sync::Mutex;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use fastcgi::connection::{Application, Limits, Request};
use fastcgi::record::Stdout;
use fastcgi::server::{Settings, Stopped};

use crate::running::{Answering, Running, Transport};
use crate::support::{After, Echo, PATIENCE, request, settings};

/// An application that says when it has a request, and answers when it is told.
fn slow() -> (impl Application, Receiver<()>, Sender<()>) {
    let (begun, has_begun) = channel();
    let (go, may_go) = channel::<()>();
    let may_go = Mutex::new(may_go);
    let application = Answering(move |_: &Request<'_>, stdout: &mut Stdout<'_>| {
        let _ = begun.send(());
        let _ = may_go.lock().unwrap().recv_timeout(PATIENCE);
        stdout.extend_from_slice(b"at last");
    });
    (application, has_begun, go)
}

fn refuses(server: &Running) {
    let start = Instant::now();
    while server.try_connect().is_ok() {
        assert!(start.elapsed() < PATIENCE);
        std::thread::yield_now();
    }
}

#[test]
fn a_stop_finishes_the_request_under_way_and_accepts_no_other() {
    for transport in [Transport::Tcp, Transport::Unix] {
        let (application, has_begun, go) = slow();
        let mut server = Running::start(transport, settings(), Limits::default(), application);
        let mut client = server.connect();
        client.send(&request(1, After::Keep, "/a", b""));
        has_begun.recv().unwrap();
        server.handle().stop();
        refuses(&server);
        go.send(()).unwrap();
        assert_eq!(client.answer().text(), "at last");
        client.expect_end();
        assert_eq!(server.wait(), Stopped::Finished);
    }
}

#[test]
fn a_stop_answers_what_has_come_already_on_a_connection() {
    let (application, has_begun, go) = slow();
    let mut server = Running::start(Transport::Unix, settings(), Limits::default(), application);
    let mut client = server.connect();
    client.send(&request(1, After::Keep, "/a", b""));
    has_begun.recv().unwrap();
    client.send(&request(1, After::Keep, "/b", b""));
    server.handle().stop();
    refuses(&server);
    for _ in 0..2 {
        go.send(()).unwrap();
        assert_eq!(client.answer().text(), "at last");
    }
    client.expect_end();
    assert_eq!(server.wait(), Stopped::Finished);
}

#[test]
fn a_stop_answers_what_has_come_on_a_connection_that_rests() {
    let (application, has_begun, go) = slow();
    // There is no worker to read it before the stop.
    let settings = Settings { workers: 1, ..settings() };
    let mut server = Running::start(Transport::Unix, settings, Limits::default(), application);
    let mut client = server.connect();
    client.send(&request(1, After::Keep, "/a", b""));
    has_begun.recv().unwrap();
    go.send(()).unwrap();
    assert_eq!(client.answer().text(), "at last");
    let mut other = server.connect();
    other.send(&request(1, After::Keep, "/b", b""));
    has_begun.recv().unwrap();
    client.send(&request(1, After::Keep, "/a", b""));
    server.handle().stop();
    refuses(&server);
    for client in [&mut other, &mut client] {
        go.send(()).unwrap();
        assert_eq!(client.answer().text(), "at last");
    }
    other.expect_end();
    client.expect_end();
    assert_eq!(server.wait(), Stopped::Finished);
}

#[test]
fn a_stop_answers_those_who_have_connected_while_nobody_was_free_to_accept() {
    for transport in [Transport::Tcp, Transport::Unix] {
        let (application, has_begun, go) = slow();
        let settings = Settings { workers: 1, ..settings() };
        let mut server = Running::start(transport, settings, Limits::default(), application);
        let (mut client, other) = (server.connect(), request(1, After::Keep, "/b", b""));
        client.send(&request(1, After::Keep, "/a", b""));
        has_begun.recv().unwrap();
        let mut waiting = [server.connect(), server.connect()];
        waiting.iter_mut().for_each(|client| client.send(&other));
        server.handle().stop();
        refuses(&server);
        for client in [&mut client].into_iter().chain(&mut waiting) {
            go.send(()).unwrap();
            assert_eq!(client.answer().text(), "at last");
        }
        assert_eq!(server.wait(), Stopped::Finished);
    }
}

#[test]
fn a_stop_leaves_a_moment_for_the_first_request_of_a_connection() {
    let mut server = Running::echo(Transport::Unix);
    let mut client = server.connect();
    let mut silent = server.connect();
    let octets = request(1, After::Keep, "/a", b"x");
    // Once this one has its answer, the others rest.
    server.connect().ask(&request(1, After::Close, "/b", b""));
    let start = Instant::now();
    server.handle().stop();
    refuses(&server);
    client.send(&octets[..30]);
    silent.expect_end();
    // As for any request, there is time for the rest of it.
    client.send(&octets[30..]);
    assert_eq!(client.answer().text(), "/a pairs=2 x");
    client.expect_end();
    assert_eq!(server.wait(), Stopped::Finished);
    assert!(start.elapsed() < PATIENCE / 2, "{:?}", start.elapsed());
}

#[test]
fn a_stop_lets_a_request_finish_that_is_still_coming_in() {
    let mut server = Running::echo(Transport::Unix);
    let octets = request(1, After::Keep, "/a", b"x");
    let mut client = server.connect();
    client.send(&octets[..30]);
    // Once this one has its answer, the first one rests.
    server.connect().ask(&request(1, After::Close, "/b", b""));
    server.handle().stop();
    refuses(&server);
    client.send(&octets[30..50]);
    std::thread::sleep(Duration::from_millis(20)); // read alone
    client.send(&octets[50..]);
    assert_eq!(client.answer().text(), "/a pairs=2 x");
    client.expect_end();
    assert_eq!(server.wait(), Stopped::Finished);
}

#[test]
fn a_stop_waits_no_longer_for_the_rest_of_a_request_than_ever() {
    let settings = Settings { read_timeout: Duration::from_millis(500), ..settings() };
    let mut server = Running::start(Transport::Unix, settings, Limits::default(), Echo);
    let mut client = server.connect();
    client.send(&request(1, After::Keep, "/a", b"x")[..30]);
    // Once this one has its answer, the first one rests.
    server.connect().ask(&request(1, After::Close, "/b", b""));
    let start = Instant::now();
    server.handle().stop();
    client.expect_end();
    assert_eq!(server.wait(), Stopped::Finished);
    assert!(start.elapsed() < PATIENCE / 2, "{:?}", start.elapsed());
}

#[test]
fn a_stop_waits_for_two_seconds_for_the_rest_of_a_request_however_it_comes() {
    let mut server = Running::echo(Transport::Unix);
    let (mut silent, mut slow) = (server.connect(), server.connect());
    let octets = request(1, After::Keep, "/a", b"x");
    silent.send(&octets[..1]);
    slow.send(&octets[..1]);
    // Once this one has its answer, the others rest.
    server.connect().ask(&request(1, After::Close, "/b", b""));
    let start = Instant::now();
    server.handle().stop();
    refuses(&server);
    for octet in octets[1..].chunks(1).take(5) {
        slow.send(octet);
        std::thread::sleep(Duration::from_millis(50));
    }
    silent.expect_end();
    assert!(start.elapsed() > Duration::from_millis(1900), "{:?}", start.elapsed());
    slow.expect_end();
    assert_eq!(server.wait(), Stopped::Finished);
    assert!(start.elapsed() < PATIENCE / 2, "{:?}", start.elapsed());
}

#[test]
fn a_stop_closes_idle_connections_and_ends_at_once() {
    let mut server = Running::echo(Transport::Unix);
    let mut clients: Vec<_> = (0..20).map(|_| server.connect()).collect();
    for client in clients.iter_mut().take(10) {
        client.ask(&request(1, After::Keep, "/a", b""));
    }
    let start = Instant::now();
    server.handle().stop();
    assert_eq!(server.wait(), Stopped::Finished);
    assert!(start.elapsed() < PATIENCE / 2, "{:?}", start.elapsed());
    clients.iter_mut().for_each(crate::support::Client::expect_end);
}

#[test]
fn a_stop_waits_no_longer_than_the_grace_period() {
    let (application, has_begun, go) = slow();
    let settings = Settings { grace: Duration::from_millis(50), ..settings() };
    let mut server = Running::start(Transport::Unix, settings, Limits::default(), application);
    let mut client = server.connect();
    client.send(&request(1, After::Keep, "/a", b""));
    has_begun.recv().unwrap();
    server.handle().stop();
    assert_eq!(server.wait(), Stopped::Unfinished(1));
    drop(go);
}

#[test]
fn time_outs_may_be_as_good_as_none() {
    let time = Duration::MAX;
    let settings = Settings {
        read_timeout: time,
        idle_timeout: time,
        write_timeout: time,
        grace: time,
        ..settings()
    };
    let mut server = Running::start(Transport::Unix, settings, Limits::default(), Echo);
    let mut client = server.connect();
    let octets = request(1, After::Keep, "/long", b"");
    client.send(&[&octets[..], &octets, &octets[..30]].concat());
    std::thread::sleep(Duration::from_millis(20)); // the answers do not fit the socket
    client.answer();
    client.answer();
    server.handle().stop();
    assert_eq!(client.ask(&octets[30..]).len(), 200_000);
    assert_eq!(server.wait(), Stopped::Finished);
}

#[test]
fn a_server_that_was_stopped_before_it_ran_ends_at_once() {
    let protocol = fastcgi::connection::FastCgi::new(Echo, Limits::default());
    let server = fastcgi::server::Server::new(protocol, settings()).unwrap();
    server.handle().stop();
    assert_eq!(server.run().unwrap(), Stopped::Finished);
}
