//! One request on standard input, one response on standard output (RFC 3875).
//!
//! The web server starts a process for each request. Nothing here trusts it to
//! close its end: what is read is bounded in octets and in time.

use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use super::meta::{Meta, MetaError, Variables};
use super::write_cgi_response;
use crate::http::{Body, Exchange, HttpResponse, Status};

/// What one exchange may cost.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Octets of the request's body.
    pub body: usize,
    /// Octets that are read and thrown away behind it.
    pub discard: u64,
    /// The longest silence of standard input.
    pub silence: Duration,
    /// The time for all of standard input.
    pub total: Duration,
}

impl Default for Limits {
    /// 3 MiB; 64 MiB; 10 s; 2 minutes.
    fn default() -> Self {
        Self {
            body: 3 << 20,
            discard: 64 << 20,
            silence: Duration::from_secs(10),
            total: Duration::from_secs(120),
        }
    }
}

/// Why there was no exchange.
#[derive(Debug, thiserror::Error)]
pub enum CgiError {
    /// Not started as CGI has it.
    #[error(transparent)]
    Meta(#[from] MetaError),
    /// The process has no descriptor to spare.
    #[error("standard input and output")]
    Descriptor(#[source] io::Error),
    /// The web server does not listen any more.
    #[error("standard output")]
    Output(#[source] io::Error),
}

/// Answers the request that the environment and standard input of this process hold.
///
/// # Errors
///
/// [`CgiError::Meta`] when no web server started this process; nothing is printed
/// then. [`CgiError::Output`] when the response cannot be written.
pub fn run(handler: &dyn Exchange, limits: &Limits) -> Result<(), CgiError> {
    let environment = |name: &str| std::env::var_os(name).map(|value| value.into_encoded_bytes());
    // Not `Stdin` and `Stdout`: the one reads ahead, out of sight of `poll`, the other
    // writes the head, which has lines, and the body apart.
    let input = io::stdin().as_fd().try_clone_to_owned().map_err(CgiError::Descriptor)?;
    let output = io::stdout().as_fd().try_clone_to_owned().map_err(CgiError::Descriptor)?;
    exchange(handler, limits, environment, File::from(input), File::from(output))
}

/// Answers one request, in one write, and reads `stdin` to its end, unless it is a
/// terminal.
///
/// # Errors
///
/// As [`run`].
pub fn exchange(
    handler: &dyn Exchange,
    limits: &Limits,
    environment: impl Fn(&str) -> Option<Vec<u8>>,
    stdin: impl Read + AsFd,
    mut stdout: impl Write,
) -> Result<(), CgiError> {
    let values = Variables::NAMES.map(|name| (name, environment(name).unwrap_or_default()));
    let variables = values.iter().map(|(name, value)| (name, &**value)).collect::<Variables<'_>>();
    let mut input = Input::new(stdin, limits);
    let (mut uri, mut body) = (Vec::new(), Vec::new());
    let (method, response) = match Meta::read(&variables, &mut uri) {
        Ok(meta) => {
            let request = match input.body(&meta, limits.body, &mut body) {
                Ok(()) => meta.request(&body, limits.body),
                Err(unread) => meta.with_body(unread),
            };
            (meta.method(), handler.handle(&request, &|| ()))
        }
        Err(MetaError::ContentLength) => {
            (variables.request_method(), HttpResponse::refusal(Status::BadRequest))
        }
        Err(error @ MetaError::NoMethod) => return Err(error.into()),
    };
    let mut output = Vec::new();
    write_cgi_response(&response, method, &mut output);
    let written = stdout.write_all(&output).and_then(|()| stdout.flush());
    // Apache's mod_cgid has both ends on one socket: closed with octets unread, it
    // would be reset and the response lost.
    input.discard(limits.discard);
    written.map_err(CgiError::Output)
}

/// Standard input, with patience.
struct Input<R> {
    stdin: R,
    silence: Duration,
    deadline: Instant,
}

impl<R: Read + AsFd> Input<R> {
    fn new(stdin: R, limits: &Limits) -> Self {
        Self { stdin, silence: limits.silence, deadline: Instant::now() + limits.total }
    }

    /// Reads the body of a POST: CONTENT_LENGTH octets, or to the end where the
    /// variable is missing. Gives up with what the handler is to be told.
    fn body(
        &mut self,
        meta: &Meta<'_>,
        limit: usize,
        body: &mut Vec<u8>,
    ) -> Result<(), Body<'static>> {
        if meta.method() != b"POST" {
            return Err(Body::Whole(b""));
        }
        // One octet more than allowed tells a body that is too large.
        let most = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1);
        let wanted = meta.content_length().unwrap_or(most);
        if meta.content_length().is_some_and(|length| length >= most) {
            return Err(Body::TooLarge);
        }
        let mut piece = [0; 16 * 1024];
        let mut missing = wanted;
        while missing > 0 {
            match self.read(&mut piece, missing) {
                Ok([]) => break,
                Ok(octets) => {
                    body.extend_from_slice(octets);
                    missing = missing.saturating_sub(octets.len() as u64);
                }
                Err(_) => return Err(Body::Incomplete),
            }
        }
        Ok(())
    }

    /// Reads to the end and throws away; at most `most` octets. Nobody waits for the
    /// end of what is typed.
    fn discard(&mut self, most: u64) {
        if rustix::termios::isatty(&self.stdin) {
            return;
        }
        let mut piece = [0; 16 * 1024];
        let mut left = most;
        while left > 0
            && let Ok(octets @ [_, ..]) = self.read(&mut piece, left)
        {
            left = left.saturating_sub(octets.len() as u64);
        }
    }

    /// Reads once, at most `most` octets; nothing at the end.
    fn read<'a>(&mut self, piece: &'a mut [u8], most: u64) -> io::Result<&'a [u8]> {
        let size = usize::try_from(most).map_or(piece.len(), |most| most.min(piece.len()));
        let piece = piece.get_mut(..size).unwrap_or_default();
        loop {
            self.wait()?;
            match self.stdin.read(piece) {
                Ok(length) => return Ok(piece.get(..length).unwrap_or_default()),
                Err(error) => match error.kind() {
                    ErrorKind::Interrupted | ErrorKind::WouldBlock => {}
                    _ => return Err(error),
                },
            }
        }
    }

    fn wait(&self) -> io::Result<()> {
        loop {
            let left = self.deadline.saturating_duration_since(Instant::now());
            let timeout = Timespec::try_from(left.min(self.silence));
            let timeout = timeout.map_err(|_| ErrorKind::InvalidInput)?;
            match poll(&mut [PollFd::new(&self.stdin, PollFlags::IN)], Some(&timeout)) {
                Ok(0) => return Err(ErrorKind::TimedOut.into()),
                Ok(_) => return Ok(()),
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use super::*;
    use crate::http::caching::Caching;
    use crate::http::{HttpRequest, Shared};

    /// Answers with what it was asked.
    struct Mirror;

    impl Exchange for Mirror {
        fn handle(&self, request: &HttpRequest<'_>, _: &dyn Fn()) -> HttpResponse {
            let body = match request.body {
                Body::Whole(body) => String::from_utf8_lossy(body).into_owned(),
                other => format!("{other:?}"),
            };
            let uri = String::from_utf8_lossy(request.request_uri);
            let text = format!("{uri} {body}").into_bytes();
            HttpResponse::ocsp(Shared::Counted(text.into()), Caching::NoStore)
        }
    }

    /// Takes one write and remembers it.
    #[derive(Default)]
    struct Once(Vec<Vec<u8>>);

    impl Write for &mut Once {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.push(bytes.to_vec());
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    const QUICK: Limits = Limits {
        body: 5,
        discard: 100_000,
        silence: Duration::from_millis(50),
        total: Duration::from_millis(200),
    };

    /// The body of the response, and what is left of stdin. The writer's end stays
    /// open for as long as `peer` does.
    fn ask(variables: &[(&str, &str)], stdin: UnixStream) -> (String, usize) {
        ask_within(&QUICK, variables, stdin)
    }

    fn ask_within(
        limits: &Limits,
        variables: &[(&str, &str)],
        stdin: UnixStream,
    ) -> (String, usize) {
        let environment = |name: &str| {
            let found = variables.iter().find(|(key, _)| *key == name);
            found.map(|(_, value)| value.as_bytes().to_vec())
        };
        let mut output = Once::default();
        let mut left = stdin.try_clone().unwrap();
        exchange(&Mirror, limits, environment, stdin, &mut output).unwrap();
        assert_eq!(output.0.len(), 1, "one write");
        left.set_nonblocking(true).unwrap();
        let mut rest = Vec::new();
        let _ = left.read_to_end(&mut rest);
        let text = String::from_utf8(output.0.remove(0)).unwrap();
        (text.split_once("\r\n\r\n").unwrap().1.to_owned(), rest.len())
    }

    /// A stdin that holds `input`, and the other end of it.
    fn stdin(input: &[u8]) -> (UnixStream, UnixStream) {
        let (mut peer, stdin) = UnixStream::pair().unwrap();
        peer.write_all(input).unwrap();
        (stdin, peer)
    }

    fn post(content_length: Option<&str>, input: &[u8]) -> (String, usize) {
        let (stdin, peer) = stdin(input);
        drop(peer);
        let length = content_length.map(|length| ("CONTENT_LENGTH", length));
        let variables = [("REQUEST_METHOD", "POST"), ("REQUEST_URI", "/")];
        ask(&variables.into_iter().chain(length).collect::<Vec<_>>(), stdin)
    }

    // rule: FCG-5
    #[test]
    fn content_length_octets_are_the_body_and_the_rest_is_read_too() {
        assert_eq!(post(Some("3"), b"abcdef"), ("/ abc".to_owned(), 0));
        assert_eq!(post(Some("0"), b"abcdef"), ("/ ".to_owned(), 0));
    }

    // rule: FCG-5
    #[test]
    fn without_content_length_the_body_ends_with_stdin() {
        assert_eq!(post(None, b"abcde"), ("/ abcde".to_owned(), 0));
        assert_eq!(post(Some(""), b"abcde"), ("/ abcde".to_owned(), 0));
    }

    // rule: WEB-5, FCG-5
    #[test]
    fn a_body_over_the_limit_is_thrown_away_within_bounds() {
        assert_eq!(post(None, b"abcdef"), ("/ TooLarge".to_owned(), 0));
        assert_eq!(post(Some("100000"), &[b'x'; 100_000]), ("/ TooLarge".to_owned(), 0));
        assert_eq!(post(Some("110000"), &[b'x'; 110_000]), ("/ TooLarge".to_owned(), 10_000));
    }

    // rule: FCG-5
    #[test]
    fn a_body_that_ends_early_is_incomplete() {
        assert_eq!(post(Some("4"), b"abc"), ("/ Incomplete".to_owned(), 0));
    }

    // rule: FCG-5
    #[test]
    fn a_writer_that_never_ends_is_not_waited_for() {
        for (method, expected) in [("GET", "/MF "), ("POST", "/MF Incomplete")] {
            let (stdin, peer) = stdin(b"abc");
            let (body, left) = ask(&[("REQUEST_METHOD", method), ("REQUEST_URI", "/MF")], stdin);
            assert_eq!((body.as_str(), left), (expected, 0));
            drop(peer);
        }
    }

    // rule: FCG-5
    #[test]
    fn a_slow_writer_is_waited_for() {
        let (stdin, mut peer) = stdin(b"");
        let writer = std::thread::spawn(move || {
            for octet in b"abcd" {
                std::thread::park_timeout(Duration::from_millis(10));
                peer.write_all(&[*octet]).unwrap();
            }
        });
        let variables = [("REQUEST_METHOD", "POST"), ("CONTENT_LENGTH", "4")];
        assert_eq!(ask_within(&Limits::default(), &variables, stdin).0, " abcd");
        writer.join().unwrap();
    }

    #[test]
    fn started_by_hand_without_variables_it_prints_nothing_and_says_why() {
        let (stdin, _peer) = stdin(b"");
        let mut output = Once::default();
        let error = exchange(&Mirror, &QUICK, |_| None, stdin, &mut output).unwrap_err();
        assert!(matches!(error, CgiError::Meta(MetaError::NoMethod)));
        assert!(output.0.is_empty());
    }

    #[test]
    fn a_content_length_that_is_no_number_is_refused_with_400() {
        assert_eq!(post(Some("many"), b"abc"), ("400 Bad Request".to_owned(), 0));
    }
}
