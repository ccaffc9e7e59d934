//! One exchange, from an HTTP request to an HTTP response: where http, ocsp and
//! responder meet. Every transport ends here.

use std::cell::RefCell;
use std::sync::Arc;
use std::thread;
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
        retire(self.responder.swap(Arc::new(responder)));
    }
}

/// Drops a responder once nobody uses it any more; not in a worker that was the last to, as
/// others wait to be served by that while it frees all that was kept in memory.
fn retire(old: Arc<Responder>) {
    let last = move || {
        while Arc::strong_count(&old) > 1 {
            thread::sleep(BETWEEN_LOOKS);
        }
    };
    // Without a thread the last one to use it drops it.
    let _ = thread::Builder::new().name("retired".to_owned()).spawn(last);
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
/// At whether a responder is still in use.
const BETWEEN_LOOKS: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::sync::mpsc::{self, Sender};

    use super::*;
    use crate::responder::Capacity;
    use crate::responder::issuers::Issuers;
    use crate::responder::policy::Policy;
    use crate::responder::presigned::Presigned;
    use crate::responder::signing::Signing;
    use crate::time::{Clock, SystemClock, Timestamp};

    fn responder(clock: Arc<dyn Clock>) -> Responder {
        let capacity = Capacity { slow: 1, signing: Arc::new(Signing::new(1, 1)) };
        let (issuers, policy) = (Issuers::new(Vec::new()), Policy::default());
        Responder::new(issuers, Presigned::default(), policy, clock, capacity)
    }

    /// Whether another thread is called in place of the one that answers.
    fn calls(method: &str, octets: usize) -> bool {
        let responder = responder(Arc::new(SystemClock));
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

    /// Goes with its responder, and tells which thread that was in.
    struct TellsItsEnd(Sender<Option<String>>);

    impl Clock for TellsItsEnd {
        fn now(&self) -> Timestamp {
            SystemClock.now()
        }
    }

    impl Drop for TellsItsEnd {
        fn drop(&mut self) {
            self.0.send(thread::current().name().map(str::to_owned)).unwrap();
        }
    }

    #[test]
    fn the_last_to_use_a_replaced_responder_does_not_free_it() {
        let (sender, ends) = mpsc::channel();
        let service = Service::new(responder(Arc::new(TellsItsEnd(sender))));
        let request_uri = vec![b'/'; READ_AT_ONCE + 1];
        let body = Body::Whole(b"");
        let request =
            HttpRequest { method: b"GET", request_uri: &request_uri, body, if_none_match: b"" };
        // In the middle of an exchange.
        service.handle(&request, &|| service.replace(responder(Arc::new(SystemClock))));
        assert_eq!(ends.recv_timeout(Duration::from_secs(20)).unwrap().as_deref(), Some("retired"));
    }

    #[test]
    fn nobody_else_waits_until_a_long_request_is_read() {
        for method in ["GET", "POST"] {
            assert!(!calls(method, 1024), "{method}");
            assert!(calls(method, 1025), "{method}");
        }
    }
}
