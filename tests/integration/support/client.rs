//! A client that keeps its connection, questions, and what an answer says to them.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "helpers of tests")]

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::Duration;

use super::ocsp::{extension, sequence, tlv};
use super::site::Response;

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
        let extension = extension(&[0x2b, 6, 1, 1], &vec![0; padding]);
        let extensions = tlv(0xa2, &[&sequence(&[&extension])]);
        sequence(&[&sequence(&[list, &extensions])])
    };
    let found = (0..size).rev().map(whole).find(|der| der.len() <= size).unwrap();
    assert_eq!(found.len(), size);
    found
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
