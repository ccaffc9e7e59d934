//! One HTTP exchange as plain values, which each transport fills and prints.

use std::sync::Arc;

pub mod caching;
pub mod date;
pub mod decode;

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
    /// Longer than the limit; not read any further.
    TooLarge,
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
    /// Content-Type and Content-Length are among them, Cache-Control and
    /// X-Accel-Expires are not.
    pub head: Shared,
    /// The fields that change from one reply to the next.
    pub caching: caching::Caching,
    /// The body; not printed in answer to HEAD, nor with 304.
    pub body: Shared,
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

/// The status codes that this responder uses (RFC 9110 section 15).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are the RFC's")]
pub enum Status {
    Ok,
    NotModified,
    BadRequest,
    MethodNotAllowed,
    ContentTooLarge,
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
        }
    }
}
