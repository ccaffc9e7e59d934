//! The OCSP request out of an HTTP request (RFC 6960 appendix A.1, RFC 9919 section 6).
//!
//! Pure: no I/O, no policy, no ASN.1. What is no OCSP gets its response here.

use super::get_url::{GetRequest, get_candidates};
use super::{Body, HttpRequest, HttpResponse, Status};

/// What a request asks.
#[derive(Clone, Debug)]
pub enum Decoded<'a> {
    /// The octets that ought to be one DER OCSPRequest.
    Request(&'a [u8]),
    /// No request can be made out: answered as `malformedRequest`.
    Malformed,
    /// Nothing to do with OCSP: the page, 405 or 413.
    Other(HttpResponse),
}

/// Takes the OCSP request out of the HTTP request.
///
/// A GET may have several readings; `accept` judges them as in [`get_candidates`].
/// Nothing is allocated once `scratch` is large enough.
pub fn decode<'a>(
    request: &HttpRequest<'a>,
    scratch: &'a mut Vec<u8>,
    accept: impl FnMut(&[u8]) -> bool,
) -> Decoded<'a> {
    match (request.method, request.body) {
        (b"GET" | b"HEAD" | b"POST", Body::TooLarge) => {
            Decoded::Other(HttpResponse::refusal(Status::ContentTooLarge))
        }
        (b"POST", Body::Whole(b"") | Body::Incomplete) => Decoded::Malformed,
        (b"POST", Body::Whole(der)) => Decoded::Request(der),
        (b"GET" | b"HEAD", _) => match get_candidates(request.request_uri, scratch, accept) {
            GetRequest::Der(der) => Decoded::Request(der),
            GetRequest::Malformed => Decoded::Malformed,
            GetRequest::Absent => Decoded::Other(HttpResponse::page()),
        },
        _ => Decoded::Other(HttpResponse::refusal(Status::MethodNotAllowed)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(method: &str, body: Body<'_>) -> String {
        let (method, request_uri) = (method.as_bytes(), &b"/"[..]);
        let request = HttpRequest { method, request_uri, body, if_none_match: b"" };
        match decode(&request, &mut Vec::new(), |_| true) {
            Decoded::Request(der) => format!("{der:?}"),
            Decoded::Malformed => "malformed".to_owned(),
            Decoded::Other(response) => response.status.line().to_owned(),
        }
    }

    // rule: WEB-4, WEB-5, WEB-6
    #[test]
    fn each_method_has_its_outcome() {
        assert_eq!(ask("POST", Body::Whole(b"0")), "[48]");
        assert_eq!(ask("POST", Body::Whole(b"")), "malformed");
        assert_eq!(ask("POST", Body::Incomplete), "malformed");
        assert_eq!(ask("POST", Body::TooLarge), "413 Content Too Large");
        assert_eq!(ask("GET", Body::Whole(b"")), "200 OK");
        assert_eq!(ask("HEAD", Body::Whole(b"")), "200 OK");
        for other in ["PUT", "get", "", "OPTIONS"] {
            assert_eq!(ask(other, Body::Whole(b"0")), "405 Method Not Allowed");
        }
    }
}
