//! What HTTP caches may do with an answer (RFC 9919 sections 6 and 7.2), and
//! whether the client has it already (RFC 9110 section 13.1.2).
//!
//! Pure: the clock and the limits are arguments. Which answers are authoritative
//! is for the caller; error answers and answers with a nonce have no
//! [`Representation`] and are made by [`HttpResponse::ocsp`].

use std::sync::Arc;
use std::time::Duration;

use super::date::ImfFixdate;
use super::{HttpRequest, HttpResponse, Shared, Status, push_decimal};
use crate::digest::sha256;
use crate::hex;
use crate::time::{Timestamp, Validity};

/// The header fields that change from one reply to the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Caching {
    /// `no-store`: errors, answers about serials that were never issued, pages.
    NoStore,
    /// `max-age=0`: an answer with a nonce.
    OwnUseOnly,
    /// An authoritative answer.
    Public {
        /// Seconds for caches anywhere, at most up to nextUpdate.
        max_age: u32,
        /// Seconds for the web server in front (`X-Accel-Expires`): what is left
        /// of the freshness window, or up to nextUpdate, less those that it adds.
        accel_expires: u32,
    },
}

impl Caching {
    /// For an authoritative answer given at `now`: caches anywhere may keep it up
    /// to `ceiling`, the web server in front may repeat it for `fresh_for`, none past
    /// nextUpdate.
    #[must_use]
    pub fn public(
        validity: &Validity,
        now: Timestamp,
        ceiling: Duration,
        fresh_for: Duration,
    ) -> Self {
        let repeated_for = max_age(validity, now, fresh_for);
        let accel_expires = repeated_for.saturating_sub(ROUNDING);
        // nginx repeats `max-age` unchanged, and without `Age`, for as long as it
        // keeps the answer: what it gives out last must not outlive nextUpdate.
        let max_age = max_age(validity, now.saturating_add(repeated_for), ceiling);
        Self::Public { max_age: seconds(max_age), accel_expires: seconds(accel_expires) }
    }

    /// Appends `Cache-Control` and `X-Accel-Expires`, each ended by CRLF.
    pub fn write_to(self, output: &mut Vec<u8>) {
        match self {
            Self::NoStore => output.extend_from_slice(NO_STORE),
            Self::OwnUseOnly => output.extend_from_slice(OWN_USE_ONLY),
            Self::Public { max_age, accel_expires } => {
                output.extend_from_slice(b"Cache-Control: max-age=");
                push_decimal(output, max_age.into());
                output.extend_from_slice(
                    b", public, no-transform, must-revalidate\r\nX-Accel-Expires: ",
                );
                push_decimal(output, accel_expires.into());
                output.extend_from_slice(b"\r\n");
            }
        }
    }
}

/// How long an HTTP cache may keep an answer given at `now` (RFC 9919 section 7.2):
/// up to nextUpdate and no longer than `ceiling`; zero from nextUpdate on.
fn max_age(validity: &Validity, now: Timestamp, ceiling: Duration) -> Duration {
    validity.next_update.saturating_since(now).min(ceiling)
}

/// An authoritative answer as HTTP sees it: made once, when the answer enters the
/// cache. Cloning it and responding with it allocate nothing.
#[derive(Clone, Debug)]
pub struct Representation {
    der: Arc<[u8]>,
    head: Arc<[u8]>,
    etag: ETag,
}

impl Representation {
    /// Takes the DER of the whole OCSPResponse, and the validity it states.
    #[must_use]
    pub fn new(der: Arc<[u8]>, validity: &Validity) -> Self {
        let etag = ETag::of(&der);
        let mut head = OCSP_HEAD.to_vec();
        head.extend_from_slice(b"Last-Modified: ");
        head.extend_from_slice(ImfFixdate::new(validity.this_update).as_bytes());
        head.extend_from_slice(b"\r\nExpires: ");
        head.extend_from_slice(ImfFixdate::new(validity.next_update).as_bytes());
        head.extend_from_slice(b"\r\nETag: ");
        head.extend_from_slice(etag.as_bytes());
        head.extend_from_slice(b"\r\n");
        Self { der, head: head.into(), etag }
    }

    /// The reply to `request`: the answer, or 304 where a GET or HEAD says by
    /// If-None-Match that the client has it (RFC 9110 section 13.1.2; for a POST
    /// the field has no such meaning).
    #[must_use]
    pub fn respond(&self, request: &HttpRequest<'_>, caching: Caching) -> HttpResponse {
        let reads = matches!(request.method, b"GET" | b"HEAD");
        let status = if reads && self.etag.is_among(request.if_none_match) {
            Status::NotModified
        } else {
            Status::Ok
        };
        let head = Shared::Counted(Arc::clone(&self.head));
        HttpResponse { status, head, caching, body: Shared::Counted(Arc::clone(&self.der)) }
    }

    /// The DER of the OCSPResponse.
    #[must_use]
    pub fn der(&self) -> &Arc<[u8]> {
        &self.der
    }

    /// Octets of memory that it holds, for a cache that counts.
    #[must_use]
    pub fn footprint(&self) -> usize {
        size_of::<Self>() + self.der.len() + self.head.len()
    }
}

/// A strong entity tag: the SHA-256 of the response in lower-case hexadecimal,
/// in quotes (RFC 9919 section 6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct ETag([u8; 66]);

impl ETag {
    /// The tag of these octets.
    fn of(der: &[u8]) -> Self {
        let mut text = [b'"'; 66];
        let places = text.iter_mut().skip(1);
        for (place, digit) in places.zip(sha256(der).into_iter().flat_map(hex::pair)) {
            *place = digit;
        }
        Self(text)
    }

    /// The text, with its quotes.
    fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Whether an `If-None-Match` field names this tag, by the weak comparison
    /// (RFC 9110 section 8.8.3.2), or is `*`. What is written wrongly matches
    /// nothing from there on: the client gets the answer in full.
    fn is_among(&self, if_none_match: &[u8]) -> bool {
        let mut rest = if_none_match.trim_ascii();
        if rest == b"*" {
            return true;
        }
        while let Some((opaque, after)) = split_entity_tag(rest) {
            if opaque == self.0 {
                return true;
            }
            rest = after;
        }
        false
    }
}

/// Takes one entity tag off a list, without its `W/`, with its quotes.
fn split_entity_tag(list: &[u8]) -> Option<(&[u8], &[u8])> {
    // Empty members of a list are ignored (RFC 9110 section 5.6.1.2).
    let start = list.iter().position(|byte| !matches!(byte, b' ' | b'\t' | b','))?;
    let tag = list.get(start..)?;
    let tag = tag.strip_prefix(b"W/").unwrap_or(tag);
    let length = tag.strip_prefix(b"\"")?.iter().position(|&byte| byte == b'"')?;
    tag.split_at_checked(length + 2)
}

fn seconds(span: Duration) -> u32 {
    u32::try_from(span.as_secs()).unwrap_or(u32::MAX)
}

/// nginx adds X-Accel-Expires to a clock cut to whole seconds, and serves through
/// the second it arrives at; its second may also begin after ours. So this much
/// less keeps its last repeat within the freshness window, and before nextUpdate.
const ROUNDING: Duration = Duration::from_secs(2);

/// What every OCSP answer begins with.
pub(super) const OCSP_HEAD: &[u8] = b"Content-Type: application/ocsp-response\r\n";

const NO_STORE: &[u8] = b"Cache-Control: no-store\r\nX-Accel-Expires: 0\r\n";

const OWN_USE_ONLY: &[u8] =
    b"Cache-Control: max-age=0, private, no-transform, must-revalidate\r\nX-Accel-Expires: 0\r\n";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::Body;

    const ABC: &str = "\"ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad\"";

    fn validity() -> Validity {
        let this_update = Timestamp::from_civil(1994, 11, 6, (8, 49, 37)).unwrap();
        let next_update = this_update.saturating_add(Duration::from_secs(3600));
        Validity { this_update, next_update }
    }

    fn reply(method: &str, if_none_match: &str) -> HttpResponse {
        let caching = Caching::Public { max_age: 60, accel_expires: 7 };
        let request = HttpRequest {
            method: method.as_bytes(),
            request_uri: b"/",
            body: Body::Whole(b""),
            if_none_match: if_none_match.as_bytes(),
        };
        Representation::new(Arc::from(*b"abc"), &validity()).respond(&request, caching)
    }

    fn fields(response: &HttpResponse) -> String {
        let mut output = Vec::new();
        response.write_fields(&mut output);
        String::from_utf8(output).unwrap()
    }

    // rule: WEB-3
    #[test]
    fn an_authoritative_answer_carries_all_fields_of_the_profile() {
        let expected = format!(
            "Content-Type: application/ocsp-response\r\n\
             Last-Modified: Sun, 06 Nov 1994 08:49:37 GMT\r\n\
             Expires: Sun, 06 Nov 1994 09:49:37 GMT\r\n\
             ETag: {ABC}\r\n\
             Content-Length: 3\r\n\
             Cache-Control: max-age=60, public, no-transform, must-revalidate\r\n\
             X-Accel-Expires: 7\r\n"
        );
        assert_eq!(fields(&reply("POST", "")), expected);
    }

    // rule: WEB-3
    #[test]
    fn max_age_ends_with_the_answer_and_at_the_ceiling() {
        let span = Duration::from_secs;
        let at = |seconds| validity().this_update.saturating_add(span(seconds));
        assert_eq!(max_age(&validity(), at(600), span(86_400)), span(3000));
        assert_eq!(max_age(&validity(), at(600), span(60)), span(60));
        assert_eq!(max_age(&validity(), at(3600), span(60)), span(0));
        assert_eq!(max_age(&validity(), at(9999), span(60)), span(0));
    }

    // rule: WEB-3
    #[test]
    fn what_the_web_server_repeats_last_does_not_outlive_the_answer() {
        let span = Duration::from_secs;
        let at = |seconds| validity().this_update.saturating_add(span(seconds));
        let public = |now| Caching::public(&validity(), now, span(600), span(10));
        let expect = |max_age, accel_expires| Caching::Public { max_age, accel_expires };
        assert_eq!(public(at(0)), expect(600, 8));
        assert_eq!(public(at(3500)), expect(90, 8));
        assert_eq!(public(at(3591)), expect(0, 7));
        assert_eq!(public(at(3596)), expect(0, 2));
        assert_eq!(public(at(3598)), expect(0, 0));
        assert_eq!(public(at(3599)), expect(0, 0));
        assert_eq!(public(at(4000)), expect(0, 0));
    }

    // rule: WEB-3
    #[test]
    fn other_answers_are_not_for_shared_caches() {
        let answer = |caching| fields(&HttpResponse::ocsp(Shared::Static(b"abc"), caching));
        let head = "Content-Type: application/ocsp-response\r\nContent-Length: 3\r\n";
        assert_eq!(
            answer(Caching::NoStore),
            format!("{head}Cache-Control: no-store\r\nX-Accel-Expires: 0\r\n")
        );
        assert!(answer(Caching::OwnUseOnly).contains("Cache-Control: max-age=0, private,"));
        assert!(answer(Caching::OwnUseOnly).ends_with("X-Accel-Expires: 0\r\n"));
    }

    // rule: WEB-4
    #[test]
    fn a_client_that_has_the_answer_gets_304_with_the_same_fields_and_no_body() {
        for method in ["GET", "HEAD"] {
            let full = fields(&reply(method, ""));
            let response = reply(method, ABC);
            assert_eq!(response.status, Status::NotModified);
            assert_eq!(fields(&response), full.replace("Content-Length: 3\r\n", ""));
            assert_eq!(response.content(method.as_bytes()), b"");
        }
        assert_eq!(reply("POST", ABC).status, Status::Ok);
    }

    // rule: WEB-4
    #[test]
    fn if_none_match_may_be_a_list_weak_or_a_star() {
        let tag = ETag::of(b"abc");
        assert_eq!(tag.as_bytes(), ABC.as_bytes());
        let bare = ABC.trim_matches('"');
        let matching = [
            ABC.to_owned(),
            format!("W/{ABC}"),
            format!("\"x\", W/\"y,z\" ,{ABC}"),
            format!(", ,\t{ABC},"),
            " * ".to_owned(),
        ];
        for field in matching {
            assert!(tag.is_among(field.as_bytes()), "{field}");
        }
        let other = ["", ",", "\"", "\"x\"", "**", "\"*\"", bare, &ABC.to_uppercase(), "w/\"x\" *"];
        for field in other {
            assert!(!tag.is_among(field.as_bytes()), "{field}");
        }
    }
}
