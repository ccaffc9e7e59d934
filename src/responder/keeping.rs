//! Answers that are kept: given again, confirmed by their row, or made anew.

use std::sync::Arc;

use crate::cache::Entry;
use crate::ocsp::{CertId, ErrorStatus, Request};
use crate::responder::answers::{Question, forget_others, forget_superseded, load_key};
use crate::responder::decision::{Decision, decide, gives_way, validity};
use crate::responder::issuers::Acting;
use crate::responder::policy::StoreDown;
use crate::responder::{PATIENCE, Reply, Responder, ends};
use crate::serial::Serial;
use crate::status::{CertRecord, CertStatus, RevocationReason};
use crate::time::Timestamp;

impl Responder {
    /// One question without a nonce: most of the world's requests.
    pub(super) fn kept(
        &self,
        issuer: Acting<'_>,
        request: &Request<'_>,
        cert_id: &CertId<'_>,
        (now, before_waiting): (Timestamp, &dyn Fn()),
    ) -> Reply {
        let cached = issuer.cache().get(cert_id, now);
        let is_new = cached.is_none();
        if let Some(entry) = cached {
            let left = entry.fresh_for(now, self.policy.freshness);
            // Close to the end of the window one asker a second reads the row while
            // the others are still served, so that they need not wait for it.
            if left > self.policy.freshness / 5 {
                return Reply::Kept(entry);
            }
            // While the store is known to be down likewise: one asks, the others go on.
            if self.may_be_given(issuer, (cert_id, &entry), now) && !entry.claim_attempt(now) {
                return Reply::Kept(entry);
            }
        }
        if !cert_id.is_usual() {
            // Zeros before the serial, say: such spellings have no number, and nothing
            // is kept of them.
            let plain = (None, issuer.signer().algorithm());
            return self.made(issuer, request, plain, (now, before_waiting));
        }
        // What is new may serve its one asker alone, as a serial that was made up does.
        let unshared = is_new.then(|| self.unshared.enter()).transpose();
        let Ok(_unshared) = unshared else { return self.unread(issuer, cert_id) };
        let Ok(_pass) = self.slow.enter() else { return self.unread(issuer, cert_id) };
        before_waiting();
        // By the same signer: a successor's first asker is not to wait for its predecessor.
        let key = [issuer.cache().signer().octets(), cert_id.der()].concat();
        // Without a window nobody shares: each request is to see the row as it is.
        self.flights
            .join(&key, now, PATIENCE, || self.refresh(issuer, cert_id, now))
            .unwrap_or_else(|| self.unread(issuer, cert_id))
    }

    /// What is given where the row could not be read, as too much goes on: whoever set out
    /// to read it for all gets no less than they do.
    fn unread(&self, issuer: Acting<'_>, cert_id: &CertId<'_>) -> Reply {
        let now = self.clock.now();
        let cached = issuer.cache().get(cert_id, now);
        match cached.filter(|entry| self.may_be_given(issuer, (cert_id, entry), now)) {
            Some(entry) => Reply::Kept(entry),
            None => self.overloaded(),
        }
    }

    /// Whether a kept answer is given although its row is not read now.
    fn may_be_given(
        &self,
        issuer: Acting<'_>,
        (cert_id, entry): (&CertId<'_>, &Entry),
        now: Timestamp,
    ) -> bool {
        !entry.fresh_for(now, self.policy.freshness).is_zero()
            || (self.serves_without_store(issuer, now)
                && !issuer.cache().is_replaced(cert_id, entry))
    }

    /// Reads the row, and makes its answer: once more where it is good and, meanwhile, the
    /// row was not for another question, whose asker may know already.
    fn refresh(&self, issuer: Acting<'_>, cert_id: &CertId<'_>, mut now: Timestamp) -> Reply {
        for _ in 0..MOST_READINGS {
            let making = issuer.cache().begin(&cert_id.serial());
            let question = Question { cert_id, making: &making };
            let reply = self.refresh_once(issuer, question, now);
            match &reply {
                Reply::Kept(entry) if entry.is_good() => {
                    // Now, as the row may have been read once more since this began.
                    if !making.is_overtaken(entry.confirmed_by(self.clock.now())) {
                        return reply;
                    }
                }
                _ => return reply,
            }
            issuer.cache().forget_good(cert_id);
            now = self.clock.now();
        }
        Reply::Error(ErrorStatus::TryLater)
    }

    /// Reads the row, and gives the cached answer if it still says the same.
    fn refresh_once(
        &self,
        issuer: Acting<'_>,
        question @ Question { cert_id, .. }: Question<'_>,
        now: Timestamp,
    ) -> Reply {
        let window = self.policy.freshness;
        let mut cached = issuer.cache().get(cert_id, now);
        if cached.is_none() {
            cached = self.load(issuer, cert_id, now);
            if let Some(entry) = &cached
                && !entry.fresh_for(now, window).is_zero()
            {
                return found(issuer, cert_id, Arc::clone(entry), now);
            }
        }
        if cached.is_none() {
            load_key(issuer);
        }
        let record = match self.find(issuer, cert_id) {
            Ok(record) => record,
            Err(ErrorStatus::TryLater) => return self.without_store(issuer, cert_id, cached),
            Err(refusal) => {
                // The row was there, and no longer says what the answer says.
                forget_others(issuer, &cert_id.serial(), None);
                return Reply::Error(refusal);
            }
        };
        let decision = decide(record.as_ref(), issuer.policy());
        if !decision.is_issued_as(CertStatus::Good) {
            // First, so that nothing gives an old answer again, come what may. Also where
            // that is known to one spelling, as another process may have found it out.
            forget_others(issuer, &cert_id.serial(), decision.issued_status());
        }
        match decision {
            Decision::Issued(record) => {
                note_good_again(issuer, &cert_id.serial(), cached.as_deref(), record.status);
                if let Some(entry) = &cached
                    && entry.is_borne_out_by(&record)
                {
                    let may_have_file = || self.may_be_kept(issuer, question, entry);
                    issuer.cache().confirm(cert_id, entry, (record.basis, now), may_have_file);
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
        self.policy.store_down == StoreDown::ServeCached && issuer.health().is_store_down(now)
    }

    /// What is given while the row cannot be read.
    pub(super) fn without_store(
        &self,
        issuer: Acting<'_>,
        cert_id: &CertId<'_>,
        cached: Option<Arc<Entry>>,
    ) -> Reply {
        if self.policy.store_down == StoreDown::TryLater {
            return Reply::Error(ErrorStatus::TryLater);
        }
        // To find out that the store does not answer may have taken seconds, in which
        // others have confirmed theirs.
        let now = self.clock.now();
        // Another process may have seen the row later than we did, and that it is not good.
        let cached = match cached {
            Some(entry) if issuer.cache().is_removed(cert_id, &entry) => {
                issuer.cache().forget_good(cert_id);
                None
            }
            // Whoever has put another one there knew of ours, whatever the clock said then.
            Some(entry) if issuer.cache().is_replaced(cert_id, &entry) => {
                issuer.cache().forget_in_memory(cert_id, &entry);
                None
            }
            cached => cached,
        };
        let on_disk = self.load(issuer, cert_id, now);
        let latest = match (cached, on_disk) {
            (Some(cached), Some(on_disk)) if on_disk.supersedes(&cached, now) => Some(on_disk),
            (cached, on_disk) => cached.or(on_disk),
        };
        latest
            .map_or(Reply::Error(ErrorStatus::TryLater), |entry| found(issuer, cert_id, entry, now))
    }

    /// The answer signed anew when half of its validity is over, or where it is longer than
    /// answers are now; the old one, which is still good, when that cannot be done now.
    fn renewed(
        &self,
        issuer: Acting<'_>,
        question: Question<'_>,
        (entry, record): (&Arc<Entry>, CertRecord),
        now: Timestamp,
    ) -> Arc<Entry> {
        let (policy, kept) = (issuer.policy(), entry.validity());
        let is_due = validity(now, policy.validity, policy.back_date, ends(issuer, &record))
            .is_some_and(|new| gives_way(kept, new, || kept.is_half_over(now)));
        if !is_due {
            return Arc::clone(entry);
        }
        self.sign_and_keep(issuer, question, record, Some(entry), now)
            .unwrap_or_else(|_| Arc::clone(entry))
    }

    pub(super) fn load(
        &self,
        issuer: Acting<'_>,
        cert_id: &CertId<'_>,
        now: Timestamp,
    ) -> Option<Arc<Entry>> {
        issuer.cache().load(cert_id, now, |answer| issuer.has_signed(answer))
    }
}

/// A hold may be released (RFC 5280 section 5.3.1); nothing else makes a certificate good again
/// that was revoked, but a table of before: of a backup, or of a replica that is behind.
fn note_good_again(issuer: Acting<'_>, serial: &Serial, before: Option<&Entry>, now: CertStatus) {
    if let (Some(CertStatus::Revoked { reason, .. }), CertStatus::Good) =
        (before.map(Entry::status), now)
        && reason != Some(RevocationReason::CertificateHold)
    {
        issuer.health().good_again.begin(format_args!(
            "was revoked and is good now, is the source one of before: issuer={} \
             serial={serial}",
            issuer.id().0
        ));
    }
}

/// Gives what was found in the folder, without reading the row: where that is not good,
/// nobody is to get anything else any more.
fn found(issuer: Acting<'_>, cert_id: &CertId<'_>, entry: Arc<Entry>, now: Timestamp) -> Reply {
    if !entry.is_good() {
        forget_superseded(issuer, &cert_id.serial(), &entry, now);
    }
    Reply::Kept(entry)
}

/// Of a row that says good each time, and something else for others meanwhile.
pub(super) const MOST_READINGS: usize = 2;
