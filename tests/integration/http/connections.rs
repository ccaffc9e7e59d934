//! Connections that are kept, and bodies in pieces.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::time::Duration;

use super::{Connection, World, post};
use crate::support::ocsp::{Answer, MALFORMED};

#[test]
fn a_connection_is_kept_and_requests_may_be_sent_ahead() {
    let world = World::new("");
    let mut connection = Connection::to(&world.responder);
    let good = post(&world.about("0a1b").der());
    let revoked = post(&world.about("ff02").der());
    let malformed = post(b"nonsense");
    let page = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec();
    for _ in 0..20 {
        assert_eq!(Answer::read(&connection.ask(&good).body).statuses(), ["good"]);
    }
    let ahead = [&good[..], &malformed, &revoked, &page, &good].concat().repeat(10);
    // In pieces of a length that falls everywhere.
    let mut sending = connection.stream.try_clone().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(move || ahead.chunks(61).for_each(|piece| sending.write_all(piece).unwrap()));
        for _ in 0..10 {
            assert_eq!(Answer::read(&connection.response().body).statuses(), ["good"]);
            assert_eq!(connection.response().body, MALFORMED);
            assert!(Answer::read(&connection.response().body).statuses()[0].starts_with("revoked"));
            assert!(connection.response().body.starts_with(b"This is an OCSP responder"));
            assert_eq!(Answer::read(&connection.response().body).statuses(), ["good"]);
        }
    });
}

#[test]
fn each_request_sent_ahead_has_its_own_time_to_come_in() {
    let world = World::new("[limits]\nread_timeout = \"1s\"\n");
    let mut connection = Connection::to(&world.responder);
    let question = post(&world.about("0a1b").der());
    let (first, second) = question.split_at(question.len() / 2);
    connection.send(first);
    for _ in 0..8 {
        std::thread::sleep(Duration::from_millis(250));
        connection.send(&[second, first].concat());
        assert_eq!(Answer::read(&connection.response().body).statuses(), ["good"]);
    }
}

#[test]
fn a_chunked_body_is_put_together() {
    let world = World::new("");
    let mut connection = Connection::to(&world.responder);
    let der = world.about("0a1b").der();
    let chunks: Vec<u8> = der
        .chunks(7)
        .flat_map(|chunk| {
            [format!("{:X};x=y\r\n", chunk.len()).as_bytes(), chunk, b"\r\n"].concat()
        })
        .collect();
    let head = b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n";
    let whole = [&head[..], &chunks, b"0\r\nTrailer: x\r\n\r\n"].concat();
    for size in [whole.len(), 1, 13] {
        for piece in whole.chunks(size) {
            connection.send(piece);
        }
        assert_eq!(Answer::read(&connection.response().body).statuses(), ["good"]);
    }
}

#[test]
fn a_client_that_waits_is_told_to_go_on() {
    let world = World::new("");
    let der = world.about("0a1b").der();
    let mut connection = Connection::to(&world.responder);
    let head =
        format!("POST / HTTP/1.1\r\nContent-Length: {}\r\nExpect: 100-continue\r\n\r\n", der.len());
    connection.send(head.as_bytes());
    assert_eq!(connection.head().head, "HTTP/1.1 100 Continue\r\n\r\n");
    assert_eq!(Answer::read(&connection.ask(&der).body).statuses(), ["good"]);
}

// rule: WEB-1
#[test]
fn http_1_0_gets_one_answer_and_the_end_of_the_connection() {
    let world = World::new("");
    let der = world.about("0a1b").der();
    let mut connection = Connection::to(&world.responder);
    let head = format!("POST / HTTP/1.0\r\nContent-Length: {}\r\n\r\n", der.len());
    let response = connection.ask(&[head.as_bytes(), &der].concat());
    assert_eq!(Answer::read(&response.body).statuses(), ["good"]);
    assert_eq!(connection.stream.read(&mut [0; 10]).unwrap(), 0);
    let mut connection = Connection::to(&world.responder);
    let head = head.replace("\r\n\r\n", "\r\nConnection: Keep-Alive\r\n\r\n");
    for _ in 0..2 {
        let response = connection.ask(&[head.as_bytes(), &der].concat());
        assert_eq!(response.field("Connection"), Some("keep-alive"));
    }
}

#[test]
fn a_client_that_shuts_its_side_still_gets_its_answer() {
    let world = World::new("");
    let mut connection = Connection::to(&world.responder);
    connection.send(&post(&world.about("0a1b").with_nonce(b"n").der()));
    connection.stream.shutdown(Shutdown::Write).unwrap();
    assert_eq!(Answer::read(&connection.response().body).statuses(), ["good"]);
    assert_eq!(connection.stream.read(&mut [0; 10]).unwrap(), 0);
}
