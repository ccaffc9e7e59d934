//! A FastCGI web server's side, record by record, and an application to ask.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use fastcgi::connection::{Application, Request, Stdin};
use fastcgi::record::{self, Stdout};
use fastcgi::server::Settings;

/// Longer than anything takes; a test that meets it has found something.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Answers with what it was asked. `/panic` panics, `/long` is an answer of 200,000 octets.
pub struct Echo;

impl Application for Echo {
    fn respond(&self, request: &Request<'_>, stdout: &mut Stdout<'_>, _: &dyn Fn()) {
        let uri = request.params.get("REQUEST_URI").unwrap_or_default();
        assert!(uri != b"/panic", "as asked");
        if uri == b"/long" {
            stdout.extend_from_slice(&[b'x'; 200_000]);
            return;
        }
        stdout.extend_from_slice(uri);
        let pairs = format!(" pairs={} ", request.params.iter().count());
        stdout.extend_from_slice(pairs.as_bytes());
        match request.stdin {
            Stdin::Whole(octets) => stdout.extend_from_slice(octets),
            Stdin::TooLarge => stdout.extend_from_slice(b"(too large)"),
        }
    }
}

/// Few workers and time-outs that no test meets unless it asks for them.
pub fn settings() -> Settings {
    Settings {
        workers: 4,
        read_timeout: PATIENCE,
        idle_timeout: PATIENCE,
        write_timeout: PATIENCE,
        grace: PATIENCE,
        ..Settings::default()
    }
}

/// A connection to the server.
pub enum Client {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl From<TcpStream> for Client {
    fn from(stream: TcpStream) -> Self {
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        Self::Tcp(stream)
    }
}

impl From<UnixStream> for Client {
    fn from(stream: UnixStream) -> Self {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        Self::Unix(stream)
    }
}

impl Client {
    pub fn try_send(&mut self, octets: &[u8]) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.write_all(octets),
            Self::Unix(stream) => stream.write_all(octets),
        }
    }

    pub fn send(&mut self, octets: &[u8]) {
        self.try_send(octets).unwrap();
    }

    pub fn try_read(&mut self, space: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.read(space),
            Self::Unix(stream) => stream.read(space),
        }
    }

    fn read_exact(&mut self, length: usize) -> Vec<u8> {
        let mut octets = vec![0; length];
        let mut filled = 0;
        while filled < length {
            let read = self.try_read(&mut octets[filled..]).unwrap();
            assert!(read > 0, "closed after {filled} of {length} octets");
            filled += read;
        }
        octets
    }

    /// The next record: type, request id, content.
    pub fn record(&mut self) -> (u8, u16, Vec<u8>) {
        let header = self.read_exact(8);
        assert_eq!(header[0], record::FCGI_VERSION_1);
        let length = usize::from(u16::from_be_bytes([header[4], header[5]]));
        let mut content = self.read_exact(length + usize::from(header[6]));
        content.truncate(length);
        (header[1], u16::from_be_bytes([header[2], header[3]]), content)
    }

    /// The answer to the next request that ends.
    pub fn answer(&mut self) -> Answer {
        let mut stdout = Vec::new();
        loop {
            match self.record() {
                (record::FCGI_STDOUT, _, content) => stdout.extend(content),
                (record::FCGI_END_REQUEST, id, end) => {
                    return Answer { id, status: end[4], stdout };
                }
                other => panic!("unexpected record: {other:?}"),
            }
        }
    }

    pub fn ask(&mut self, request: &[u8]) -> String {
        self.send(request);
        self.answer().text()
    }

    /// Nothing comes any more. A reset is an end too.
    pub fn expect_end(&mut self) {
        match self.try_read(&mut [0; 1]) {
            Ok(0) => {}
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => {}
            other => panic!("not closed: {other:?}"),
        }
    }
}

/// What came back for one request.
#[derive(Debug, PartialEq, Eq)]
pub struct Answer {
    pub id: u16,
    pub status: u8,
    pub stdout: Vec<u8>,
}

impl Answer {
    pub fn text(self) -> String {
        assert_eq!(self.status, 0);
        String::from_utf8(self.stdout).unwrap()
    }
}

/// Whether the connection stays after the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum After {
    Close = 0,
    Keep = 1,
}

pub fn record(record_type: u8, id: u16, content: &[u8]) -> Vec<u8> {
    padded(record_type, id, content, 0)
}

pub fn padded(record_type: u8, id: u16, content: &[u8], padding: u8) -> Vec<u8> {
    let [length_1, length_0] = u16::try_from(content.len()).unwrap().to_be_bytes();
    let [id_1, id_0] = id.to_be_bytes();
    let mut octets = vec![1, record_type, id_1, id_0, length_1, length_0, padding, 0xaa];
    octets.extend(content);
    octets.resize(octets.len() + usize::from(padding), 0xbb);
    octets
}

pub fn begin(id: u16, role: u16, after: After) -> Vec<u8> {
    let [role_1, role_0] = role.to_be_bytes();
    record(record::FCGI_BEGIN_REQUEST, id, &[role_1, role_0, after as u8, 0, 0, 0, 0, 0])
}

/// A stream in records of at most `piece` octets, and its end.
pub fn stream(record_type: u8, id: u16, content: &[u8], piece: usize) -> Vec<u8> {
    let pieces = content.chunks(piece).flat_map(|piece| record(record_type, id, piece));
    pieces.chain(record(record_type, id, b"")).collect()
}

pub fn pair(name: &[u8], value: &[u8]) -> Vec<u8> {
    let mut octets = Vec::new();
    for length in [name.len(), value.len()] {
        match u8::try_from(length) {
            Ok(length @ ..0x80) => octets.push(length),
            _ => octets.extend((0x8000_0000 | u32::try_from(length).unwrap()).to_be_bytes()),
        }
    }
    octets.extend(name);
    octets.extend(value);
    octets
}

/// A whole request in the way web servers send it.
pub fn request(id: u16, after: After, uri: &str, body: &[u8]) -> Vec<u8> {
    let params = [pair(b"REQUEST_URI", uri.as_bytes()), pair(b"REQUEST_METHOD", b"POST")].concat();
    [
        begin(id, record::FCGI_RESPONDER, after),
        stream(record::FCGI_PARAMS, id, &params, 0xffff),
        stream(record::FCGI_STDIN, id, body, 0xffff),
    ]
    .concat()
}
