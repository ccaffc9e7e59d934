//! One HTTP exchange as plain values, which each transport fills and prints.
//!
//! Pure: no I/O, no clock, no policy. On a repeat nothing is allocated: the
//! request borrows, and the response shares its bytes with the memory cache.

use std::sync::Arc;

use self::caching::Caching;

pub mod caching;
pub mod chunked;
pub mod date;
pub mod decode;
pub mod get_url;
pub mod head;
pub(crate) mod uri;

/// What the transports hand to the service. Everything is as it came: nothing
/// decoded, nothing trusted.
#[derive(Clone, Copy, Debug)]
pub struct HttpRequest<'a> {
    /// The method, as sent.
    pub method: &'a [u8],
    /// Path and query as they stand in the request line (RFC 9112 section 3.2),
    /// never decoded.
    pub request_uri: &'a [u8],
    /// The body.
    pub body: Body<'a>,
    /// The `If-None-Match` field, empty when there is none.
    pub if_none_match: &'a [u8],
}

/// The body of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Body<'a> {
    /// All of it; empty when there is none.
    Whole(&'a [u8]),
    /// It ended before its announced length.
    Incomplete,
    /// Longer than the limit; not read any further.
    TooLarge,
}

/// What answers: the service, or a stand-in for it in a test.
pub trait Exchange: Send + Sync {
    /// One exchange. A refusal is a response too, so this cannot fail.
    ///
    /// Calls `before_waiting` before it waits for anything, or works for long: the
    /// thread may have others to serve.
    fn handle(&self, request: &HttpRequest<'_>, before_waiting: &dyn Fn()) -> HttpResponse;
}

/// What the transports print.
///
/// A repeat shares `head` and `body` with the memory cache: cloning one
/// allocates nothing.
#[derive(Clone, Debug)]
pub struct HttpResponse {
    /// The status code.
    pub status: Status,
    /// Header fields that do not change while the answer lives, each ended by CRLF.
    /// Content-Type is among them; what [`HttpResponse::write_fields`] adds is not.
    pub head: Shared,
    /// The fields that change from one reply to the next.
    pub caching: Caching,
    /// The body; [`HttpResponse::content`] says when it is not sent.
    pub body: Shared,
}

impl HttpResponse {
    /// An OCSP answer without validators: an error, or one with a nonce. Always 200
    /// (RFC 6960 appendix A.2); for the others there is [`caching::Representation`].
    #[must_use]
    pub fn ocsp(der: Shared, caching: Caching) -> Self {
        Self { status: Status::Ok, head: Shared::Static(caching::OCSP_HEAD), caching, body: der }
    }

    /// What a person sees who opens the responder's address in a browser.
    #[must_use]
    pub fn page() -> Self {
        let body = Shared::Static(PAGE);
        Self { status: Status::Ok, head: Shared::Static(TEXT), caching: Caching::NoStore, body }
    }

    /// A refusal below OCSP; the body repeats the status line for people.
    #[must_use]
    pub fn refusal(status: Status) -> Self {
        let head = Shared::Static(match status {
            Status::MethodNotAllowed => TEXT_AND_ALLOW,
            _ => TEXT,
        });
        let body = Shared::Static(status.line().as_bytes());
        Self { status, head, caching: Caching::NoStore, body }
    }

    /// Appends all header fields that do not depend on the transport, each ended
    /// by CRLF: the constant ones, Content-Length, and the changing ones.
    pub fn write_fields(&self, output: &mut Vec<u8>) {
        output.extend_from_slice(self.head.as_bytes());
        // With 304 it may be left out (RFC 9110 section 8.6), and some would wait
        // for that many octets. With HEAD it is what GET would give.
        if self.status != Status::NotModified {
            output.extend_from_slice(b"Content-Length: ");
            push_decimal(output, self.body.as_bytes().len() as u64);
            output.extend_from_slice(b"\r\n");
        }
        self.caching.write_to(output);
    }

    /// The body that goes out in answer to `method`: none for HEAD, none with 304
    /// (RFC 9110 sections 9.3.2 and 15.4.5).
    #[must_use]
    pub fn content(&self, method: &[u8]) -> &[u8] {
        match self.status {
            Status::NotModified => b"",
            _ if method == b"HEAD" => b"",
            _ => self.body.as_bytes(),
        }
    }
}

/// Bytes that live in the program or in the memory cache.
#[derive(Clone, Debug)]
pub enum Shared {
    /// A constant.
    Static(&'static [u8]),
    /// Part of a cached answer, or made for this reply.
    Counted(Arc<[u8]>),
}

impl Shared {
    /// The bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Static(bytes) => bytes,
            Self::Counted(bytes) => bytes,
        }
    }
}

/// The status codes that this responder uses (RFC 9110 section 15, RFC 6585).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are the RFC's")]
pub enum Status {
    Ok,
    NotModified,
    BadRequest,
    MethodNotAllowed,
    ContentTooLarge,
    RequestHeaderFieldsTooLarge,
    NotImplemented,
    HttpVersionNotSupported,
}

impl Status {
    /// Code and reason phrase: `200 OK`.
    #[must_use]
    pub fn line(self) -> &'static str {
        match self {
            Self::Ok => "200 OK",
            Self::NotModified => "304 Not Modified",
            Self::BadRequest => "400 Bad Request",
            Self::MethodNotAllowed => "405 Method Not Allowed",
            Self::ContentTooLarge => "413 Content Too Large",
            Self::RequestHeaderFieldsTooLarge => "431 Request Header Fields Too Large",
            Self::NotImplemented => "501 Not Implemented",
            Self::HttpVersionNotSupported => "505 HTTP Version Not Supported",
        }
    }
}

/// Appends a number in decimal. Each answer has three, and formatting them by `write!`
/// takes as long as finding it.
pub(crate) fn push_decimal(output: &mut Vec<u8>, number: u64) {
    let mut digits = [b'0'; 20];
    let (mut rest, mut start) = (number, digits.len());
    for (at, digit) in digits.iter_mut().enumerate().rev() {
        *digit += u8::try_from(rest % 10).unwrap_or_default();
        (rest, start) = (rest / 10, at);
        if rest == 0 {
            break;
        }
    }
    output.extend_from_slice(digits.get(start..).unwrap_or_default());
}

/// A number without a sign; `u64::MAX` for a larger one (RFC 9110 section 8.6 asks
/// to expect any size).
pub(crate) fn decimal(text: &[u8]) -> Option<u64> {
    let value = |total: u64, digit: &u8| {
        let digit = digit.is_ascii_digit().then(|| u64::from(digit - b'0'))?;
        Some(total.saturating_mul(10).saturating_add(digit))
    };
    if text.is_empty() { None } else { text.iter().try_fold(0, value) }
}

const TEXT: &[u8] = b"Content-Type: text/plain; charset=utf-8\r\n";

const TEXT_AND_ALLOW: &[u8] =
    b"Content-Type: text/plain; charset=utf-8\r\nAllow: GET, HEAD, POST\r\n";

const PAGE: &[u8] =
    b"This is an OCSP responder (RFC 6960). It tells programs whether a certificate\n\
is good or revoked, and has nothing to show in a browser.\n\n\
Ask it with: openssl ocsp -issuer CA.pem -cert CERTIFICATE.pem -url THIS_ADDRESS\n";

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(response: &HttpResponse) -> String {
        let mut output = Vec::new();
        response.write_fields(&mut output);
        String::from_utf8(output).unwrap()
    }

    #[test]
    fn a_number_is_written_in_decimal() {
        for number in [0, 9, 10, 867, 1_000_000, u64::MAX] {
            let mut output = b"n=".to_vec();
            push_decimal(&mut output, number);
            assert_eq!(output, format!("n={number}").into_bytes());
        }
    }

    // rule: WEB-2
    #[test]
    fn an_error_answer_is_200_with_its_content_type_and_length() {
        let answer = HttpResponse::ocsp(Shared::Static(b"0\x03\n\x01\x01"), Caching::NoStore);
        assert_eq!(answer.status, Status::Ok);
        let expected = "Content-Type: application/ocsp-response\r\nContent-Length: 5\r\n\
                        Cache-Control: no-store\r\nX-Accel-Expires: 0\r\n";
        assert_eq!(fields(&answer), expected);
    }

    // rule: WEB-4
    #[test]
    fn a_refused_method_is_told_the_allowed_ones() {
        let refusal = fields(&HttpResponse::refusal(Status::MethodNotAllowed));
        assert!(refusal.contains("\r\nAllow: GET, HEAD, POST\r\n"));
    }

    // rule: WEB-4
    #[test]
    fn head_is_told_the_length_of_the_body_it_does_not_get() {
        let page = HttpResponse::page();
        assert_eq!(page.content(b"HEAD"), b"");
        assert_eq!(page.content(b"GET"), PAGE);
        assert!(fields(&page).contains(&format!("Content-Length: {}\r\n", PAGE.len())));
    }
}
