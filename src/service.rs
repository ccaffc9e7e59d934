//! One exchange, from an HTTP request to an HTTP response: where http, ocsp and
//! responder meet. Every transport ends here.

use std::cell::RefCell;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;

use crate::http::caching::Caching;
use crate::http::decode::{Decoded, decode};
use crate::http::{Body, Exchange, HttpRequest, HttpResponse, Shared};
use crate::ocsp::ErrorStatus;
use crate::responder::{Reply, Responder};

/// The responder behind HTTP, exchangeable while it runs.
pub struct Service {
    responder: ArcSwap<Responder>,
}

impl Service {
    /// Serves with this responder.
    #[must_use]
    pub fn new(responder: Responder) -> Self {
        Self { responder: ArcSwap::from_pointee(responder) }
    }

    /// The one that serves now.
    #[must_use]
    pub fn responder(&self) -> Arc<Responder> {
        self.responder.load_full()
    }

    /// Goes on with another one; exchanges under way end with the old one.
    pub fn replace(&self, responder: Responder) {
        self.responder.store(Arc::new(responder));
    }
}

impl Exchange for Service {
    fn handle(&self, request: &HttpRequest<'_>, before_waiting: &dyn Fn()) -> HttpResponse {
        let responder = self.responder.load();
        if is_long(request) {
            before_waiting();
        }
        SCRATCH.with_borrow_mut(|scratch| {
            match decode(request, scratch, |der| responder.recognizes(der)) {
                Decoded::Request(der) => {
                    let reply = responder.respond(der, before_waiting);
                    into_response(&responder, request, reply)
                }
                Decoded::Malformed => error(ErrorStatus::MalformedRequest),
                Decoded::Other(response) => response,
            }
        })
    }
}

/// Whether to read it may take longer than to wake another thread.
fn is_long(request: &HttpRequest<'_>) -> bool {
    let body = match request.body {
        Body::Whole(octets) => octets.len(),
        Body::Incomplete | Body::TooLarge => 0,
    };
    request.request_uri.len().max(body) > READ_AT_ONCE
}

fn into_response(responder: &Responder, request: &HttpRequest<'_>, reply: Reply) -> HttpResponse {
    let policy = responder.policy();
    match reply {
        Reply::Kept(entry) => {
            let now = responder.now();
            let fresh_for = entry.fresh_for(now, policy.freshness);
            let caching = Caching::public(&entry.validity(), now, policy.max_age, fresh_for);
            entry.representation().respond(request, caching)
        }
        Reply::Authoritative(representation, validity) => {
            let now = responder.now();
            let caching = Caching::public(&validity, now, policy.max_age, Duration::ZERO);
            representation.respond(request, caching)
        }
        Reply::WithNonce(der) => HttpResponse::ocsp(Shared::Counted(der), Caching::OwnUseOnly),
        Reply::NotStored(der) => HttpResponse::ocsp(Shared::Counted(der), Caching::NoStore),
        Reply::Error(status) => error(status),
    }
}

fn error(status: ErrorStatus) -> HttpResponse {
    HttpResponse::ocsp(Shared::Static(status.der()), Caching::NoStore)
}

thread_local! {
    /// Where a GET is decoded.
    static SCRATCH: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Octets of a URL or a body that are read before anybody else is called. The requests of
/// nearly all clients are a tenth of that.
const READ_AT_ONCE: usize = 1024;

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;
    use crate::responder::Capacity;
    use crate::responder::issuers::Issuers;
    use crate::responder::policy::Policy;
    use crate::responder::presigned::Presigned;
    use crate::responder::signing::Signing;
    use crate::time::SystemClock;

    /// Whether another thread is called in place of the one that answers.
    fn calls(method: &str, octets: usize) -> bool {
        let capacity = Capacity { slow: 1, signing: Arc::new(Signing::new(1, 1)) };
        let (issuers, clock) = (Issuers::new(Vec::new()), Arc::new(SystemClock));
        let policy = Policy::default();
        let responder = Responder::new(issuers, Presigned::default(), policy, clock, capacity);
        let (text, called) = (vec![b'/'; octets], Cell::new(false));
        let (request_uri, body) = match method {
            "GET" => (&text[..], &b""[..]),
            _ => (&b"/"[..], &text[..]),
        };
        let (method, body) = (method.as_bytes(), Body::Whole(body));
        let request = HttpRequest { method, request_uri, body, if_none_match: b"" };
        let _answer = Service::new(responder).handle(&request, &|| called.set(true));
        called.get()
    }

    #[test]
    fn nobody_else_waits_until_a_long_request_is_read() {
        for method in ["GET", "POST"] {
            assert!(!calls(method, 1024), "{method}");
            assert!(calls(method, 1025), "{method}");
        }
    }
}
