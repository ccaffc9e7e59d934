//! Answers made and signed.

use std::sync::Arc;
use std::time::Duration;

use crate::cache::{Entry, Making, ResponseCache};
use crate::http::caching::Representation;
use crate::logging::{chain, quoted};
use crate::ocsp::response::{self, ExtendedRevoke};
use crate::ocsp::{Answer, CertId, ErrorStatus, Nonce, Request, SignatureAlgorithm, SingleAnswer};
use crate::responder::decision::{Decision, decide, validity};
use crate::responder::issuers::Acting;
use crate::responder::keeping::MOST_READINGS;
use crate::responder::{PATIENCE, Reply, Responder, ends};
use crate::serial::Serial;
use crate::signer::SignError;
use crate::status::{CertRecord, CertStatus};
use crate::time::{Timestamp, Validity};

impl Responder {
    /// Several questions, a nonce, or another algorithm: signed for this one request.
    pub(super) fn made(
        &self,
        issuer: Acting<'_>,
        request: &Request<'_>,
        (nonce, algorithm): (Option<Nonce<'_>>, SignatureAlgorithm),
        (now, before_waiting): (Timestamp, &dyn Fn()),
    ) -> Reply {
        // The one after the other: who is refused must not hold a place even for a moment.
        let Ok(_unshared) = self.unshared.enter() else { return self.overloaded() };
        let Ok(_slow) = self.slow.enter() else { return self.overloaded() };
        before_waiting();
        load_key(issuer);
        let mut now = now;
        for _ in 0..MOST_READINGS {
            match self.made_once(issuer, request, (nonce, algorithm), now) {
                Ok(reply) => return reply,
                Err(Overtaken) => now = self.clock.now(),
            }
        }
        Reply::Error(ErrorStatus::TryLater)
    }

    /// Reads the rows and signs, unless one that was good is not any more when that is done.
    fn made_once(
        &self,
        issuer: Acting<'_>,
        request: &Request<'_>,
        (nonce, algorithm): (Option<Nonce<'_>>, SignatureAlgorithm),
        now: Timestamp,
    ) -> Result<Reply, Overtaken> {
        let mut answers = Vec::new();
        let mut good = Vec::new();
        let mut extended_revoke = ExtendedRevoke::Absent;
        let mut all_issued = true;
        for cert_id in request.cert_ids() {
            // One signer answers for the whole request (RFC 6960 section 4.2.2.3).
            if !issuer.is_named_by(cert_id) {
                return Ok(Reply::Error(ErrorStatus::Unauthorized));
            }
            let making = issuer.cache().begin(&cert_id.serial());
            match self.single_answer(issuer, cert_id, now) {
                Ok((answer, Decision::NonIssued(_, stated), _)) => {
                    all_issued = false;
                    if stated == ExtendedRevoke::Stated {
                        extended_revoke = stated;
                    }
                    answers.push(answer);
                }
                Ok((answer, _, at)) => {
                    if answer.status == CertStatus::Good {
                        good.push((cert_id, making, at));
                    }
                    answers.push(answer);
                }
                Err(status) => return Ok(Reply::Error(status)),
            }
        }
        let validity = shortest(answers.iter().map(|answer| answer.validity));
        let responder_id = issuer.responder_id();
        let answer =
            Answer { responder_id, produced_at: now, responses: answers, nonce, extended_revoke };
        let der = match self.sign(issuer, &answer, algorithm) {
            Ok(der) => der,
            Err(status) => return Ok(Reply::Error(status)),
        };
        if !self.are_good_still(issuer, &good) {
            return Err(Overtaken);
        }
        Ok(match validity {
            _ if nonce.is_some() => Reply::WithNonce(Arc::from(der)),
            Some(validity) if all_issued => {
                let representation = Representation::new(Arc::from(der), &validity);
                Reply::Authoritative(representation, validity)
            }
            _ => Reply::NotStored(Arc::from(der)),
        })
    }

    /// Whether all of these rows still are good. What somebody has found out of the first while
    /// the last was read once more counts.
    fn are_good_still(
        &self,
        issuer: Acting<'_>,
        good: &[(&CertId<'_>, Making<'_>, Timestamp)],
    ) -> bool {
        good.iter().all(|(cert_id, making, at)| {
            self.is_good_still(issuer, Question { cert_id, making }, *at)
        }) && !good.iter().any(|(_, making, at)| making.is_overtaken(*at))
    }

    /// Whether a row that was good at `at` still is when its answer is signed, as far as
    /// anybody has found out; it is read once more where that took long.
    fn is_good_still(&self, issuer: Acting<'_>, question: Question<'_>, at: Timestamp) -> bool {
        if question.making.is_overtaken(at) {
            return false;
        }
        match self.read_once_more(issuer, question) {
            // What it said last holds for this one answer.
            None | Some(Err(ErrorStatus::TryLater)) => true,
            Some(read) => read.is_ok_and(|decision| decision.is_issued_as(CertStatus::Good)),
        }
    }

    /// What the row says now, where it may have been read a long time ago. `None`: it was not.
    fn read_once_more(
        &self,
        issuer: Acting<'_>,
        question: Question<'_>,
    ) -> Option<Result<Decision, ErrorStatus>> {
        if question.making.since_reading() <= LONG_WAIT {
            return None;
        }
        let record = self.find(issuer, question.cert_id);
        if record.is_ok() {
            question.making.note_reading();
        }
        Some(record.map(|record| decide(record.as_ref(), issuer.policy())))
    }

    /// Signs what the store says, and keeps it, unless that is overtaken.
    pub(super) fn sign_and_keep(
        &self,
        issuer: Acting<'_>,
        question: Question<'_>,
        record: CertRecord,
        older: Option<&Entry>,
        now: Timestamp,
    ) -> Result<Arc<Entry>, ErrorStatus> {
        let (der, validity) = self.signed(issuer, question.cert_id, record, now)?;
        let signer = issuer.cache().signer();
        let entry = Arc::new(Entry::new((&der, signer), record.status, validity, now));
        let may_be_kept = || self.may_be_kept(issuer, question, &entry);
        let (cert_id, kept) = (question.cert_id, Arc::clone(&entry));
        issuer.cache().put(cert_id, kept, older, record.basis, may_be_kept);
        Ok(entry)
    }

    /// Whether nobody has seen that the row is not good since it was read for this answer.
    /// Other processes do not tell: after a long wait it is read once more, and those who
    /// make answers to other spellings of the question are told too. Where the store has gone
    /// since, nobody can tell, and what is kept would be given until its nextUpdate.
    pub(super) fn may_be_kept(
        &self,
        issuer: Acting<'_>,
        question @ Question { cert_id, making }: Question<'_>,
        entry: &Entry,
    ) -> bool {
        if !entry.is_good() {
            return true;
        }
        let now = self.clock.now();
        let at = entry.confirmed();
        if making.is_overtaken(at) {
            return false;
        }
        match self.read_once_more(issuer, question) {
            None => {}
            Some(Err(ErrorStatus::TryLater)) => return false,
            Some(Ok(Decision::Issued(record))) if entry.is_borne_out_by(&record) => {
                entry.confirm(now);
            }
            Some(_) => issuer.cache().overtake(&cert_id.serial(), Timestamp::NEVER),
        }
        !making.is_overtaken(entry.confirmed())
    }

    /// Signs what the store says, as read at `now`.
    pub(super) fn signed(
        &self,
        issuer: Acting<'_>,
        cert_id: &CertId<'_>,
        record: CertRecord,
        now: Timestamp,
    ) -> Result<(Vec<u8>, Validity), ErrorStatus> {
        let span = issuer.policy().validity;
        let validity = self.validity(issuer, span, ends(issuer, &record), now)?;
        let single = issued(issuer, (cert_id, record.status), validity, now);
        let answer = plain(issuer, single, now);
        let der = self.sign(issuer, &answer, issuer.signer().algorithm())?;
        Ok((der, validity))
    }

    /// Signs what the policy says about a serial without a row; not kept, so that
    /// nobody can fill the cache by asking.
    pub(super) fn non_issued(
        &self,
        issuer: Acting<'_>,
        cert_id: &CertId<'_>,
        status: CertStatus,
        extended_revoke: ExtendedRevoke,
        now: Timestamp,
    ) -> Reply {
        let made = || {
            let span = issuer.policy().non_issued_validity;
            let validity = self.validity(issuer, span, issuer.ends(), now)?;
            let cert_id = cert_id.der();
            let single = SingleAnswer { cert_id, status, validity, archive_cutoff: None };
            let answer = Answer { extended_revoke, ..plain(issuer, single, now) };
            self.sign(issuer, &answer, issuer.signer().algorithm())
        };
        made().map_or_else(Reply::Error, |der| Reply::NotStored(Arc::from(der)))
    }

    /// What is said of one certificate, and when its row was read.
    fn single_answer<'a>(
        &self,
        issuer: Acting<'_>,
        cert_id: &CertId<'a>,
        now: Timestamp,
    ) -> Result<(SingleAnswer<'a>, Decision, Timestamp), ErrorStatus> {
        let record = match self.find(issuer, cert_id) {
            Ok(record) => record,
            Err(refusal @ ErrorStatus::TryLater) => {
                // What was known when the store was last seen holds until its nextUpdate.
                let cached = issuer.cache().get(cert_id, now);
                let reply = self.without_store(issuer, cert_id, cached);
                let Reply::Kept(entry) = reply else { return Err(refusal) };
                let (status, validity) = (entry.status(), entry.validity());
                let answer = issued(issuer, (cert_id, status), validity, now);
                let decision = Decision::Issued(CertRecord::listed(status));
                return Ok((answer, decision, entry.confirmed_by(self.clock.now())));
            }
            Err(refusal) => {
                forget_others(issuer, &cert_id.serial(), None);
                return Err(refusal);
            }
        };
        let decision = decide(record.as_ref(), issuer.policy());
        if !decision.is_issued_as(CertStatus::Good) {
            forget_others(issuer, &cert_id.serial(), decision.issued_status());
        }
        let policy = issuer.policy();
        let (status, span, ends) = match decision {
            Decision::Issued(record) => (record.status, policy.validity, ends(issuer, &record)),
            Decision::NonIssued(status, _) => (status, policy.non_issued_validity, issuer.ends()),
            Decision::Unauthorized => return Err(ErrorStatus::Unauthorized),
        };
        let validity = self.validity(issuer, span, ends, now)?;
        let mut answer = issued(issuer, (cert_id, status), validity, now);
        if matches!(decision, Decision::NonIssued(..)) {
            answer.archive_cutoff = None;
        }
        Ok((answer, decision, now))
    }

    fn validity(
        &self,
        issuer: Acting<'_>,
        span: Duration,
        ends: Timestamp,
        now: Timestamp,
    ) -> Result<Validity, ErrorStatus> {
        validity(now, span, issuer.policy().back_date, ends).ok_or_else(|| {
            issuer.health().ended.begin(format_args!(
                "a certificate has ended, answering internalError: issuer={} ended={}",
                issuer.id().0,
                issuer.ends()
            ));
            ErrorStatus::InternalError
        })
    }

    fn sign(
        &self,
        issuer: Acting<'_>,
        answer: &Answer<'_>,
        algorithm: SignatureAlgorithm,
    ) -> Result<Vec<u8>, ErrorStatus> {
        let to_be_signed = answer.to_be_signed().map_err(|_| ErrorStatus::InternalError)?;
        let signer = Arc::clone(issuer.signer());
        let signed = self.signing.run(PATIENCE, move || {
            let signature = signer.sign(&to_be_signed, algorithm);
            (to_be_signed, signature)
        });
        let Ok((to_be_signed, signature)) = signed else {
            self.report_overload();
            return Err(ErrorStatus::TryLater);
        };
        let signature = signature.map_err(|error| self.not_signed(issuer, &error))?;
        let id = issuer.id().0;
        issuer.health().key_away.end(format_args!("key signs again: issuer={id}"));
        let certificate = issuer.certificate_to_send();
        response::assemble(&to_be_signed, algorithm, &signature, certificate)
            .map_err(|_| ErrorStatus::InternalError)
    }

    fn not_signed(&self, issuer: Acting<'_>, error: &SignError) -> ErrorStatus {
        let health = issuer.health();
        let (trouble, status, name) = match error {
            SignError::OutOfReach(_) => (&health.key_away, ErrorStatus::TryLater, "tryLater"),
            _ => (&health.not_signed, ErrorStatus::InternalError, "internalError"),
        };
        trouble.begin(format_args!(
            "key does not sign, answering {name}: issuer={} error={}",
            issuer.id().0,
            quoted(chain(error))
        ));
        status
    }
}

/// What an answer is made to.
#[derive(Clone, Copy)]
pub(super) struct Question<'q> {
    pub cert_id: &'q CertId<'q>,
    /// Begun before its row was read.
    pub making: &'q Making<'q>,
}

/// A row that was good is not any more.
struct Overtaken;

/// Drops what is kept of a certificate and says something else than `status`, in every
/// spelling of the question: nobody is to get it any more, even if the store goes out of
/// reach now.
pub(super) fn forget_others(issuer: Acting<'_>, serial: &Serial, status: Option<CertStatus>) {
    for_each_kept(issuer, (serial, Timestamp::NEVER), |cache, cert_id| {
        cache.forget_unless(cert_id, status);
    });
}

/// The same where the row was not read now: `seen`, which is not good and is about to be
/// given, was found in the folder. What has been read later stays.
pub(super) fn forget_superseded(issuer: Acting<'_>, serial: &Serial, seen: &Entry, now: Timestamp) {
    let at = seen.confirmed_by(now).saturating_add(LONG_READING);
    for_each_kept(issuer, (serial, at), |cache, cert_id| {
        cache.forget_superseded(cert_id, (seen.status(), at), now);
    });
}

/// Of everybody who signs for the CA: a successor may have signed ahead. And of
/// those who are not configured here, and may be for others, or again.
fn for_each_kept(
    issuer: Acting<'_>,
    (serial, at): (&Serial, Timestamp),
    forget: impl Fn(&ResponseCache, &CertId<'_>),
) {
    let spellings = issuer.certificate().hashes().cert_ids(serial);
    for acting in issuer.each_acting() {
        acting.cache().overtake(serial, at);
        for cert_id in spellings.iter().filter_map(|der| CertId::from_der(der).ok()) {
            forget(acting.cache(), &cert_id);
        }
    }
    for other in issuer.others() {
        for cert_id in spellings.iter().filter_map(|der| CertId::from_der(der).ok()) {
            other.remove_unreported(&cert_id);
        }
    }
}

/// Has the key loaded, where that was put off, before the store is asked: meanwhile a
/// CGI program gets ready to connect. What goes wrong is told when it is to sign.
pub(super) fn load_key(issuer: Acting<'_>) {
    let _told_later = issuer.signer().load();
}

/// An answer about one certificate, without a nonce.
fn plain<'a>(issuer: Acting<'a>, single: SingleAnswer<'a>, now: Timestamp) -> Answer<'a> {
    Answer {
        responder_id: issuer.responder_id(),
        produced_at: now,
        responses: vec![single],
        nonce: None,
        extended_revoke: ExtendedRevoke::Absent,
    }
}

/// What is said of a certificate that was issued.
fn issued<'a>(
    issuer: Acting<'_>,
    (cert_id, status): (&CertId<'a>, CertStatus),
    validity: Validity,
    now: Timestamp,
) -> SingleAnswer<'a> {
    let archive = issuer.policy().archive;
    // No status is known from before there was the CA.
    let cutoff = now.saturating_sub(archive).max(issuer.certificate().not_before());
    let archive_cutoff = (!archive.is_zero()).then_some(cutoff);
    SingleAnswer { cert_id: cert_id.der(), status, validity, archive_cutoff }
}

fn shortest(validities: impl Iterator<Item = Validity>) -> Option<Validity> {
    validities.reduce(|one, other| Validity {
        this_update: one.this_update.max(other.this_update),
        next_update: one.next_update.min(other.next_update),
    })
}

/// More than a row and a signature take by most keys: what takes longer has waited, or signs
/// slowly. Until then other processes may find out in vain that the row is not good.
pub(super) const LONG_WAIT: Duration = Duration::from_millis(20);
/// Confirmations are told by the second in which a question began; its row was read that much
/// later at the most, unless the store is out of order.
const LONG_READING: Duration = Duration::from_secs(3);
