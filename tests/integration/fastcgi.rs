//! FastCGI to the real binary, asked by a client that does what web servers do and worse;
//! and stopping and reloading under it.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::support::fastcgi::{
    ABORT_REQUEST, CLOSE, Client, END_REQUEST, GET_VALUES, GET_VALUES_RESULT, KEEP, PARAMS,
    RESPONDER, STDIN, UNKNOWN_TYPE, begin, pairs, post, record, stream,
};
use crate::support::ocsp::{Answer, MALFORMED, NONCE, tlv};
use crate::support::site::Served;
use crate::support::{eventually, logged};

mod sockets;

// rule: FCG-1
#[test]
fn one_port_answers_fastcgi_and_http_at_the_same_time() {
    let world = Served::new("");
    let mut client = Client::tcp(world.responder.address());
    for number in 0..20_u8 {
        let der = world.site.about("0a1b").with_nonce(&[number]).der();
        for answer in [client.post(&der).body, world.responder.post(&der)] {
            assert_eq!(Answer::read(&answer).extension(NONCE), Some(tlv(4, &[&[number]])));
        }
    }
    let reply = client.post(&world.site.about("0a1b").der());
    assert!(
        reply.head.starts_with("Status: 200 OK\r\nContent-Type: application/ocsp-response\r\n")
    );
    assert_eq!(reply.protocol_status, 0);
}

// rule: FCG-1
#[test]
fn records_may_be_cut_and_padded_in_any_way() {
    let world = Served::new("");
    let der = world.site.about("0a1b").der();
    let length = der.len().to_string();
    let long = "x".repeat(70_000);
    for (size, padding, more) in
        [(1, 0, ""), (1, 255, ""), (7, 1, "short"), (127, 7, &long[..127]), (65_535, 3, &long)]
    {
        let params = pairs(&[
            ("HTTP_X_MORE", more),
            ("", ""),
            ("REQUEST_METHOD", "POST"),
            (&long[..200], "\u{e9}"),
            ("CONTENT_LENGTH", &length),
            ("REQUEST_URI", "/%ff"),
        ]);
        let request = [
            begin(0x1234, RESPONDER, KEEP),
            stream(PARAMS, 0x1234, &params, size, padding),
            stream(STDIN, 0x1234, &der, size, padding),
        ]
        .concat();
        let mut client = Client::tcp(world.responder.address());
        for pieces in [request.len(), 1000, 11] {
            for piece in request.chunks(pieces) {
                client.send(piece);
            }
            let reply = client.reply(0x1234);
            assert_eq!(Answer::read(&reply.body).statuses(), ["good"]);
        }
    }
}

// rule: FCG-1
#[test]
fn a_connection_is_kept_or_closed_as_the_web_server_wishes() {
    let world = Served::new("");
    let der = world.site.about("0a1b").der();
    let mut client = Client::tcp(world.responder.address());
    // Two requests at once, one behind the other.
    client.send(&[post(1, KEEP, &der), post(2, KEEP, b"nonsense")].concat());
    assert_eq!(Answer::read(&client.reply(1).body).statuses(), ["good"]);
    assert_eq!(client.reply(2).body, MALFORMED);
    client.send(&post(3, CLOSE, &der));
    assert_eq!(Answer::read(&client.reply(3).body).statuses(), ["good"]);
    assert_eq!(client.record(), None);
}

// rule: FCG-1
#[test]
fn a_second_request_on_a_busy_connection_is_told_so_and_the_first_goes_on() {
    let world = Served::new("");
    let der = world.site.about("0a1b").der();
    let mut client = Client::tcp(world.responder.address());
    let first = post(1, KEEP, &der);
    client.send(&first[..40]);
    client.send(&first[40..60]); // in the middle of its params
    let middle = first.len() - 20;
    client.send(&first[60..middle]);
    client.send(&first[middle..]);
    assert_eq!(Answer::read(&client.reply(1).body).statuses(), ["good"]);
    client.send(&begin(1, RESPONDER, KEEP));
    client.send(&post(2, KEEP, &der));
    let refusal = client.record().unwrap();
    assert_eq!((refusal.record_type, refusal.request_id), (END_REQUEST, 2));
    assert_eq!(refusal.content[4], 1, "FCGI_CANT_MPX_CONN");
    client.send(&post(1, KEEP, &der)[16..]);
    assert_eq!(Answer::read(&client.reply(1).body).statuses(), ["good"]);
}

// rule: FCG-1
#[test]
fn management_records_roles_and_aborts_are_answered() {
    let world = Served::new("");
    let mut client = Client::tcp(world.responder.address());
    let names = pairs(&[("FCGI_MPXS_CONNS", ""), ("FCGI_MAX_CONNS", ""), ("FCGI_WHATEVER", "")]);
    client.send(&record(GET_VALUES, 0, &names, 5));
    let result = client.record().unwrap();
    assert_eq!(result.record_type, GET_VALUES_RESULT);
    let text = String::from_utf8_lossy(&result.content);
    assert!(text.contains("FCGI_MPXS_CONNS0") && text.contains("FCGI_MAX_CONNS4096"), "{text}");
    assert!(!text.contains("WHATEVER"));
    client.send(&record(77, 0, b"?", 0));
    let unknown = client.record().unwrap();
    assert_eq!((unknown.record_type, unknown.content[0]), (UNKNOWN_TYPE, 77));
    for role in [2, 3, 99] {
        client.send(&begin(9, role, KEEP));
        let end = client.record().unwrap();
        assert_eq!((end.record_type, end.content[4]), (END_REQUEST, 3), "FCGI_UNKNOWN_ROLE");
    }
    client.send(&[begin(8, RESPONDER, KEEP), record(ABORT_REQUEST, 8, b"", 0)].concat());
    let end = client.record().unwrap();
    assert_eq!((end.record_type, end.request_id, end.content[4]), (END_REQUEST, 8, 0));
    let answer = client.post(&world.site.about("0a1b").der());
    assert_eq!(Answer::read(&answer.body).statuses(), ["good"]);
}

// rule: WEB-1
#[test]
fn a_get_is_read_from_request_uri_and_never_from_path_info() {
    let world = Served::new("");
    let nonce = [0xff, 0xff, 0xfb, 0xef, 0xbe, 0xff, 0xff];
    let der = world.site.about("0a1b").with_nonce(&nonce).der();
    let path = STANDARD.encode(&der).replace('+', "%2B").replace('/', "%2F").replace('=', "%3D");
    let mut client = Client::tcp(world.responder.address());
    let mut get = |variables: &[(&str, &str)]| {
        let all = [&[("REQUEST_METHOD", "GET"), ("CONTENT_LENGTH", "")], variables].concat();
        let params = stream(PARAMS, 1, &pairs(&all), 65_535, 0);
        client.send(&[begin(1, RESPONDER, KEEP), params, record(STDIN, 1, b"", 0)].concat());
        client.reply(1).body
    };
    let uri = format!("/ocsp/{path}");
    let answer = get(&[("REQUEST_URI", &uri), ("PATH_INFO", "/MFnonsense"), ("SCRIPT_NAME", "/x")]);
    assert_eq!(Answer::read(&answer).extension(NONCE), Some(tlv(4, &[&nonce])));
    let page = get(&[("REQUEST_URI", "/ocsp/"), ("PATH_INFO", &uri)]);
    assert!(page.starts_with(b"This is an OCSP responder"));
}

#[test]
fn who_is_no_web_server_is_told_of_once() {
    let world = Served::new("");
    let mut client = Client::tcp(world.responder.address());
    for _ in 0..50 {
        let empty = [record(PARAMS, 1, b"", 0), record(STDIN, 1, b"", 0)].concat();
        client.send(&[begin(1, RESPONDER, KEEP), empty].concat());
        assert!(client.reply(1).head.starts_with("Status: 400 "));
    }
    let log = logged(&world.site.path("serve.log"), "not a request of a web server");
    assert_eq!(log.matches("not a request of a web server").count(), 1, "{log}");
}

// rule: FCG-2
#[test]
fn a_stop_finishes_what_is_under_way() {
    let mut world = Served::new("[limits]\nread_timeout = \"10s\"\n");
    let der = world.site.about("0a1b").with_nonce(b"n").der();
    // One request of each tongue has begun to come in, and one connection is idle.
    let mut client = Client::tcp(world.responder.address());
    let whole = post(1, KEEP, &der);
    client.send(&whole[..whole.len() - 9]);
    let mut stream = TcpStream::connect(world.responder.address()).unwrap();
    let head = format!("POST / HTTP/1.1\r\nContent-Length: {}\r\n\r\n", der.len());
    stream.write_all(&[head.as_bytes(), &der[..9]].concat()).unwrap();
    let mut idle = Client::tcp(world.responder.address());
    assert_eq!(Answer::read(&idle.post(&der).body).statuses(), ["good"]);
    world.responder.signal(Signal::SIGTERM);
    assert_eq!(idle.record(), None, "an idle connection ends at once");
    let refused = || TcpStream::connect(world.responder.address()).is_err().then_some(());
    eventually("nobody is accepted any more", refused);
    client.send(&whole[whole.len() - 9..]);
    assert_eq!(Answer::read(&client.reply(1).body).statuses(), ["good"]);
    stream.write_all(&der[9..]).unwrap();
    let mut response = Vec::new();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    stream.read_to_end(&mut response).unwrap();
    assert!(response.starts_with(b"HTTP/1.1 200 OK\r\n"));
    let status = eventually("it ends", || world.responder.child.try_wait().unwrap());
    assert_eq!(status.code(), Some(0));
    assert!(world.log().contains("info  ocsp-fcgi: stopped"), "{}", world.log());
}

/// Posts DER by the FastCGI client of Debian's libfcgi-bin; the body it got.
fn cgi_fcgi(at: &str, der: &[u8]) -> Vec<u8> {
    let mut command = Command::new("cgi-fcgi");
    command.args(["-bind", "-connect", at]).env_clear();
    command.env("REQUEST_METHOD", "POST").env("CONTENT_LENGTH", der.len().to_string());
    command.env("REQUEST_URI", "/").stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().expect("apt-get install libfcgi-bin");
    child.stdin.take().unwrap().write_all(der).unwrap();
    let output = child.wait_with_output().unwrap();
    let end = output.stdout.windows(4).position(|four| four == b"\r\n\r\n").unwrap();
    assert!(output.stdout.starts_with(b"Status: 200 OK\r\n"));
    output.stdout[end + 4..].to_vec()
}

/// A child, ended on drop.
struct Ended(Child);

impl Ended {
    fn stop(mut self) {
        kill(Pid::from_raw(self.0.id().try_into().unwrap()), Signal::SIGTERM).unwrap();
        let status = eventually("it ends", || self.0.try_wait().unwrap());
        assert_eq!(status.code(), Some(0));
    }
}

impl Drop for Ended {
    fn drop(&mut self) {
        let _gone = self.0.kill();
        let _status = self.0.wait();
    }
}
