//! What the tests of nginx and Apache share: a server that ends with its test, a
//! client that keeps its connection, questions, and what an answer says to them.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "helpers of tests")]

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use ocsp_fcgi::status::CertStatus;
use ocsp_fcgi::time::Timestamp;

use super::run;
use super::site::{REVOKED_AT, Response, Site};

/// The user that Debian's web servers give up root for.
pub const WEB_USER: &str = "www-data";

pub fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

/// A program that Debian keeps in /usr/sbin, where not everybody looks.
#[track_caller]
pub fn program(name: &str, package: &str) -> PathBuf {
    let path = std::env::var("PATH").unwrap_or_default() + ":/usr/local/sbin:/usr/sbin:/sbin";
    let found = std::env::split_paths(&path).map(|folder| folder.join(name)).find(|at| at.exists());
    found.unwrap_or_else(|| panic!("no {name} here; on Debian: apt-get install {package}"))
}

/// A shipped file with each of these texts replaced; all of them must be in it.
#[track_caller]
pub fn shipped(name: &str, replacements: &[(&str, &str)]) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples").join(name);
    let mut text = std::fs::read_to_string(path).unwrap();
    for (from, to) in replacements {
        assert!(text.contains(from), "{from:?} is not in examples/{name}");
        text = text.replace(from, to);
    }
    text
}

/// A web server in the foreground below a shell, which ends it when this is dropped,
/// or when the test is killed: either closes the shell's standard input.
pub struct WebServer {
    pub address: SocketAddr,
    shell: Child,
}

impl WebServer {
    /// Waits until it listens; `log` is shown when it does not.
    pub fn start(mut server: Vec<String>, port: u16, log: &Path) -> Self {
        // In a process group of its own: Apache's mpm_prefork ends by a signal to all of
        // the group, which interrupts the last `wait`.
        let script = "\"$@\" & server=$!; read -r nothing; trap : TERM; kill $server
            while kill -0 $server 2>/dev/null; do wait $server; done";
        server.splice(0..0, ["-c".to_owned(), script.to_owned(), "sh".to_owned()]);
        let shell = Command::new("sh")
            .process_group(0)
            .args(server)
            .stdin(Stdio::piped())
            .stderr(std::fs::File::create(log.with_extension("stderr")).unwrap())
            .spawn()
            .unwrap();
        let web_server = Self { address: SocketAddr::from(([127, 0, 0, 1], port)), shell };
        let until = Instant::now() + Duration::from_secs(10);
        while TcpStream::connect(web_server.address).is_err() {
            if Instant::now() > until {
                let read = |path: &Path| std::fs::read_to_string(path).unwrap_or_default();
                panic!("no web server:\n{}{}", read(&log.with_extension("stderr")), read(log));
            }
            thread::sleep(Duration::from_millis(10));
        }
        web_server
    }

    pub fn url(&self) -> String {
        format!("http://localhost:{}", self.address.port())
    }

    pub fn client(&self) -> Client {
        Client::connect(self.address)
    }

    /// The shell that the server is a child of.
    #[allow(dead_code, reason = "for the benchmarks")]
    pub fn pid(&self) -> u32 {
        self.shell.id()
    }
}

impl Drop for WebServer {
    fn drop(&mut self) {
        drop(self.shell.stdin.take());
        let _status = self.shell.wait();
    }
}

/// A client on one connection, kept where the server keeps it.
pub struct Client {
    address: SocketAddr,
    patience: Duration,
    stream: TcpStream,
    received: Vec<u8>,
}

/// What a request is to be answered with.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Asked {
    Whole,
    Head,
}

/// The connection ended, or was silent for too long, without a whole response.
#[derive(Debug)]
pub struct NoResponse;

impl Client {
    pub fn connect(address: SocketAddr) -> Self {
        Self::with_patience(address, Duration::from_secs(30))
    }

    /// Waits no longer than this for an answer.
    pub fn with_patience(address: SocketAddr, patience: Duration) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(patience)).unwrap();
        Self { address, patience, stream, received: Vec::new() }
    }

    /// Sends pieces one after the other, with a pause before each but the first, and
    /// reads the response.
    pub fn try_send(&mut self, pieces: &[&[u8]]) -> Result<Response, NoResponse> {
        let asked = if pieces[0].starts_with(b"HEAD ") { Asked::Head } else { Asked::Whole };
        for (index, piece) in pieces.iter().enumerate() {
            if index > 0 {
                thread::sleep(Duration::from_millis(5)); // a packet of its own
            }
            // A server that has refused already may have closed: its response counts.
            let _refused = self.stream.write_all(piece);
        }
        let response = self.response(asked);
        let ends = response.as_ref().map_or(true, |response| {
            response.field("Connection").is_some_and(|value| value.eq_ignore_ascii_case("close"))
        });
        if ends {
            *self = Self::with_patience(self.address, self.patience);
        }
        response
    }

    #[track_caller]
    pub fn send(&mut self, request: &[u8]) -> Response {
        self.try_send(&[request]).unwrap()
    }

    #[track_caller]
    pub fn get(&mut self, uri: &str) -> Response {
        self.send(&get(uri))
    }

    #[track_caller]
    pub fn post(&mut self, der: &[u8]) -> Response {
        self.send(&post(der))
    }

    fn response(&mut self, asked: Asked) -> Result<Response, NoResponse> {
        loop {
            let head = self.take(|octets| {
                octets.windows(4).position(|window| window == b"\r\n\r\n").map(|at| at + 4)
            })?;
            let head = String::from_utf8(head).unwrap();
            if head.starts_with("HTTP/1.1 100 ") {
                continue;
            }
            let mut response = Response { head, body: Vec::new() };
            assert!(response.field("Transfer-Encoding").is_none(), "{}", response.head);
            let length = response.field("Content-Length").map_or(0, |text| text.parse().unwrap());
            if asked == Asked::Whole {
                response.body = self.take(|octets| (octets.len() >= length).then_some(length))?;
            }
            return Ok(response);
        }
    }

    fn take(&mut self, whole: impl Fn(&[u8]) -> Option<usize>) -> Result<Vec<u8>, NoResponse> {
        let mut buffer = [0; 16 * 1024];
        loop {
            if let Some(length) = whole(&self.received) {
                return Ok(self.received.drain(..length).collect());
            }
            match self.stream.read(&mut buffer) {
                Ok(0) => return Err(NoResponse),
                Ok(count) => self.received.extend(&buffer[..count]),
                Err(error) => match error.kind() {
                    ErrorKind::ConnectionReset | ErrorKind::WouldBlock => return Err(NoResponse),
                    _ => panic!("no response: {error}"),
                },
            }
        }
    }
}

impl Response {
    /// The status code.
    pub fn status(&self) -> u16 {
        self.head[9..12].parse().unwrap()
    }
}

pub fn get(uri: &str) -> Vec<u8> {
    request("GET", uri, "")
}

/// A request without a body; each of `fields` ends with CRLF.
pub fn request(method: &str, uri: &str, fields: &str) -> Vec<u8> {
    format!("{method} {uri} HTTP/1.1\r\nHost: ocsp.example.com\r\n{fields}\r\n").into_bytes()
}

pub fn post(der: &[u8]) -> Vec<u8> {
    post_to("POST", "/", der)
}

pub fn post_to(method: &str, uri: &str, body: &[u8]) -> Vec<u8> {
    let length = format!("Content-Length: {}\r\n", body.len());
    [&request(method, uri, &length)[..], body].concat()
}

/// A chunked POST with so many octets in each chunk, and a chunk extension.
pub fn post_in_chunks(body: &[u8], size: usize, extension: &str) -> Vec<u8> {
    let mut octets = request("POST", "/", "Transfer-Encoding: chunked\r\n");
    for chunk in body.chunks(size) {
        write!(octets, "{:x}{extension}\r\n", chunk.len()).unwrap();
        octets.extend(chunk);
        octets.extend(b"\r\n");
    }
    octets.extend(b"0\r\n\r\n");
    octets
}

/// The Base64 of a request.
pub fn base64(der: &[u8]) -> String {
    openssl::base64::encode_block(der)
}

/// The same with `+`, `/` and `=` escaped, as most clients have it.
pub fn escaped(der: &[u8]) -> String {
    base64(der).replace('+', "%2B").replace('/', "%2F").replace('=', "%3D")
}

/// A question like `template`, which is about one serial of two octets and has no
/// nonce: it ends with the serial.
pub fn about(template: &[u8], serial: u16) -> Vec<u8> {
    let (before, _) = template.split_last_chunk::<2>().unwrap();
    [before, &serial.to_be_bytes()].concat()
}

/// `question`, which has no extensions, with one that says nothing, so that it is
/// exactly `size` octets long, from a few hundred to 65,000.
pub fn padded(question: &[u8], size: usize) -> Vec<u8> {
    let list = &question[4..]; // past the headers of OCSPRequest and TBSRequest
    let whole = |padding: usize| {
        let value = tlv(0x04, &vec![0; padding]);
        let extension = tlv(0x30, &[&[0x06, 4, 0x2b, 6, 1, 1][..], &value].concat());
        let extensions = tlv(0xa2, &tlv(0x30, &extension));
        tlv(0x30, &tlv(0x30, &[list, &extensions].concat()))
    };
    let found = (0..size).rev().map(whole).find(|der| der.len() <= size).unwrap();
    assert_eq!(found.len(), size);
    found
}

fn tlv(tag: u8, content: &[u8]) -> Vec<u8> {
    let [high, low] = u16::try_from(content.len()).unwrap().to_be_bytes();
    let length = match content.len() {
        0..=0x7f => vec![low],
        0x80..=0xff => vec![0x81, low],
        _ => vec![0x82, high, low],
    };
    [&[tag][..], &length, content].concat()
}

/// What an answer says to the question in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Said {
    Good,
    Revoked,
    Unknown,
    /// Nothing: an error, or an answer to another question.
    Nothing,
}

/// What `answer` says to `question`, which is about one certificate.
pub fn said(question: &[u8], answer: &[u8]) -> Said {
    // The CertID stands in the answer as it was asked (RFC 6960 section 4.2.2.3), and
    // the status right behind it.
    let at = question.windows(4).position(|start| start == [0x30, 9, 6, 5] || start == SHA_256);
    let cert_id = &question[at.unwrap() - 2..];
    let cert_id = &cert_id[..usize::from(cert_id[1]) + 2];
    let found = answer.windows(cert_id.len()).position(|window| window == cert_id);
    match found.and_then(|at| answer.get(at + cert_id.len())) {
        Some(0x80) => Said::Good,
        Some(0xa1) => Said::Revoked,
        Some(0x82) => Said::Unknown,
        _ => Said::Nothing,
    }
}

/// How the AlgorithmIdentifier of SHA-256 begins; that of SHA-1 is `30 09 06 05`.
const SHA_256: [u8; 4] = [0x30, 13, 6, 9];

/// The status of a certificate that is revoked without a reason.
pub fn revoked() -> CertStatus {
    CertStatus::Revoked { time: Timestamp::from_unix(REVOKED_AT), reason: None }
}

pub const MALFORMED: &[u8] = b"0\x03\n\x01\x01";

/// Numbers that look random, the same in each run.
pub struct Dice(pub u64);

impl Dice {
    pub fn below(&mut self, limit: usize) -> usize {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % limit
    }
}

/// Sets a flag when it goes, by a panic too: threads that look at it come to an end.
pub struct OnDrop<'a>(pub &'a AtomicBool);

impl Drop for OnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Passes connections on from one Unix socket to another, and counts them.
pub struct Relay {
    count: Arc<AtomicUsize>,
}

impl Relay {
    pub fn start(from: &Path, to: &Path) -> Self {
        let listener = UnixListener::bind(from).unwrap();
        open_to_the_web_server(from);
        let count = Arc::new(AtomicUsize::new(0));
        let (counted, to) = (Arc::clone(&count), to.to_owned());
        thread::spawn(move || {
            for near in listener.incoming() {
                counted.fetch_add(1, Ordering::SeqCst);
                let (near, far) = (near.unwrap(), UnixStream::connect(&to).unwrap());
                let (near_too, far_too) = (near.try_clone().unwrap(), far.try_clone().unwrap());
                thread::spawn(move || pass_on(near, far));
                thread::spawn(move || pass_on(far_too, near_too));
            }
        });
        Self { count }
    }

    pub fn count(&self) -> usize {
        self.count.load(Ordering::SeqCst)
    }
}

fn pass_on(mut from: UnixStream, mut to: UnixStream) {
    let _ended = std::io::copy(&mut from, &mut to);
    let _ended_too = to.shutdown(std::net::Shutdown::Both);
}

/// A FastCGI application at `socket` that answers every request with these fields and
/// a body that is different each time.
pub fn serve_anything(socket: &Path, fields: &'static str) {
    let listener = UnixListener::bind(socket).unwrap();
    open_to_the_web_server(socket);
    thread::spawn(move || {
        for (number, connection) in listener.incoming().enumerate() {
            let mut connection = connection.unwrap();
            let mut header = [0; 8];
            // To the end of its standard input, an empty record of type 5.
            while connection.read_exact(&mut header).is_ok() && (header[1], header[5]) != (5, 0) {
                let length = u64::from(u16::from_be_bytes([header[4], header[5]]));
                let rest = length + u64::from(header[6]);
                std::io::copy(&mut (&connection).take(rest), &mut std::io::sink()).unwrap();
            }
            let output = format!("{fields}\r\n{number:04}");
            let length = u8::try_from(output.len()).unwrap();
            let records = [&[1, 6, 0, 1, 0, length, 0, 0], output.as_bytes(), END_OF_REQUEST];
            let _gone = connection.write_all(&records.concat());
        }
    });
}

const END_OF_REQUEST: &[u8] = &[1, 3, 0, 1, 0, 8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

/// Lets the user of the web server connect to a socket.
pub fn open_to_the_web_server(socket: &Path) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(socket, std::fs::Permissions::from_mode(0o666)).unwrap();
}

/// A serial whose Base64 holds `//` and `+` wherever the serial begins.
const AWKWARD_SERIAL: &str = "7fffffffffffff00fbefbe00fbefbe00fbefbe";

/// What every web server in front must let through, on a site with certificates;
/// `too_large` is its status for a chunked body of more than 16 KiB.
#[track_caller]
pub fn assert_passes_everything_on(site: &Site, server: &WebServer, too_large: u16) {
    assert_answers_openssl(site, server);
    assert_answers_every_spelling_of_a_get(site, server);
    assert_states_what_caches_may_do(site, server);
    assert_refuses_what_is_no_request(site, server, too_large);
    assert_has_methods_and_a_page(site, server);
}

// rule: WEB-1
#[track_caller]
fn assert_answers_openssl(site: &Site, server: &WebServer) {
    for options in [&[][..], &["-sha256"], &["-no_nonce"], &["-sha256", "-no_nonce"]] {
        site.assert_three_answers(&server.url(), options);
    }
    site.assert_three_answers(&format!("{}/any/path/", server.url()), &["-no_nonce"]);
}

// rule: WEB-1
#[track_caller]
fn assert_answers_every_spelling_of_a_get(site: &Site, server: &WebServer) {
    site.issue("awkward", AWKWARD_SERIAL, Some(CertStatus::Good));
    let question = site.request("awkward", &["-no_nonce"]);
    let plain = base64(&question);
    assert!(plain.contains("//") && plain.contains('+') && plain.starts_with('M'), "{plain}");
    let wanted = server.client().post(&question).body;
    assert!(site.read_answer("awkward", &wanted).contains("awkward.crt: good"));
    let all: String = plain.bytes().map(|octet| format!("%{octet:02x}")).collect();
    for path in [
        format!("/{plain}"),
        format!("//{plain}"),
        format!("/{}", escaped(&question)),
        format!("/{}", escaped(&question).replace("%2F", "%2f")),
        format!("/{}", plain.replace('+', "-").replace('/', "_")),
        format!("/{}", plain.trim_end_matches('=')),
        format!("/{all}"),
        format!("/ocsp/{plain}"),
        format!("/ocsp//{}", escaped(&question)),
        format!("/a%2Fb/{}/{plain}", "long".repeat(100)),
        format!("/{}?query=/x", escaped(&question)),
    ] {
        let mut curl = Command::new("curl");
        curl.args(["-sSg", "--path-as-is", "--max-time", "20"]).arg(server.url() + &path);
        let answer = run(&mut curl, "curl");
        let stderr = String::from_utf8_lossy(&answer.stderr);
        assert!(answer.stdout == wanted, "{path}: {stderr}{:?}", answer.stdout);
    }
}

// rule: WEB-2, WEB-3, WEB-4
#[track_caller]
fn assert_states_what_caches_may_do(site: &Site, server: &WebServer) {
    let mut client = server.client();
    let question = site.request("good", &["-no_nonce"]);
    let uri = format!("/{}", escaped(&question));
    let answer = client.get(&uri);
    assert_eq!(said(&question, &answer.body), Said::Good);
    assert_is_ocsp(&answer);
    let tag: String =
        openssl::sha::sha256(&answer.body).iter().map(|b| format!("{b:02x}")).collect();
    let tag = format!("\"{tag}\"");
    assert_eq!(answer.field("ETag"), Some(&*tag));
    for date in ["Last-Modified", "Expires"] {
        assert!(answer.field(date).unwrap().ends_with(" GMT"), "{}", answer.head);
    }
    let caching = answer.field("Cache-Control").unwrap();
    let (max_age, others) = caching.split_once(", ").unwrap();
    assert_eq!(others, "public, no-transform, must-revalidate");
    let max_age: u32 = max_age.strip_prefix("max-age=").unwrap().parse().unwrap();
    assert!((3500..=3600).contains(&max_age), "{caching}");
    assert_eq!(answer.field("Vary"), None, "{}", answer.head);
    // HEAD is GET without the body.
    let head = client.send(&request("HEAD", &uri, ""));
    assert_eq!((head.status(), head.field("ETag")), (200, Some(&*tag)));
    assert_eq!(head.field("Content-Length"), answer.field("Content-Length"));
    // Who has the answer is told so.
    for field in [tag.clone(), format!("\"other\", W/{tag}"), "*".to_owned()] {
        let field = format!("If-None-Match: {field}\r\n");
        let same = client.send(&request("GET", &uri, &field));
        assert_eq!((same.status(), same.field("ETag")), (304, Some(&*tag)), "{field}");
        assert!(same.field("Cache-Control").is_some() && same.body.is_empty(), "{}", same.head);
    }
    let other = client.send(&request("GET", &uri, "If-None-Match: \"other\"\r\n"));
    assert_eq!((other.status(), other.body), (200, answer.body));
    // What is for one client, or no answer.
    for name in ["good", "unlisted"] {
        let question = site.request(name, if name == "good" { &[] } else { &["-no_nonce"] });
        let answer = client.post(&question);
        assert_ne!(said(&question, &answer.body), Said::Nothing);
        assert_is_ocsp(&answer);
        let wanted = if name == "good" { "max-age=0, private, " } else { "no-store" };
        assert!(answer.field("Cache-Control").unwrap().starts_with(wanted), "{}", answer.head);
        assert_eq!((answer.field("ETag"), answer.field("Expires")), (None, None));
    }
}

// rule: WEB-2, WEB-5
#[track_caller]
fn assert_refuses_what_is_no_request(site: &Site, server: &WebServer, too_large: u16) {
    let mut client = server.client();
    let question = site.request("good", &["-no_nonce"]);
    let cut = &question[..question.len() - 1];
    for request in [
        post(b"garbled"),
        post(cut),
        post(&[&question[..], b"\0"].concat()),
        post(b""),
        request("POST", "/", ""),
        post_in_chunks(cut, 7, ""),
        post(&[0x30; 16 * 1024]),
        get(&format!("/{}", escaped(&[&question[..], b"\0"].concat()))),
        get("/MHowAAAAAAAAAAAAAA"),
    ] {
        let answer = client.send(&request);
        let shown = String::from_utf8_lossy(&request);
        assert_eq!((answer.status(), &*answer.body), (200, MALFORMED), "{shown}");
        assert_is_ocsp(&answer);
        assert_eq!(answer.field("Cache-Control"), Some("no-store"));
    }
    // Too large: the request that it begins with is not answered.
    let large = padded(&question, 20_000);
    assert_eq!(server.client().post(&large).status(), 413);
    let answer = server.client().send(&post_in_chunks(&large, 4000, ""));
    assert_eq!(answer.status(), too_large, "{}", answer.head);
    assert_eq!(said(&question, &answer.body) == Said::Good, too_large == 200);
    // Nothing of all that is in the way of the next one.
    assert_eq!(said(&question, &client.post(&question).body), Said::Good);
    let largest = padded(&question, 16 * 1024);
    for request in [post(&largest), post_in_chunks(&largest, 4000, "")] {
        assert_eq!(said(&question, &client.send(&request).body), Said::Good);
    }
}

// rule: WEB-4, WEB-6
#[track_caller]
fn assert_has_methods_and_a_page(site: &Site, server: &WebServer) {
    let mut client = server.client();
    let question = site.request("good", &["-no_nonce"]);
    for method in ["PUT", "DELETE", "OPTIONS", "SEARCH"] {
        let answer = client.send(&post_to(method, "/", &question));
        let allow = Some("GET, HEAD, POST");
        assert_eq!((answer.status(), answer.field("Allow")), (405, allow), "{method}");
    }
    assert_eq!(client.send(&request("TRACE", "/", "")).status(), 405);
    for uri in ["/", "/index.html", "/.well-known/x", "/?q"] {
        let page = client.get(uri);
        assert_eq!((page.status(), page.field("Cache-Control")), (200, Some("no-store")), "{uri}");
        assert!(page.body.starts_with(b"This is an OCSP responder"), "{uri}");
    }
}

/// The status line and the fields that every OCSP answer has.
#[track_caller]
fn assert_is_ocsp(answer: &Response) {
    assert_eq!(answer.status(), 200, "{}", answer.head);
    assert_eq!(answer.field("Content-Type"), Some("application/ocsp-response"));
    assert_eq!(answer.field("Content-Length"), Some(&*answer.body.len().to_string()));
}
