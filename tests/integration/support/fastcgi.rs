//! A web server's side of FastCGI, which can be as odd as a test wants it.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

pub const BEGIN_REQUEST: u8 = 1;
pub const ABORT_REQUEST: u8 = 2;
pub const END_REQUEST: u8 = 3;
pub const PARAMS: u8 = 4;
pub const STDIN: u8 = 5;
pub const STDOUT: u8 = 6;
pub const GET_VALUES: u8 = 9;
pub const GET_VALUES_RESULT: u8 = 10;
pub const UNKNOWN_TYPE: u8 = 11;

pub const KEEP: u8 = 1;
pub const CLOSE: u8 = 0;
pub const RESPONDER: u8 = 1;

/// One connection.
pub struct Client {
    stream: Box<dyn Stream>,
    received: Vec<u8>,
}

pub trait Stream: Read + Write + Send {}
impl<S: Read + Write + Send> Stream for S {}

/// A record that was received.
#[derive(Debug, PartialEq, Eq)]
pub struct Received {
    pub record_type: u8,
    pub request_id: u16,
    pub content: Vec<u8>,
}

/// What a request was answered with.
pub struct Reply {
    /// The header fields of CGI.
    pub head: String,
    pub body: Vec<u8>,
    /// protocolStatus of END_REQUEST.
    pub protocol_status: u8,
}

impl Client {
    pub fn tcp(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Self { stream: Box::new(stream), received: Vec::new() }
    }

    pub fn unix(path: &Path) -> Self {
        let stream = UnixStream::connect(path).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Self { stream: Box::new(stream), received: Vec::new() }
    }

    pub fn send(&mut self, octets: &[u8]) {
        self.stream.write_all(octets).unwrap();
    }

    /// The next record; `None` at the end of the connection.
    pub fn record(&mut self) -> Option<Received> {
        loop {
            if let Some(header) = self.received.first_chunk::<8>() {
                let length = usize::from(u16::from_be_bytes([header[4], header[5]]));
                let whole = 8 + length + usize::from(header[6]);
                if self.received.len() >= whole {
                    let request_id = u16::from_be_bytes([header[2], header[3]]);
                    let (record_type, version) = (header[1], header[0]);
                    assert_eq!(version, 1);
                    let content = self.received[8..8 + length].to_vec();
                    self.received.drain(..whole);
                    return Some(Received { record_type, request_id, content });
                }
            }
            let mut buffer = [0; 16 * 1024];
            match self.stream.read(&mut buffer) {
                Ok(0) => {
                    assert!(self.received.is_empty(), "cut: {:02x?}", self.received);
                    return None;
                }
                Ok(count) => self.received.extend(&buffer[..count]),
                Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => return None,
                Err(error) => panic!("{error}"),
            }
        }
    }

    /// The reply to request `id`.
    #[track_caller]
    pub fn reply(&mut self, id: u16) -> Reply {
        let mut stdout = Vec::new();
        loop {
            let record = self.record().expect("a reply before the connection ends");
            assert_eq!(record.request_id, id);
            match record.record_type {
                STDOUT => stdout.extend(record.content),
                END_REQUEST => return Reply::new(&stdout, record.content[4]),
                other => panic!("record of type {other}"),
            }
        }
    }

    /// Posts DER on a connection that is kept.
    #[track_caller]
    pub fn post(&mut self, der: &[u8]) -> Reply {
        self.send(&post(1, KEEP, der));
        self.reply(1)
    }
}

impl Reply {
    fn new(stdout: &[u8], protocol_status: u8) -> Self {
        let end = stdout.windows(4).position(|four| four == b"\r\n\r\n").map_or(0, |at| at + 4);
        let head = String::from_utf8(stdout[..end].to_vec()).unwrap();
        Self { head, body: stdout[end..].to_vec(), protocol_status }
    }
}

pub fn record(record_type: u8, id: u16, content: &[u8], padding: u8) -> Vec<u8> {
    let length = u16::try_from(content.len()).unwrap().to_be_bytes();
    let id = id.to_be_bytes();
    let mut record = vec![1, record_type, id[0], id[1], length[0], length[1], padding, 0];
    record.extend_from_slice(content);
    record.resize(record.len() + usize::from(padding), 0x55);
    record
}

pub fn begin(id: u16, role: u8, flags: u8) -> Vec<u8> {
    record(BEGIN_REQUEST, id, &[0, role, flags, 0, 0, 0, 0, 0], 0)
}

/// Name-value pairs.
pub fn pairs(pairs: &[(&str, &str)]) -> Vec<u8> {
    let length = |text: &str| match u32::try_from(text.len()).unwrap() {
        short @ 0..128 => vec![u8::try_from(short).unwrap()],
        long => (long | 1 << 31).to_be_bytes().to_vec(),
    };
    let pair = |(name, value): &(&str, &str)| {
        [&length(name)[..], &length(value), name.as_bytes(), value.as_bytes()].concat()
    };
    pairs.iter().flat_map(pair).collect()
}

/// A stream of records, cut into pieces of `size` octets, and its end.
pub fn stream(record_type: u8, id: u16, octets: &[u8], size: usize, padding: u8) -> Vec<u8> {
    let pieces = octets.chunks(size).flat_map(|piece| record(record_type, id, piece, padding));
    pieces.chain(record(record_type, id, b"", padding)).collect()
}

/// The octets of a whole POST.
pub fn post(id: u16, flags: u8, der: &[u8]) -> Vec<u8> {
    let length = der.len().to_string();
    let params =
        pairs(&[("REQUEST_METHOD", "POST"), ("REQUEST_URI", "/"), ("CONTENT_LENGTH", &length)]);
    [
        begin(id, RESPONDER, flags),
        stream(PARAMS, id, &params, 0xffff, 0),
        stream(STDIN, id, der, 0xffff, 0),
    ]
    .concat()
}

const PATIENCE: Duration = Duration::from_secs(10);
