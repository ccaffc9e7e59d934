//! The binary's own HTTP side, spoken to octet by octet and by curl.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use ocsp_fcgi::demo::KeyKind;
use ocsp_fcgi::time::{Clock, SystemClock};

use crate::support::ocsp::{Answer, CertId, MALFORMED, NONCE, Request, UNAUTHORIZED, tlv};
use crate::support::site::{Response, Running, Site, http};
use crate::support::{logged, run};

mod connections;

// rule: WEB-1
#[test]
fn a_post_is_answered_whatever_its_path_and_content_type() {
    let world = World::new("");
    let der = world.about("0a1b").der();
    for head in [
        "POST / HTTP/1.1\r\nHost: localhost:9000\r\n",
        "POST /a/b/c.cgi?x=y HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/ocsp-request\r\n",
        "POST //%ff%00 HTTP/1.1\r\nHost:\r\nContent-Type: text/html\r\n",
        "POST http://ocsp.test/ HTTP/1.1\r\nContent-Type: application/x-www-form-urlencoded\r\n",
        "POST /MFcw HTTP/1.1\r\n",
    ] {
        let response = world.send(head, &der);
        assert!(response.head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}{}", response.head);
        assert_eq!(Answer::read(&response.body).statuses(), ["good"], "{head}");
    }
}

// rule: WEB-1
#[test]
fn a_get_is_read_in_every_spelling_that_clients_use() {
    let world = World::new("");
    let (nonce, der) = world.request_with_slashes();
    let text = STANDARD.encode(&der);
    let escaped = text.replace('+', "%2B").replace('/', "%2F").replace('=', "%3D");
    let lower = text.replace('+', "%2b").replace('/', "%2f").replace('=', "%3d");
    let url_safe = URL_SAFE.encode(&der);
    let bare = text.trim_end_matches('=').to_owned();
    let all_escaped: String = text.bytes().map(|octet| format!("%{octet:02X}")).collect();
    let merged = text.replace("//", "/");
    assert!(text.contains("//") && text.contains('+') && text.contains('='), "{text}");
    for part in [
        &text,
        &escaped,
        &lower,
        &url_safe,
        &bare,
        url_safe.trim_end_matches('='),
        &all_escaped,
        &merged,
    ] {
        for prefix in ["/", "//", "/ocsp/", "/a/b//", "http://localhost/", "/M/", "/%4d/", "/ca%2F"]
        {
            let response = world.send(&format!("GET {prefix}{part} HTTP/1.1\r\nHost: x\r\n"), b"");
            assert!(response.head.starts_with("HTTP/1.1 200 OK\r\n"), "{}", response.head);
            let answer = Answer::read(&response.body);
            // The nonce shows that each octet came through.
            assert_eq!(answer.extension(NONCE), Some(tlv(4, &[&nonce])), "{prefix}{part}");
        }
        let response = world.send(&format!("GET /{part}?a=b HTTP/1.0\r\n"), b"");
        assert_eq!(Answer::read(&response.body).statuses(), ["good"]);
    }
}

// rule: WEB-1, REQ-2
#[test]
fn a_get_is_decoded_once_and_a_plus_is_no_space() {
    let world = World::new("");
    let (_, der) = world.request_with_slashes();
    let text = STANDARD.encode(&der);
    let twice = text.replace('+', "%252B").replace('/', "%252F").replace('=', "%253D");
    for wrong in [
        twice,
        text.replace('+', "%20"),
        format!("{text}A"),
        format!("{}AAAA", text.trim_end_matches('=')),
        format!("{text}===="),
        text[..text.len() - 8].to_owned(),
        text.replacen('+', "%", 1),
    ] {
        let response = world.send(&format!("GET /{wrong} HTTP/1.1\r\n"), b"");
        assert!(response.head.starts_with("HTTP/1.1 200 OK\r\n"), "{}", response.head);
        // Or the page, where not even the beginning is Base64.
        let is_page = response.body.starts_with(b"This is an OCSP responder");
        assert!(is_page || response.body == MALFORMED, "{wrong}: {:02x?}", response.body);
    }
}

// rule: WEB-2
#[test]
fn every_answer_is_200_with_one_content_type_and_a_length() {
    let world = World::new("");
    let foreign = CertId { name_hash: vec![7; 20], ..CertId::new(&world.ca(), "0a1b") };
    for (der, wanted) in [
        (world.about("0a1b").der(), None),
        (world.about("0a1b").with_nonce(b"n").der(), None),
        (world.about("0c03").der(), None),
        (Request::about(&foreign).der(), Some(UNAUTHORIZED)),
        (b"nonsense".to_vec(), Some(MALFORMED)),
        (b"".to_vec(), Some(MALFORMED)),
    ] {
        let response = world.send("POST / HTTP/1.1\r\n", &der);
        assert!(response.head.starts_with("HTTP/1.1 200 OK\r\n"), "{}", response.head);
        let lower = response.head.to_lowercase();
        assert_eq!(lower.matches("content-type:").count(), 1, "{lower}");
        assert_eq!(lower.matches("content-length:").count(), 1, "{lower}");
        assert_eq!(response.field("Content-Type"), Some("application/ocsp-response"));
        assert_eq!(response.field("Content-Length").unwrap(), response.body.len().to_string());
        match wanted {
            Some(error) => assert_eq!(response.body, error),
            None => drop(Answer::read(&response.body)),
        }
    }
}

// rule: WEB-3
#[test]
fn an_authoritative_answer_tells_caches_what_the_answer_says() {
    let world = World::new("");
    for serial in ["0a1b", "ff02"] {
        let path = STANDARD.encode(world.about(serial).der()).replace('/', "%2F");
        for (head, body) in [
            (format!("GET /{path} HTTP/1.1\r\n"), Vec::new()),
            ("POST / HTTP/1.1\r\n".to_owned(), world.about(serial).der()),
        ] {
            let response = world.send(&head, &body);
            let (this_update, _, next_update) = Answer::read(&response.body).times();
            let digest: String =
                openssl::sha::sha256(&response.body).iter().map(|it| format!("{it:02x}")).collect();
            assert_eq!(response.field("ETag").unwrap(), format!("\"{digest}\""));
            assert_eq!(response.field("Last-Modified").unwrap(), imf_fixdate(this_update));
            assert_eq!(response.field("Expires").unwrap(), imf_fixdate(next_update));
            let caching = response.field("Cache-Control").unwrap();
            let (max_age, rest) = caching.split_once(", ").unwrap();
            assert_eq!(rest, "public, no-transform, must-revalidate");
            assert_eq!(max_age, "max-age=3600", "the default ceiling");
            let accel: i64 = response.field("X-Accel-Expires").unwrap().parse().unwrap();
            assert!((0..=10).contains(&accel), "{accel}: within the freshness window");
            let date = response.field("Date").unwrap();
            let now = SystemClock.now().unix();
            assert!((now - 3..=now).any(|second| imf_fixdate(second) == date), "{date}");
        }
    }
}

// rule: WEB-3
#[test]
fn max_age_ends_at_the_ceiling_and_with_the_answer() {
    let world = World::new("[answers]\nmax_age = \"7s\"\n");
    let response = world.send("POST / HTTP/1.1\r\n", &world.about("0a1b").der());
    assert!(response.field("Cache-Control").unwrap().starts_with("max-age=7, "));
    let world = World::new("[answers]\nmax_age = \"3650d\"\n");
    let response = world.send("POST / HTTP/1.1\r\n", &world.about("0a1b").der());
    let (.., next_update) = Answer::read(&response.body).times();
    let caching = response.field("Cache-Control").unwrap();
    let seconds = caching.strip_prefix("max-age=").and_then(|text| text.split(',').next()).unwrap();
    let left = next_update - SystemClock.now().unix();
    let max_age: i64 = seconds.parse().unwrap();
    // What the web server in front repeats last must not outlive the answer either.
    assert!((left - 30..=left + 1).contains(&max_age), "{max_age} of {left}");
}

// rule: WEB-3
#[test]
fn other_answers_are_for_nobody_else() {
    let world = World::new("");
    let foreign = CertId { key_hash: vec![7; 20], ..CertId::new(&world.ca(), "0a1b") };
    for (der, wanted) in [
        (world.about("0a1b").with_nonce(b"n").der(), "max-age=0"),
        (world.about("0c03").with_nonce(b"n").der(), "max-age=0"),
        (world.about("0c03").der(), "no-store"),
        (Request::about(&foreign).der(), "no-store"),
        (b"nonsense".to_vec(), "no-store"),
    ] {
        let response = world.send("POST / HTTP/1.1\r\n", &der);
        let caching = response.field("Cache-Control").unwrap();
        assert!(caching.starts_with(wanted) && !caching.contains("public"), "{caching}");
        assert_eq!(response.field("X-Accel-Expires"), Some("0"));
        for field in ["ETag", "Expires", "Last-Modified"] {
            assert_eq!(response.field(field), None, "{field}");
        }
    }
}

// rule: WEB-4
#[test]
fn a_client_that_has_the_answer_gets_304_and_keeps_its_connection() {
    let world = World::new("");
    let path = STANDARD.encode(world.about("0a1b").der()).replace('/', "%2F");
    let mut connection = Connection::to(&world.responder);
    let get = |method: &str, field: &str| {
        format!("{method} /{path} HTTP/1.1\r\nHost: x\r\n{field}\r\n").into_bytes()
    };
    let full = connection.ask(&get("GET", ""));
    let tag = full.field("ETag").unwrap().to_owned();
    for list in
        [tag.clone(), format!("W/{tag}"), format!("\"a,b\", W/\"c\" ,{tag}"), "*".to_owned()]
    {
        for method in ["GET", "HEAD"] {
            let response = connection.ask(&get(method, &format!("If-None-Match: {list}\r\n")));
            assert!(
                response.head.starts_with("HTTP/1.1 304 Not Modified\r\n"),
                "{}",
                response.head
            );
            assert!(response.body.is_empty());
            for field in ["ETag", "Expires", "Last-Modified", "Cache-Control"] {
                assert!(response.field(field).is_some(), "{field} in {}", response.head);
            }
            assert_eq!(response.field("ETag"), Some(tag.as_str()));
        }
    }
    for other in ["\"x\"", &tag.to_uppercase(), tag.trim_matches('"')] {
        let response = connection.ask(&get("GET", &format!("If-None-Match: {other}\r\n")));
        assert_eq!(response.body, full.body, "{other}");
    }
}

// rule: WEB-4
#[test]
fn head_is_get_without_a_body_and_other_methods_are_refused() {
    let world = World::new("");
    let mut connection = Connection::to(&world.responder);
    let path = STANDARD.encode(world.about("0a1b").der()).replace('/', "%2F");
    let get = connection.ask(format!("GET /{path} HTTP/1.1\r\n\r\n").as_bytes());
    connection.send(format!("HEAD /{path} HTTP/1.1\r\n\r\n").as_bytes());
    let head = connection.head();
    assert_eq!(head.field("Content-Length").unwrap(), get.body.len().to_string());
    assert_eq!(head.field("ETag"), get.field("ETag"));
    for method in ["PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "get", "BREW"] {
        let request = format!("{method} /{path} HTTP/1.1\r\nContent-Length: 2\r\n\r\nab");
        let response = connection.ask(request.as_bytes());
        assert!(
            response.head.starts_with("HTTP/1.1 405 Method Not Allowed\r\n"),
            "{}",
            response.head
        );
        assert_eq!(response.field("Allow"), Some("GET, HEAD, POST"));
    }
}

// rule: WEB-5
#[test]
fn a_body_over_the_limit_is_refused_unread() {
    let world = World::new("");
    let large = "POST / HTTP/1.1\r\nContent-Length: 3145729\r\n\r\n";
    let response = http(world.responder.address(), large.as_bytes());
    assert!(response.head.starts_with("HTTP/1.1 413 Content Too Large\r\n"), "{}", response.head);
    let response = world.send("POST / HTTP/1.1\r\n", &vec![0; 3 << 20]);
    assert_eq!(response.body, MALFORMED, "3 MiB are within the limit");

    let world = World::new("[limits]\nrequest_bytes = \"1KiB\"\n");
    for request in [
        "POST / HTTP/1.1\r\nContent-Length: 1025\r\n\r\n".to_owned(),
        "POST / HTTP/1.1\r\nContent-Length: 99999999999999999999\r\n\r\n".to_owned(),
        format!(
            "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n401\r\n{}",
            "x".repeat(0x401)
        ),
    ] {
        let response = http(world.responder.address(), request.as_bytes());
        assert!(response.head.starts_with("HTTP/1.1 413 "), "{request}: {}", response.head);
        assert_eq!(response.field("Connection"), Some("close"));
    }
    assert_eq!(world.send("POST / HTTP/1.1\r\n", &[0; 1024]).body, MALFORMED);
}

// rule: WEB-6
#[test]
fn a_get_without_a_request_gets_a_page_and_leaves_no_line_in_the_log() {
    let world = World::new("[log]\nlevel = \"info\"\n");
    let log = world.site.path("serve.log");
    let before = logged(&log, "started: ");
    for path in ["/", "/index.html", "/favicon.ico", "/ocsp/", "*", "/?MFcw", "/Makefile", "/MF"] {
        let response = world.send(&format!("GET {path} HTTP/1.1\r\n"), b"");
        assert!(response.head.starts_with("HTTP/1.1 200 OK\r\n"), "{path} {}", response.head);
        assert_eq!(response.field("Content-Type"), Some("text/plain; charset=utf-8"), "{path}");
        let page = String::from_utf8(response.body.clone()).unwrap();
        assert!(page.contains("OCSP responder") && page.len() < 1000, "{page}");
        assert_eq!(response.field("Cache-Control"), Some("no-store"));
    }
    // A line that is certain to come shows that none came before it.
    world.responder.signal(nix::sys::signal::Signal::SIGHUP);
    let after = logged(&log, "reloaded: ");
    assert_eq!(after.lines().count(), before.lines().count() + 1, "{after}");
}

#[test]
fn all_addresses_of_both_families_are_listened_on() {
    let world = World::new("[listen]\naddresses = [\"0.0.0.0\", \"::\"]\n");
    let port = world.responder.port;
    for address in ["127.0.0.1", "[::1]"] {
        let address = format!("{address}:{port}").parse().unwrap();
        let page = http(address, b"GET / HTTP/1.0\r\n\r\n");
        assert!(page.head.starts_with("HTTP/1.1 200 OK\r\n"), "{}", page.head);
    }
}

// rule: WEB-1
#[test]
fn curl_gets_and_posts() {
    let world = World::new("");
    let request = world.site.path("request.der");
    std::fs::write(&request, world.about("0a1b").der()).unwrap();
    let path = STANDARD.encode(std::fs::read(&request).unwrap());
    let post = format!("@{}", request.display());
    for (arguments, url) in [
        (vec!["--data-binary", &post], world.responder.url()),
        (vec!["--data-binary", &post, "-H", "Transfer-Encoding: chunked"], world.responder.url()),
        (vec!["--data-binary", &post, "-H", "Expect: 100-continue"], world.responder.url()),
        (vec!["--path-as-is"], format!("{}/{path}", world.responder.url())),
        (vec!["--http1.0"], format!("{}/ocsp/{path}", world.responder.url())),
    ] {
        let mut command = Command::new("curl");
        let output =
            run(command.args(["-sS", "--max-time", "10"]).args(&arguments).arg(url), "curl");
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?}: {stderr}");
        assert_eq!(Answer::read(&output.stdout).statuses(), ["good"], "{arguments:?}");
    }
}

struct World {
    responder: Running,
    site: Site,
}

impl World {
    fn new(more: &str) -> Self {
        let site = Site::with_certificates(KeyKind::P256);
        Self { responder: site.serve(more), site }
    }

    fn ca(&self) -> openssl::x509::X509 {
        self.site.ca.identity.certificate.clone()
    }

    fn about(&self, serial: &str) -> Request {
        self.site.about(serial)
    }

    /// Sends one request, whose head lacks its length and its end.
    fn send(&self, head: &str, body: &[u8]) -> Response {
        let head = format!("{head}Content-Length: {}\r\n\r\n", body.len());
        http(self.responder.address(), &[head.as_bytes(), body].concat())
    }

    /// A request whose Base64 has everything that goes wrong in URLs, and its nonce.
    fn request_with_slashes(&self) -> (Vec<u8>, Vec<u8>) {
        for number in 0..=u8::MAX {
            let nonce = [0xff, 0xff, 0xff, 0xfb, 0xef, 0xbe, 0xff, number];
            for skip in 0..3 {
                let nonce = &nonce[skip..];
                let der = self.about("0a1b").with_nonce(nonce).der();
                let text = STANDARD.encode(&der);
                // The CA's hashes are chance: with slashes of theirs there could be more
                // merged ones than are put back.
                let merged = text.len() - text.replace("//", "/").len();
                let is_wanted = ["//", "+", "="].into_iter().all(|part| text.contains(part));
                if is_wanted && merged <= 2 {
                    return (nonce.to_vec(), der);
                }
            }
        }
        panic!("no such request");
    }
}

/// A connection that several requests go over.
struct Connection {
    stream: TcpStream,
    received: Vec<u8>,
}

impl Connection {
    fn to(responder: &Running) -> Self {
        let stream = TcpStream::connect(responder.address()).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream, received: Vec::new() }
    }

    fn send(&mut self, octets: &[u8]) {
        self.stream.write_all(octets).unwrap();
    }

    fn ask(&mut self, request: &[u8]) -> Response {
        self.send(request);
        self.response()
    }

    fn response(&mut self) -> Response {
        let mut response = self.head();
        let length = response.field("Content-Length").map_or(0, |text| text.parse().unwrap());
        while self.received.len() < length {
            self.receive();
        }
        response.body = self.received.drain(..length).collect();
        response
    }

    /// The head alone.
    fn head(&mut self) -> Response {
        loop {
            if let Some(at) = self.received.windows(4).position(|four| four == b"\r\n\r\n") {
                let head = String::from_utf8(self.received.drain(..at + 4).collect()).unwrap();
                return Response { head, body: Vec::new() };
            }
            self.receive();
        }
    }

    fn receive(&mut self) {
        let mut buffer = [0; 16 * 1024];
        let count = self.stream.read(&mut buffer).unwrap();
        assert!(count > 0, "closed after {:?}", String::from_utf8_lossy(&self.received));
        self.received.extend(&buffer[..count]);
    }
}

fn post(der: &[u8]) -> Vec<u8> {
    let head = format!("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n", der.len());
    [head.as_bytes(), der].concat()
}

/// As `date` writes it.
fn imf_fixdate(seconds: i64) -> String {
    let mut command = Command::new("date");
    command.args(["-u", "-d", &format!("@{seconds}"), "+%a, %d %b %Y %H:%M:%S GMT"]);
    let output = run(command.env("LC_ALL", "C"), "coreutils");
    String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
}
