//! Requests and answers through a real server.

use std::time::Duration;

use fastcgi::record as fcgi;

use crate::running::{Running, Transport};
use crate::support::{After, begin, pair, record, request, stream};

const BOTH: [Transport; 2] = [Transport::Tcp, Transport::Unix];

// rule: FCG-1
#[test]
fn a_connection_is_kept_or_closed_as_asked() {
    for transport in BOTH {
        let server = Running::echo(transport);
        let mut client = server.connect();
        for body in ["one", "two", "three"] {
            let answer = client.ask(&request(1, After::Keep, "/a", body.as_bytes()));
            assert_eq!(answer, format!("/a pairs=2 {body}"));
        }
        assert_eq!(client.ask(&request(2, After::Close, "/b", b"")), "/b pairs=2 ");
        client.expect_end();
    }
}

// rule: FCG-1
#[test]
fn a_request_sent_octet_by_octet_is_answered() {
    for transport in BOTH {
        let server = Running::echo(transport);
        let mut client = server.connect();
        for octet in request(1, After::Keep, "/a", b"body") {
            client.send(&[octet]);
            std::thread::sleep(Duration::from_millis(1)); // most are read alone
        }
        assert_eq!(client.answer().text(), "/a pairs=2 body");
    }
}

// rule: FCG-1
#[test]
fn a_hundred_requests_in_one_write_are_answered_in_order() {
    for transport in BOTH {
        let server = Running::echo(transport);
        let mut client = server.connect();
        let requests: Vec<u8> =
            (1..=100).flat_map(|id| request(id, After::Keep, &format!("/{id}"), b"")).collect();
        client.send(&requests);
        for id in 1..=100 {
            let answer = client.answer();
            assert_eq!(answer.id, id);
            assert_eq!(answer.text(), format!("/{id} pairs=2 "));
        }
    }
}

// rule: FCG-1
#[test]
fn params_of_200_kib_and_an_answer_of_200_kb_pass() {
    for transport in BOTH {
        let server = Running::echo(transport);
        let mut client = server.connect();
        let params = [pair(b"REQUEST_URI", b"/long"), pair(b"BIG", &[b'v'; 200 * 1024])].concat();
        client.send(&begin(1, fcgi::FCGI_RESPONDER, After::Keep));
        client.send(&stream(fcgi::FCGI_PARAMS, 1, &params, 60_001));
        client.send(&stream(fcgi::FCGI_STDIN, 1, b"", 1));
        assert_eq!(client.answer().text(), "x".repeat(200_000));
        assert_eq!(client.ask(&request(1, After::Keep, "/next", b"")), "/next pairs=2 ");
    }
}

// rule: FCG-1
#[test]
fn the_largest_record_with_the_most_padding_passes() {
    let server = Running::echo(Transport::Unix);
    let mut client = server.connect();
    let params = pair(b"BIG", &[b'v'; 0xffff - 8]);
    assert_eq!(params.len(), 0xffff);
    client.send(&begin(1, fcgi::FCGI_RESPONDER, After::Keep));
    client.send(&crate::support::padded(fcgi::FCGI_PARAMS, 1, &params, 255));
    client.send(&record(fcgi::FCGI_PARAMS, 1, b""));
    client.send(&record(fcgi::FCGI_STDIN, 1, b""));
    assert_eq!(client.answer().text(), " pairs=1 ");
}

// rule: FCG-1
#[test]
fn a_client_that_has_ended_its_output_still_gets_its_answer() {
    let server = Running::echo(Transport::Tcp);
    let mut client = server.connect();
    client.send(&request(1, After::Keep, "/a", b""));
    let crate::support::Client::Tcp(stream) = &client else { panic!("TCP") };
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    assert_eq!(client.answer().text(), "/a pairs=2 ");
    client.expect_end();
}

// rule: FCG-1
#[test]
fn variables_can_be_asked_for_on_a_connection_of_their_own() {
    let server = Running::echo(Transport::Unix);
    let mut client = server.connect();
    client.send(&record(fcgi::FCGI_GET_VALUES, 0, &pair(b"FCGI_MPXS_CONNS", b"")));
    let told = (fcgi::FCGI_GET_VALUES_RESULT, 0, pair(b"FCGI_MPXS_CONNS", b"0"));
    assert_eq!(client.record(), told);
}

// rule: FCG-4
#[test]
fn one_server_serves_several_listeners_and_inherited_ones() {
    use fastcgi::connection::{FastCgi, Limits};
    use fastcgi::listener::Listener;
    use fastcgi::server::Server;
    use std::net::{TcpListener, TcpStream};
    use std::os::unix::net::{UnixListener, UnixStream};

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("socket");
    let unix = UnixListener::bind(&path).unwrap();
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = tcp.local_addr().unwrap();
    let protocol = FastCgi::new(crate::support::Echo, Limits::default());
    let mut server = Server::new(protocol, crate::support::settings()).unwrap();
    server.listen(Listener::inherited(unix.into()).unwrap()).unwrap();
    server.listen(Listener::inherited(tcp.into()).unwrap()).unwrap();
    let handle = server.handle();
    let thread = std::thread::spawn(move || server.run());
    let mut by_unix = crate::support::Client::from(UnixStream::connect(&path).unwrap());
    let mut by_tcp = crate::support::Client::from(TcpStream::connect(address).unwrap());
    for client in [&mut by_unix, &mut by_tcp] {
        assert_eq!(client.ask(&request(1, After::Keep, "/a", b"")), "/a pairs=2 ");
    }
    handle.stop();
    thread.join().unwrap().unwrap();
    assert!(path.exists(), "the file of an inherited socket is not ours to remove");
}
