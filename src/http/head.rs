//! The head of an HTTP/1.0 or HTTP/1.1 request (RFC 9112), for the built-in server.
//!
//! Pure: `httparse` reads the lines, this file what they say about the connection
//! and the body. The input is untrusted: whatever could be framed in two ways is
//! refused.

use super::{Status, decimal};

/// The head of a request, as far as it matters here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head<'a> {
    /// How long the head is, its empty line included.
    pub octets: usize,
    /// The method, as sent.
    pub method: &'a [u8],
    /// The request target, as sent.
    pub request_uri: &'a [u8],
    /// The `If-None-Match` field, empty when there is none.
    pub if_none_match: &'a [u8],
    /// Where the body ends.
    pub framing: Framing,
    /// Whether the connection stays.
    pub keep: Keep,
    /// The client waits for `100 Continue` (RFC 9110 section 10.1.1).
    pub expect_continue: bool,
}

/// Where the body ends (RFC 9112 section 6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// After so many octets; 0 where nothing is said.
    Length(u64),
    /// Where the chunked coding says.
    Chunked,
}

/// Whether the connection stays (RFC 9112 section 9.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// As HTTP/1.1 does without a word.
    Implied,
    /// As an HTTP/1.0 client asked for and wants to be told.
    Announced,
    /// Closed after the response.
    Close,
}

impl<'a> Head<'a> {
    /// Takes the head that `input` begins with; `None` until it is whole.
    ///
    /// # Errors
    ///
    /// The status to refuse it with: 400, 431, 501 or 505. The same however much of
    /// the input is there, once it shows.
    pub fn parse(input: &'a [u8]) -> Result<Option<Self>, Status> {
        let window = input.get(..HEAD_LIMIT).unwrap_or(input);
        let mut fields = [httparse::EMPTY_HEADER; 64];
        let mut request = httparse::Request::new(&mut fields);
        match request.parse(window) {
            Ok(httparse::Status::Complete(octets)) => Self::read(&request, octets).map(Some),
            Ok(httparse::Status::Partial) if window.len() < HEAD_LIMIT => Ok(None),
            Ok(httparse::Status::Partial) | Err(httparse::Error::TooManyHeaders) => {
                Err(Status::RequestHeaderFieldsTooLarge)
            }
            Err(httparse::Error::Version) => Err(Status::HttpVersionNotSupported),
            Err(_) => Err(Status::BadRequest),
        }
    }

    fn read(request: &httparse::Request<'_, 'a>, octets: usize) -> Result<Self, Status> {
        let mut length = None;
        let mut coding: Option<&[u8]> = None;
        let (mut close, mut keep_alive, mut expect_continue) = (false, false, false);
        let mut if_none_match: &[u8] = b"";
        for field in request.headers.iter() {
            let named = |name| field.name.eq_ignore_ascii_case(name);
            let has = |token: &[u8]| members(field.value).any(|it| it.eq_ignore_ascii_case(token));
            if named("Content-Length") {
                // The same length several times is one (RFC 9110 section 8.6).
                for member in field.value.split(|&byte| byte == b',') {
                    let value = decimal(member.trim_ascii()).ok_or(Status::BadRequest)?;
                    if *length.get_or_insert(value) != value {
                        return Err(Status::BadRequest);
                    }
                }
            } else if named("Transfer-Encoding") {
                if coding.replace(field.value).is_some() {
                    return Err(Status::BadRequest);
                }
            } else if named("Connection") {
                close |= has(b"close");
                keep_alive |= has(b"keep-alive");
            } else if named("Expect") {
                expect_continue |= has(b"100-continue");
            } else if named("If-None-Match") && if_none_match.is_empty() {
                // A second one is left out: at worst, the answer is given in full.
                if_none_match = field.value;
            }
        }
        let old = request.version == Some(0);
        let keep = match (close, old, keep_alive) {
            (false, false, _) => Keep::Implied,
            (false, true, true) => Keep::Announced,
            _ => Keep::Close,
        };
        let framing = match framing(length, coding)? {
            // HTTP/1.0 knows none (RFC 9112 section 6.1).
            Framing::Chunked if old => return Err(Status::BadRequest),
            framing => framing,
        };
        Ok(Self {
            octets,
            method: request.method.unwrap_or_default().as_bytes(),
            request_uri: request.path.unwrap_or_default().as_bytes(),
            if_none_match,
            framing,
            keep,
            expect_continue: expect_continue && !old,
        })
    }
}

/// What two servers in a row might read in two ways is refused.
fn framing(length: Option<u64>, coding: Option<&[u8]>) -> Result<Framing, Status> {
    match (coding, length) {
        (None, length) => Ok(Framing::Length(length.unwrap_or(0))),
        (Some(_), Some(_)) => Err(Status::BadRequest),
        (Some(coding), None) if coding.trim_ascii().eq_ignore_ascii_case(b"chunked") => {
            Ok(Framing::Chunked)
        }
        (Some(_), None) => Err(Status::NotImplemented),
    }
}

fn members(list: &[u8]) -> impl Iterator<Item = &[u8]> {
    list.split(|&byte| byte == b',').map(<[u8]>::trim_ascii)
}

/// Octets of a request line and its header fields.
const HEAD_LIMIT: usize = 16 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Option<Head<'_>>, Status> {
        Head::parse(text.as_bytes())
    }

    fn with(version: &str, fields: &str) -> Result<Head<'static>, Status> {
        let text = format!("POST /x HTTP/{version}\r\n{fields}\r\n");
        parse(text.leak()).map(Option::unwrap)
    }

    #[test]
    fn a_request_line_alone_is_a_head() {
        let head = parse("GET /MHo+w/=?x HTTP/1.1\r\n\r\nrest").unwrap().unwrap();
        let expected = Head {
            octets: 27,
            method: b"GET",
            request_uri: b"/MHo+w/=?x",
            if_none_match: b"",
            framing: Framing::Length(0),
            keep: Keep::Implied,
            expect_continue: false,
        };
        assert_eq!(head, expected);
        assert!(parse("GET http://h/M HTTP/1.1\nHost: h:\n\n").unwrap().is_some());
    }

    #[test]
    fn the_body_is_framed_in_one_way_or_refused() {
        let framing = |fields: &str| with("1.1", fields).map(|head| head.framing);
        let refused = Err(Status::BadRequest);
        assert_eq!(framing("content-length: 007\r\n"), Ok(Framing::Length(7)));
        assert_eq!(
            framing("Content-Length: 5, 5\r\nContent-Length: 5\r\n"),
            Ok(Framing::Length(5))
        );
        assert_eq!(framing("Content-Length: 5\r\nContent-Length: 6\r\n"), refused);
        assert_eq!(framing("Content-Length: 5,6\r\n"), refused);
        for length in ["", "-1", "+1", "1 1", "0x1", "1,", "a"] {
            assert_eq!(framing(&format!("Content-Length: {length}\r\n")), refused, "{length}");
        }
        let huge = "Content-Length: 99999999999999999999999\r\n";
        assert_eq!(framing(huge), Ok(Framing::Length(u64::MAX)));
        assert_eq!(framing("Transfer-Encoding: Chunked \r\n"), Ok(Framing::Chunked));
        assert_eq!(framing("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n"), refused);
        assert_eq!(framing("Transfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n"), refused);
        assert_eq!(framing("Transfer-Encoding: gzip, chunked\r\n"), Err(Status::NotImplemented));
        assert_eq!(with("1.0", "Transfer-Encoding: chunked\r\n"), Err(Status::BadRequest));
    }

    // rule: WEB-1
    #[test]
    fn the_connection_stays_as_the_version_and_the_client_say() {
        let keep = |version, fields| with(version, fields).unwrap().keep;
        assert_eq!(keep("1.1", ""), Keep::Implied);
        assert_eq!(keep("1.1", "Connection: Keep-Alive, Close\r\n"), Keep::Close);
        assert_eq!(keep("1.0", ""), Keep::Close);
        assert_eq!(keep("1.0", "Connection: x ,Keep-Alive\r\n"), Keep::Announced);
        assert_eq!(keep("1.0", "Connection: keep-alive\r\nConnection: close\r\n"), Keep::Close);
    }

    #[test]
    fn only_http_1_1_clients_wait_for_100() {
        let waits = |version, value| {
            with(version, &format!("Expect: {value}\r\n")).unwrap().expect_continue
        };
        assert!(waits("1.1", "100-Continue"));
        assert!(!waits("1.1", "x") && !waits("1.0", "100-continue"));
    }

    #[test]
    fn what_is_no_request_head_is_refused() {
        let bad = [
            "GET /\r\n",
            "GET  / HTTP/1.1\r\n",
            "/\r\n\r\n",
            "\u{16}\u{3}\u{1}",
            "G(T / HTTP/1.1\r\n",
            "GET / HTTP/1.1\r\nA: b\r\n folded\r\n\r\n",
            "GET / HTTP/1.1\r\n A: b\r\n\r\n",
            "GET / HTTP/1.1\r\nA : b\r\n\r\n",
            "GET / HTTP/1.1\r\nA: \0\r\n\r\n",
        ];
        for text in bad {
            assert_eq!(parse(text), Err(Status::BadRequest), "{text}");
        }
        for text in ["PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "GET / HTTP/0.9\r\n", "GET / HTTP/1.2\r\n"]
        {
            assert_eq!(parse(text), Err(Status::HttpVersionNotSupported), "{text}");
        }
    }

    #[test]
    fn a_head_over_the_limit_is_refused_whole_or_not() {
        let large = Err(Status::RequestHeaderFieldsTooLarge);
        let fill = |length| format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(length - 18));
        assert!(parse(&fill(HEAD_LIMIT)).unwrap().is_some());
        assert_eq!(parse(&fill(HEAD_LIMIT)[..HEAD_LIMIT - 1]), Ok(None));
        assert_eq!(parse(&fill(HEAD_LIMIT + 1)), large);
        assert_eq!(parse(&fill(HEAD_LIMIT + 1)[..HEAD_LIMIT]), large);
        assert_eq!(parse(&format!("GET / HTTP/1.1\r\n{}\r\n", "a:b\r\n".repeat(65))), large);
    }
}
