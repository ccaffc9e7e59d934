//! From a request to an answer, through cache, store and signer.
//!
//! A repeat ends in memory. Anything else passes one gate, so that repeats always
//! find a worker, and asks the store; the signature has places and a queue of its own.

use std::sync::Arc;
use std::time::Duration;

use trouble::Trouble;

use crate::cache::Entry;
use crate::http::caching::Representation;
use crate::logging::{chain, quoted};
use crate::ocsp::request::Signature;
use crate::ocsp::{CertId, ErrorStatus, Request};
use crate::responder::flight::Flights;
use crate::responder::gate::Gate;
use crate::responder::issuers::{Acting, Issuers};
use crate::responder::policy::{NoncePolicy, Policy, Requests};
use crate::responder::presigned::Presigned;
use crate::responder::signing::Signing;
use crate::serial::Serial;
use crate::status::{Basis, CertRecord, CertStatus};
use crate::store::StoreError;
use crate::time::{Clock, Timestamp, Validity};

pub mod ahead;
mod answers;
pub mod decision;
pub mod flight;
pub mod gate;
mod health;
pub mod issuers;
mod keeping;
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
    /// Of these, answers that serve one asker alone, as they carry a nonce, and those that
    /// memory does not have, as of serials that were made up: a flood of them leaves places
    /// in which rows are read for kept answers.
    unshared: Gate,
    signing: Arc<Signing>,
    flights: Flights<Reply>,
    overload: Trouble,
    presigned_over: Trouble,
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
    Authoritative(Representation, Validity),
    /// An answer to this one request, as it carries its nonce.
    WithNonce(Arc<[u8]>),
    /// An answer that nobody is to keep, as it is about a certificate that was not issued,
    /// beside others or not.
    NotStored(Arc<[u8]>),
    /// An error response.
    Error(ErrorStatus),
}

impl Reply {
    /// The OCSPResponse.
    #[must_use]
    pub fn der(&self) -> &[u8] {
        match self {
            Self::Kept(entry) => entry.der(),
            Self::Authoritative(representation, _) => representation.der(),
            Self::WithNonce(der) | Self::NotStored(der) => der,
            Self::Error(status) => status.der(),
        }
    }
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
            overload: Trouble::new(log::Level::Warn),
            presigned_over: Trouble::new(log::Level::Error),
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
                || self.presigned.find(cert_id, self.clock.now()).is_some()
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
        let Some(answer) = request.single().and_then(|cert_id| self.presigned.find(cert_id, now))
        else {
            log::debug!("not one of our issuers: serial={}", request.first().serial());
            return Reply::Error(ErrorStatus::Unauthorized);
        };
        if answer.validity().contains(now) {
            return Reply::Authoritative(answer.representation().clone(), answer.validity());
        }
        let (path, validity) = (quoted(answer.path().display()), answer.validity());
        let (what, when) = match validity.this_update > now {
            true => ("has not begun", format_args!("begins={}", validity.this_update)),
            false => ("is over", format_args!("ended={}", validity.next_update)),
        };
        self.presigned_over.begin(format_args!(
            "pre-signed answer {what}, answering tryLater: file={path} {when}"
        ));
        Reply::Error(ErrorStatus::TryLater)
    }

    /// The answers signed elsewhere.
    #[must_use]
    pub fn presigned_answers(&self) -> &Presigned {
        &self.presigned
    }

    fn find(
        &self,
        issuer: Acting<'_>,
        cert_id: &CertId<'_>,
    ) -> Result<Option<CertRecord>, ErrorStatus> {
        let (serial, id) = (&cert_id.serial(), issuer.id().0);
        let health = issuer.health();
        let under_way = health.ask();
        let found = issuer.store().find(serial);
        let is_remembered = matches!(&found, Ok(Some(it)) if it.basis == Basis::Remembered);
        let is_away = is_remembered || matches!(found, Err(StoreError::Unavailable(_)));
        if !is_away {
            health.note_store_answer();
        }
        drop(under_way);
        match found {
            Ok(record) => {
                let record = record.map(|record| self.as_of_now(issuer, serial, record));
                if !is_away {
                    let again = format_args!("status store answers again: issuer={id}");
                    health.store_down.end(again);
                }
                Ok(record)
            }
            Err(error @ StoreError::Unavailable(_)) => {
                health.note_store_failure(self.clock.now());
                health.store_down.begin(format_args!(
                    "status store unavailable, answering from the cache or tryLater: \
                     issuer={id} serial={serial} error={}",
                    quoted(chain(&error))
                ));
                Err(ErrorStatus::TryLater)
            }
            Err(error @ StoreError::BadRow { .. }) => {
                health.bad_row.begin(format_args!(
                    "row cannot be understood, answering internalError: issuer={id} \
                     serial={serial} error={}",
                    quoted(chain(&error))
                ));
                Err(ErrorStatus::InternalError)
            }
        }
    }

    /// What the store has said, without a time of revocation that is still to come.
    pub(crate) fn as_of_now(
        &self,
        issuer: Acting<'_>,
        serial: &Serial,
        record: CertRecord,
    ) -> CertRecord {
        let told = record.as_of(self.clock.now());
        if let CertStatus::Revoked { time, .. } = record.status
            && told != record
        {
            issuer.health().to_come.begin(format_args!(
                "a revocation is still to come, answering revoked all the same: \
                 issuer={} serial={serial} time={time}",
                issuer.id().0
            ));
        }
        told
    }

    fn overloaded(&self) -> Reply {
        self.report_overload();
        Reply::Error(ErrorStatus::TryLater)
    }

    fn report_overload(&self) {
        self.overload.begin(format_args!(
            "more new questions at once than can be answered, answering tryLater"
        ));
    }
}

/// The last second that an answer may reach to.
fn ends(issuer: Acting<'_>, record: &CertRecord) -> Timestamp {
    record.ends().map_or(issuer.ends(), |until| until.min(issuer.ends()))
}

/// How long a question waits for a signature, or for another's: longer than clients wait.
/// The store's time-outs together may be more, see [`crate::store::mysql::Mysql`].
const PATIENCE: Duration = Duration::from_secs(10);
