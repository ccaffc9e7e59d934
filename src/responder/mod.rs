//! From a request to an answer, through cache, store and signer.
//!
//! A repeat ends in memory. Anything else passes one gate, so that repeats always
//! find a worker, and asks the store; the signature has places and a queue of its own.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::cache::{Entry, Making};
use crate::http::caching::Representation;
use crate::logging::{Trouble, chain, quoted};
use crate::ocsp::request::Signature;
use crate::ocsp::{CertId, ErrorStatus, Request};
use crate::responder::decision::{Decision, decide, validity};
use crate::responder::flight::Flights;
use crate::responder::gate::Gate;
use crate::responder::issuers::{Acting, Issuers};
use crate::responder::policy::{NoncePolicy, Policy, Requests, StoreDown};
use crate::responder::presigned::Presigned;
use crate::responder::signing::Signing;
use crate::status::{CertRecord, CertStatus};
use crate::store::StoreError;
use crate::time::{Clock, Timestamp, Validity};

pub mod ahead;
mod answers;
pub mod decision;
pub mod flight;
pub mod gate;
pub mod issuers;
pub mod policy;
pub mod presigned;
pub mod signing;

/// Answers requests for the configured issuers.
pub struct Responder {
    issuers: Issuers,
    presigned: Presigned,
    policy: Policy,
    clock: Arc<dyn Clock>,
    /// Everything that is no repeat: store lookups, signatures, and waits for them.
    slow: Gate,
    /// Of these, answers that serve one asker alone, as they carry a nonce: a flood of
    /// them leaves places in which rows are read for kept answers.
    unshared: Gate,
    signing: Arc<Signing>,
    flights: Flights<Reply>,
    store_down: Trouble,
    overload: Trouble,
    failures: Trouble,
}

/// How much may go on at once.
pub struct Capacity {
    /// Requests that are no repeats: fewer than there are workers.
    pub slow: usize,
    /// Signatures; shared with the responder that this one takes over from.
    pub signing: Arc<Signing>,
}

/// What a request is answered with.
#[derive(Clone, Debug)]
pub enum Reply {
    /// An answer that serves whoever asks the same.
    Kept(Arc<Entry>),
    /// An answer that HTTP caches may keep, but we do not.
    Authoritative(Arc<Representation>, Validity),
    /// An answer to this one request, as it carries its nonce.
    WithNonce(Arc<[u8]>),
    /// An answer that says nothing about an issued certificate.
    NotStored(Arc<[u8]>),
    /// An error response.
    Error(ErrorStatus),
}

impl Responder {
    /// Puts a responder together.
    #[must_use]
    pub fn new(
        issuers: Issuers,
        presigned: Presigned,
        policy: Policy,
        clock: Arc<dyn Clock>,
        capacity: Capacity,
    ) -> Self {
        Self {
            issuers,
            presigned,
            policy,
            clock,
            slow: Gate::new(capacity.slow),
            unshared: Gate::new(capacity.slow.saturating_sub((capacity.slow / 4).max(1))),
            signing: capacity.signing,
            flights: Flights::new(policy.freshness),
            store_down: Trouble::new(log::Level::Warn),
            overload: Trouble::new(log::Level::Warn),
            failures: Trouble::new(log::Level::Error),
        }
    }

    /// The issuers.
    #[must_use]
    pub fn issuers(&self) -> &Issuers {
        &self.issuers
    }

    /// How answers are made.
    #[must_use]
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// The present second.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Whether `der` is a request about one of the issuers: chooses between the
    /// readings of a URL that a server in front has mangled.
    #[must_use]
    pub fn recognizes(&self, der: &[u8]) -> bool {
        Request::from_der(der, self.policy.request_certificates).is_ok_and(|request| {
            let cert_id = request.first();
            self.issuers.iter().any(|issuer| issuer.is_named_by(cert_id))
                || self.presigned.find(cert_id).is_some()
        })
    }

    /// Answers one request. A refusal is an answer too, so this cannot fail.
    ///
    /// Calls `before_waiting` unless the answer is there at once.
    #[must_use]
    pub fn respond(&self, der: &[u8], before_waiting: &dyn Fn()) -> Reply {
        let request = match Request::from_der(der, self.policy.request_certificates) {
            Ok(request) => request,
            Err(error) => {
                log::debug!("malformed request: octets={} error={}", der.len(), quoted(error));
                return Reply::Error(ErrorStatus::MalformedRequest);
            }
        };
        let now = self.clock.now();
        let Some(issuer) = self.issuers.find(request.first(), now) else {
            return self.presigned(&request, now);
        };
        let policy = issuer.policy();
        if policy.requests == Requests::Signed && request.signature() == Signature::Absent {
            return Reply::Error(ErrorStatus::SigRequired);
        }
        let nonce = match (policy.nonce, request.nonce()) {
            (NoncePolicy::Ignore, _) => None,
            (NoncePolicy::Require, None) => return Reply::Error(ErrorStatus::MalformedRequest),
            (_, nonce) => nonce,
        };
        let algorithm = issuer.signer().choose(request.preferred_algorithms());
        match (request.single(), nonce) {
            (Some(cert_id), None) if algorithm == issuer.signer().algorithm() => {
                self.kept(issuer, &request, cert_id, (now, before_waiting))
            }
            _ => self.made(issuer, &request, (nonce, algorithm), (now, before_waiting)),
        }
    }

    /// What others have signed of certificates that are not our issuers'.
    fn presigned(&self, request: &Request<'_>, now: Timestamp) -> Reply {
        let Some(answer) = request.single().and_then(|cert_id| self.presigned.find(cert_id)) else {
            log::debug!("not one of our issuers: serial={}", request.first().serial());
            return Reply::Error(ErrorStatus::Unauthorized);
        };
        if answer.validity().contains(now) {
            return Reply::Authoritative(Arc::clone(answer.representation()), answer.validity());
        }
        self.failures.begin(
            Instant::now(),
            format_args!(
                "pre-signed answer is over, answering tryLater: file={} ended={}",
                quoted(answer.path().display()),
                answer.validity().next_update
            ),
        );
        Reply::Error(ErrorStatus::TryLater)
    }

    /// The answers signed elsewhere.
    #[must_use]
    pub fn presigned_answers(&self) -> &Presigned {
        &self.presigned
    }

    /// One question without a nonce: most of the world's requests.
    fn kept(
        &self,
        issuer: Acting<'_>,
        request: &Request<'_>,
        cert_id: &CertId<'_>,
        (now, before_waiting): (Timestamp, &dyn Fn()),
    ) -> Reply {
        let cached = issuer.cache().get(cert_id, now);
        if let Some(entry) = cached {
            let left = entry.fresh_for(now, self.policy.freshness);
            // Close to the end of the window one asker a second reads the row while
            // the others are still served, so that they need not wait for it.
            let is_early = left > self.policy.freshness / 5;
            if is_early && !left.is_zero() {
                return Reply::Kept(entry);
            }
            // While the store is known to be down likewise: one asks, the others go on.
            let may_serve = !left.is_zero() || self.serves_without_store(issuer, now);
            if may_serve && !entry.claim_attempt(now) {
                return Reply::Kept(entry);
            }
        }
        if !cert_id.is_usual() {
            // Zeros before the serial, say: such spellings have no number, and nothing
            // is kept of them.
            let plain = (None, issuer.signer().algorithm());
            return self.made(issuer, request, plain, (now, before_waiting));
        }
        let Ok(_pass) = self.slow.enter() else { return self.overloaded() };
        before_waiting();
        // Without a window nobody shares: each request is to see the row as it is.
        self.flights
            .join(cert_id.der(), now, PATIENCE, || self.refresh(issuer, cert_id, now))
            .unwrap_or_else(|| self.overloaded())
    }

    /// Reads the row, and makes its answer: once more where it is good and, meanwhile, the
    /// row was not for another question, whose asker may know already.
    fn refresh(&self, issuer: Acting<'_>, cert_id: &CertId<'_>, mut now: Timestamp) -> Reply {
        for _ in 0..MOST_READINGS {
            let making = issuer.cache().begin(&cert_id.serial());
            let reply = self.refresh_once(issuer, (cert_id, &making), now);
            if !reply.is_good() || !making.is_overtaken() {
                return reply;
            }
            issuer.cache().remove(cert_id);
            now = self.clock.now();
        }
        Reply::Error(ErrorStatus::TryLater)
    }

    /// Reads the row, and gives the cached answer if it still says the same.
    fn refresh_once(
        &self,
        issuer: Acting<'_>,
        question @ (cert_id, _): (&CertId<'_>, &Making<'_>),
        now: Timestamp,
    ) -> Reply {
        let window = self.policy.freshness;
        let mut cached = issuer.cache().get(cert_id, now);
        if cached.is_none() {
            cached = self.load(issuer, cert_id, now);
            if let Some(entry) = &cached
                && !entry.fresh_for(now, window).is_zero()
            {
                return Reply::Kept(Arc::clone(entry));
            }
        }
        let record = match self.find(issuer, cert_id) {
            Ok(record) => record,
            Err(ErrorStatus::TryLater) => return self.without_store(issuer, cert_id, now, cached),
            Err(refusal) => {
                // The row was there, and no longer says what the answer says.
                self.forget_others(issuer, &cert_id.serial(), None, now);
                return Reply::Error(refusal);
            }
        };
        let decision = decide(record.as_ref(), issuer.policy());
        let is_known = cached.as_ref().is_some_and(|entry| decision.is_issued_as(entry.status()));
        if !decision.is_issued_as(CertStatus::Good) && !is_known {
            // First, so that nothing gives an old answer again, come what may.
            self.forget_others(issuer, &cert_id.serial(), Some(decision), now);
        }
        match decision {
            Decision::Issued(record) => {
                if let Some(entry) = &cached
                    && entry.is_borne_out_by(&record)
                {
                    issuer.cache().confirm(cert_id, entry, record.basis, now);
                    return Reply::Kept(self.renewed(issuer, question, (entry, record), now));
                }
                let older = cached.as_deref();
                match self.sign_and_keep(issuer, question, record, older, now) {
                    Ok(entry) => Reply::Kept(entry),
                    Err(status) => Reply::Error(status),
                }
            }
            Decision::NonIssued(status, extended_revoke) => {
                self.non_issued(issuer, cert_id, status, extended_revoke, now)
            }
            Decision::Unauthorized => Reply::Error(ErrorStatus::Unauthorized),
        }
    }

    fn serves_without_store(&self, issuer: Acting<'_>, now: Timestamp) -> bool {
        self.policy.store_down == StoreDown::ServeCached && issuer.is_store_down(now)
    }

    /// What is given while the row cannot be read.
    fn without_store(
        &self,
        issuer: Acting<'_>,
        cert_id: &CertId<'_>,
        now: Timestamp,
        cached: Option<Arc<Entry>>,
    ) -> Reply {
        if self.policy.store_down == StoreDown::TryLater {
            return Reply::Error(ErrorStatus::TryLater);
        }
        // Another process may have seen the row later than we did.
        let on_disk = self.load(issuer, cert_id, now);
        let latest = match (cached, on_disk) {
            (Some(cached), Some(on_disk)) if on_disk.supersedes(&cached) => Some(on_disk),
            (cached, on_disk) => cached.or(on_disk),
        };
        latest.map_or(Reply::Error(ErrorStatus::TryLater), Reply::Kept)
    }

    /// The answer signed anew when half of its validity is over; the old one,
    /// which is still good, when that cannot be done now.
    fn renewed(
        &self,
        issuer: Acting<'_>,
        question: (&CertId<'_>, &Making<'_>),
        (entry, record): (&Arc<Entry>, CertRecord),
        now: Timestamp,
    ) -> Arc<Entry> {
        if !entry.is_half_over(now) {
            return Arc::clone(entry);
        }
        let policy = issuer.policy();
        let gains = validity(now, policy.validity, policy.back_date, ends(issuer, &record))
            .is_some_and(|new| new.next_update > entry.validity().next_update);
        if !gains {
            return Arc::clone(entry);
        }
        self.sign_and_keep(issuer, question, record, Some(entry), now)
            .unwrap_or_else(|_| Arc::clone(entry))
    }

    fn load(&self, issuer: Acting<'_>, cert_id: &CertId<'_>, now: Timestamp) -> Option<Arc<Entry>> {
        issuer.cache().load(cert_id, now, |answer| issuer.has_signed(answer))
    }

    fn find(
        &self,
        issuer: Acting<'_>,
        cert_id: &CertId<'_>,
    ) -> Result<Option<CertRecord>, ErrorStatus> {
        match issuer.store().find(issuer.id(), &cert_id.serial()) {
            Ok(record) => {
                self.store_down.end(Instant::now(), format_args!("status store answers again"));
                Ok(record)
            }
            Err(error @ StoreError::Unavailable(_)) => {
                issuer.note_store_failure(self.clock.now());
                self.store_down.begin(
                    Instant::now(),
                    format_args!(
                        "status store unavailable, answering from the cache or tryLater: \
                         issuer={} serial={} error={}",
                        issuer.id().0,
                        cert_id.serial(),
                        quoted(chain(&error))
                    ),
                );
                Err(ErrorStatus::TryLater)
            }
            Err(error @ StoreError::BadRow { .. }) => {
                self.failures.begin(
                    Instant::now(),
                    format_args!(
                        "row cannot be understood, answering internalError: issuer={} serial={} \
                         error={}",
                        issuer.id().0,
                        cert_id.serial(),
                        quoted(chain(&error))
                    ),
                );
                Err(ErrorStatus::InternalError)
            }
        }
    }

    fn overloaded(&self) -> Reply {
        self.report_overload();
        Reply::Error(ErrorStatus::TryLater)
    }

    fn report_overload(&self) {
        self.overload.begin(
            Instant::now(),
            format_args!("more new questions than can be signed, answering tryLater"),
        );
    }
}

impl Reply {
    fn is_good(&self) -> bool {
        matches!(self, Self::Kept(entry) if entry.is_good())
    }
}

/// The last second that an answer may reach to.
fn ends(issuer: Acting<'_>, record: &CertRecord) -> Timestamp {
    record.ends().map_or(issuer.ends(), |until| until.min(issuer.ends()))
}

/// How long a question waits for a signature, or for another's: longer than any
/// client waits, and than the store's time-outs together.
const PATIENCE: Duration = Duration::from_secs(10);
/// Of a row that says good each time, and something else to others meanwhile.
const MOST_READINGS: usize = 2;
