//! A client on one kept connection that takes every trouble as a value.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// Connects when it has to.
pub struct Client {
    address: SocketAddr,
    stream: Option<TcpStream>,
}

/// What came of a request.
pub enum Fetched {
    /// The body of a 200.
    Body(Vec<u8>),
    /// Another status code.
    NotOk,
    /// No connection, or no whole response.
    Nothing,
}

impl Client {
    pub fn new(address: SocketAddr) -> Self {
        Self { address, stream: None }
    }

    /// Sends a request once; a kept connection that proves closed is replaced.
    pub fn fetch(&mut self, request: &[u8]) -> Fetched {
        if let Some(stream) = self.stream.take()
            && let Some(fetched) = self.exchange(stream, request)
        {
            return fetched;
        }
        let Ok(stream) = TcpStream::connect_timeout(&self.address, CONNECT) else {
            return Fetched::Nothing;
        };
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        self.exchange(stream, request).unwrap_or(Fetched::Nothing)
    }

    fn exchange(&mut self, mut stream: TcpStream, request: &[u8]) -> Option<Fetched> {
        stream.write_all(request).ok()?;
        let mut octets = Vec::with_capacity(2048);
        let mut buffer = [0; 8192];
        let (head, body) = loop {
            let count = stream.read(&mut buffer).ok().filter(|count| *count > 0)?;
            octets.extend_from_slice(&buffer[..count]);
            let Some(end) = octets.windows(4).position(|window| window == b"\r\n\r\n") else {
                continue;
            };
            let head = String::from_utf8_lossy(&octets[..end]).to_ascii_lowercase();
            let length: usize = field(&head, "content-length")?.parse().ok()?;
            if octets.len() >= end + 4 + length {
                break (head, octets[end + 4..end + 4 + length].to_vec());
            }
        };
        if field(&head, "connection") != Some("close") {
            self.stream = Some(stream);
        }
        Some(if head.get(9..12)? == "200" { Fetched::Body(body) } else { Fetched::NotOk })
    }
}

fn field<'h>(head: &'h str, name: &str) -> Option<&'h str> {
    let lines = head.lines().filter_map(|line| line.split_once(": "));
    lines.filter(|(field, _)| *field == name).map(|(_, value)| value).next()
}

const CONNECT: Duration = Duration::from_secs(2);

/// More than nginx waits for a responder.
const PATIENCE: Duration = Duration::from_secs(25);
