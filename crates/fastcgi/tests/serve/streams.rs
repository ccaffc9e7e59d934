//! Records into requests and answers, without a socket.

use std::sync::Arc;

use fastcgi::connection::{Connection, Limits};
use fastcgi::record::{self as fcgi, Record, split};
use fastcgi::server::{Activity, Advance, Session, Then};

use crate::support::{After, Echo, begin, padded, pair, record, request, stream};

/// What a server does: keeps what is not consumed until more comes.
pub struct Feed {
    pub connection: Connection<Echo>,
    pub leftover: Vec<u8>,
    pub output: Vec<u8>,
}

impl Feed {
    pub fn new(limits: Limits) -> Self {
        let connection = Connection::new(Arc::new(Echo), limits);
        Self { connection, leftover: Vec::new(), output: Vec::new() }
    }

    pub fn feed(&mut self, octets: &[u8]) -> Then {
        self.leftover.extend(octets);
        let Advance { consumed, then, .. } =
            self.connection.advance(&self.leftover, &mut self.output, &|| ());
        assert!(consumed <= self.leftover.len());
        self.leftover.drain(..consumed);
        then
    }

    /// Types, request ids and contents of what was sent.
    fn sent(&self) -> Vec<(u8, u16, Vec<u8>)> {
        let mut rest = &self.output[..];
        let mut records = Vec::new();
        while let Ok(Some(Record { record_type, request_id, content, len })) = split(rest) {
            records.push((record_type, request_id, content.to_vec()));
            rest = &rest[len..];
        }
        assert!(rest.is_empty());
        records
    }

    /// The stdout of all requests so far, and how they ended: id and protocol status.
    fn answers(&self) -> (String, Vec<(u16, u8)>) {
        let (mut stdout, mut ends) = (Vec::new(), Vec::new());
        for (record_type, id, content) in self.sent() {
            match record_type {
                fcgi::FCGI_STDOUT => stdout.extend(content),
                fcgi::FCGI_END_REQUEST => ends.push((id, content[4])),
                other => panic!("record type {other}"),
            }
        }
        (String::from_utf8_lossy(&stdout).into_owned(), ends)
    }
}

fn feed(octets: &[u8]) -> (Feed, Then) {
    let mut feed = Feed::new(Limits::default());
    let then = feed.feed(octets);
    (feed, then)
}

const OK: u8 = 0;
const CANT_MPX_CONN: u8 = 1;
const OVERLOADED: u8 = 2;
const UNKNOWN_ROLE: u8 = 3;

// rule: FCG-1
#[test]
fn a_request_split_at_any_octet_gets_the_same_answer() {
    let octets = request(1, After::Keep, "/a", b"body");
    for at in 0..=octets.len() {
        let (mut feed, then) = feed(&octets[..at]);
        assert_eq!(then, Then::Read);
        assert_eq!(feed.feed(&octets[at..]), Then::Read);
        assert_eq!(feed.answers(), ("/a pairs=2 body".to_owned(), vec![(1, OK)]), "at {at}");
        assert_eq!((feed.leftover.len(), feed.connection.activity()), (0, Activity::Idle));
    }
}

// rule: FCG-1
#[test]
fn a_request_that_comes_octet_by_octet_gets_the_same_answer() {
    let (mut feed, _) = feed(b"");
    for octet in request(1, After::Keep, "/a", b"body") {
        assert_eq!(feed.feed(&[octet]), Then::Read);
    }
    assert_eq!(feed.answers(), ("/a pairs=2 body".to_owned(), vec![(1, OK)]));
}

// rule: FCG-1
#[test]
fn padding_of_any_length_is_skipped() {
    for padding in 0..=255 {
        let octets = [
            padded(fcgi::FCGI_BEGIN_REQUEST, 1, &[0, 1, 1, 0, 0, 0, 0, 0], padding),
            padded(fcgi::FCGI_PARAMS, 1, &pair(b"REQUEST_URI", b"/a"), padding),
            padded(fcgi::FCGI_PARAMS, 1, b"", padding),
            padded(fcgi::FCGI_STDIN, 1, b"body", padding),
            padded(fcgi::FCGI_STDIN, 1, b"", padding),
        ]
        .concat();
        let (feed, then) = feed(&octets);
        assert_eq!(feed.answers(), ("/a pairs=1 body".to_owned(), vec![(1, OK)]), "{padding}");
        assert_eq!(then, Then::Read);
    }
}

// rule: FCG-1
#[test]
fn params_and_stdin_may_lie_in_records_of_any_length() {
    let long = [b'v'; 300];
    let params = [pair(b"REQUEST_URI", b"/\xff"), pair(b"LONG", &long), pair(b"", b"")].concat();
    for piece in 1..=params.len() {
        let octets = [
            begin(9, fcgi::FCGI_RESPONDER, After::Keep),
            stream(fcgi::FCGI_PARAMS, 9, &params, piece),
            stream(fcgi::FCGI_STDIN, 9, b"a longer body", piece),
        ]
        .concat();
        let (feed, _) = feed(&octets);
        assert_eq!(feed.answers(), ("/\u{fffd} pairs=3 a longer body".to_owned(), vec![(9, OK)]));
    }
}

// rule: FCG-1
#[test]
fn params_of_200_kib_and_8000_empty_pairs_arrive_whole() {
    let big = vec![b'v'; 200 * 1024];
    for (params, pairs) in [(pair(b"BIG", &big), 1), (vec![0; 16_000], 8_000)] {
        let octets = [
            begin(1, fcgi::FCGI_RESPONDER, After::Keep),
            stream(fcgi::FCGI_PARAMS, 1, &params, 0xffff),
            stream(fcgi::FCGI_STDIN, 1, b"", 1),
        ]
        .concat();
        assert_eq!(feed(&octets).0.answers().0, format!(" pairs={pairs} "));
    }
}

// rule: FCG-1
#[test]
fn a_second_request_while_one_is_under_way_is_refused_and_the_first_goes_on() {
    let first = request(1, After::Keep, "/first", b"one");
    let second = request(2, After::Close, "/second", b"two");
    let (mut feed, _) = feed(&first[..16]);
    assert_eq!(feed.feed(&second), Then::Read);
    assert_eq!(feed.answers().1, [(2, CANT_MPX_CONN)]);
    assert_eq!(feed.feed(&first[16..]), Then::Read);
    let ends = vec![(2, CANT_MPX_CONN), (1, OK)];
    assert_eq!(feed.answers(), ("/first pairs=2 one".to_owned(), ends));
    assert_eq!(feed.feed(&second), Then::Close);
    assert!(feed.answers().0.ends_with("/second pairs=2 two"));
}

// rule: FCG-1
#[test]
fn an_aborted_request_ends_without_an_answer() {
    for (after, then) in [(After::Keep, Then::Read), (After::Close, Then::Close)] {
        for progress in [16, 40, request(1, after, "/a", b"body").len() - 8] {
            let begun = &request(1, after, "/a", b"body")[..progress];
            let (mut feed, _) = feed(begun);
            feed.leftover.clear(); // of a record cut short here
            assert_eq!(feed.feed(&record(fcgi::FCGI_ABORT_REQUEST, 1, b"")), then);
            assert_eq!(feed.answers(), (String::new(), vec![(1, OK)]));
            assert_eq!(feed.connection.activity(), Activity::Idle);
        }
    }
}

// rule: FCG-1
#[test]
fn roles_other_than_responder_are_refused() {
    for role in [fcgi::FCGI_AUTHORIZER, fcgi::FCGI_FILTER, 0, 4, 0x101] {
        let (mut feed, then) = feed(&begin(1, role, After::Keep));
        assert_eq!((feed.answers().1, then), (vec![(1, UNKNOWN_ROLE)], Then::Read));
        // The rest of it is ignored, the next request is not.
        feed.feed(&request(1, After::Keep, "/rest", b"")[16..]);
        feed.feed(&request(1, After::Keep, "/next", b""));
        assert_eq!(feed.answers().0, "/next pairs=2 ");
    }
    let (_, then) = feed(&begin(1, fcgi::FCGI_FILTER, After::Close));
    assert_eq!(then, Then::Discard);
}

// rule: FCG-1
#[test]
fn variables_asked_for_are_told_and_others_are_not() {
    let asked: Vec<u8> = ["FCGI_MPXS_CONNS", "OTHER", "FCGI_MAX_CONNS", "FCGI_MAX_REQS"]
        .iter()
        .flat_map(|name| pair(name.as_bytes(), b""))
        .collect();
    let mut feed = Feed::new(Limits { connections: 77, ..Limits::default() });
    feed.feed(&record(fcgi::FCGI_GET_VALUES, 0, &asked));
    let told = [
        pair(b"FCGI_MAX_CONNS", b"77"),
        pair(b"FCGI_MAX_REQS", b"77"),
        pair(b"FCGI_MPXS_CONNS", b"0"),
    ]
    .concat();
    assert_eq!(feed.sent(), [(fcgi::FCGI_GET_VALUES_RESULT, 0, told)]);
}

// rule: FCG-1
#[test]
fn management_records_may_come_before_within_and_after_a_request() {
    let octets = request(1, After::Keep, "/a", b"body");
    let strange = record(99, 0, b"whatever");
    let mut feed = Feed::new(Limits::default());
    for part in [&strange, &octets[..16], &strange, &octets[16..], &strange] {
        assert_eq!(feed.feed(part), Then::Read);
    }
    let sent = feed.sent();
    let unknown = (fcgi::FCGI_UNKNOWN_TYPE, 0, vec![99, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(sent.iter().filter(|record| **record == unknown).count(), 3);
    assert_eq!(sent.len(), 3 + 3);
}

// rule: FCG-1
#[test]
fn records_of_no_request_and_of_the_data_stream_are_ignored() {
    let octets = request(1, After::Keep, "/a", b"body");
    let mut feed = Feed::new(Limits::default());
    feed.feed(&record(fcgi::FCGI_STDIN, 1, b"early"));
    feed.feed(&record(fcgi::FCGI_ABORT_REQUEST, 5, b""));
    feed.feed(&octets[..16]);
    for ignored in [(fcgi::FCGI_DATA, 1), (fcgi::FCGI_STDIN, 3), (200, 1)] {
        feed.feed(&record(ignored.0, ignored.1, b"ignored"));
    }
    feed.feed(&octets[16..]);
    feed.feed(&record(fcgi::FCGI_STDIN, 1, b"late"));
    assert_eq!(feed.answers(), ("/a pairs=2 body".to_owned(), vec![(1, OK)]));
}

// rule: FCG-1
#[test]
fn all_requests_of_one_read_are_answered_up_to_the_one_that_closes() {
    let mut octets: Vec<u8> =
        (1..=100).flat_map(|id| request(id, After::Keep, "/k", b"")).collect();
    let (feed_, then) = feed(&octets);
    assert_eq!((feed_.answers().1.len(), then), (100, Then::Read));
    octets.extend(request(101, After::Close, "/c", b""));
    octets.extend(request(102, After::Keep, "/never", b""));
    let (feed, then) = feed(&octets);
    assert_eq!((feed.answers().1.len(), then), (101, Then::Close));
}

// rule: FCG-2
#[test]
fn params_over_the_limit_end_the_request_as_overloaded() {
    let limits = Limits { params_bytes: 1000, ..Limits::default() };
    for piece in [1, 999, 1001] {
        let mut feed = Feed::new(limits);
        feed.feed(&begin(1, fcgi::FCGI_RESPONDER, After::Keep));
        let then = feed.feed(&stream(fcgi::FCGI_PARAMS, 1, &[0; 1001], piece));
        assert_eq!((feed.answers().1, then), (vec![(1, OVERLOADED)], Then::Discard));
    }
    let mut feed = Feed::new(limits);
    feed.feed(&begin(1, fcgi::FCGI_RESPONDER, After::Keep));
    assert_eq!(feed.feed(&stream(fcgi::FCGI_PARAMS, 1, &[0; 1000], 7)), Then::Read);
}

// rule: FCG-2
#[test]
fn stdin_over_the_limit_is_answered_at_once() {
    let limits = Limits { stdin_bytes: 1000, ..Limits::default() };
    let mut feed = Feed::new(limits);
    let octets = request(1, After::Keep, "/a", &[b'x'; 1001]);
    assert_eq!(feed.feed(&octets[..octets.len() - 8]), Then::Discard);
    assert_eq!(feed.answers(), ("/a pairs=2 (too large)".to_owned(), vec![(1, OK)]));
    let mut feed = Feed::new(limits);
    assert_eq!(feed.feed(&request(1, After::Keep, "/a", &[b'x'; 1000])), Then::Read);
}

// rule: FCG-2
#[test]
fn what_is_no_fastcgi_closes_the_connection() {
    let begin = begin(1, fcgi::FCGI_RESPONDER, After::Keep);
    let no_params = record(fcgi::FCGI_PARAMS, 1, b"");
    for (what, octets) in [
        ("another protocol", b"GET /".to_vec()),
        ("version 0", vec![0]),
        ("garbage after a record", [&begin[..], b"garbage"].concat()),
        ("a short begin", record(fcgi::FCGI_BEGIN_REQUEST, 1, &[0, 1, 1])),
        ("begun twice", [&begin[..], &begin].concat()),
        ("stdin before params", [begin.clone(), record(fcgi::FCGI_STDIN, 1, b"x")].concat()),
        ("params ended twice", [&begin[..], &no_params, &no_params].concat()),
        (
            "a pair cut short",
            [
                begin.clone(),
                stream(fcgi::FCGI_PARAMS, 1, &[0xff; 9], 9),
                stream(fcgi::FCGI_STDIN, 1, b"", 1),
            ]
            .concat(),
        ),
    ] {
        let (feed, then) = feed(&octets);
        assert_eq!((then, feed.output.len()), (Then::Close, 0), "{what}");
    }
}
