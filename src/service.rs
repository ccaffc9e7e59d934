//! One exchange, from an HTTP request to an HTTP response: where http, ocsp and
//! responder meet. Every transport ends here.

use std::cell::RefCell;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;

use crate::http::caching::Caching;
use crate::http::decode::{Decoded, decode};
use crate::http::{Exchange, HttpRequest, HttpResponse, Shared};
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

fn into_response(responder: &Responder, request: &HttpRequest<'_>, reply: Reply) -> HttpResponse {
    let policy = responder.policy();
    match reply {
        Reply::Kept(entry) => {
            let now = responder.now();
            let fresh_for = entry.fresh_for(now, policy.freshness).saturating_sub(ROUNDING);
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

/// nginx adds X-Accel-Expires to a clock cut to whole seconds, and serves through
/// the second it arrives at; its second may also begin after ours. So this much
/// less keeps its last repeat within the freshness window.
const ROUNDING: Duration = Duration::from_secs(2);
