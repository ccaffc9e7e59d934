//! Answers signed before anybody asks, into the cache folder.
//!
//! Octet by octet what an asker would get at the second in which the row was read. Never
//! in place of what another process knows better.

use std::io;
use std::time::{Duration, Instant};

use crate::cache::{Disk, Kept};
use crate::ocsp::CertId;
use crate::responder::answers::{LONG_WAIT, forget_others};
use crate::responder::decision::{gives_way, validity};
use crate::responder::issuers::Acting;
use crate::responder::{Responder, ends};
use crate::status::{CertRecord, CertStatus};
use crate::time::Timestamp;

/// What the store has said of a certificate.
#[derive(Clone, Copy, Debug)]
pub struct Seen {
    /// The row.
    pub record: CertRecord,
    /// The second before it was read.
    pub at: Timestamp,
    /// The moment before many rows were read, or after this one was by itself, by a clock that
    /// nobody sets.
    pub begun: Instant,
}

impl Seen {
    /// Whether it was good so long ago that others may have been told otherwise since.
    fn is_old(&self) -> bool {
        self.record.status == CertStatus::Good && self.begun.elapsed() > LONG_WAIT
    }
}

/// Whether an answer is to be signed now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    /// Yes, nothing is kept.
    New,
    /// Yes, in place of what is kept.
    Again,
    /// One is kept that says the same, and long enough.
    Kept,
    /// Another process has seen the row later, and it said something else.
    Overtaken,
}

impl Due {
    /// Whether it is to be signed, or was.
    #[must_use]
    pub fn is_now(self) -> bool {
        matches!(self, Self::New | Self::Again)
    }
}

/// Why an answer was not signed ahead: the next ones will not be either.
#[derive(Debug, thiserror::Error)]
pub enum AheadError {
    /// No signature; the reason is in the log.
    #[error("no answer can be signed, the log says why")]
    NotSigned,
    /// The row that had to be read once more was not; the reason is in the log.
    #[error("a row cannot be read once more, the log says why")]
    NotRead,
    /// The cache folder does not take it.
    #[error("the cache folder cannot be written")]
    NotKept(#[source] io::Error),
}

impl Responder {
    /// Whether the answer to a question is to be signed ahead: what is kept says
    /// something else, is not ours, has half of its time behind it, ends within `left`, or
    /// is longer than answers are now.
    ///
    /// What is kept in another spelling of the question and says something else than a
    /// row that is not good is removed, as always when such a row is seen.
    #[must_use]
    pub fn due(
        &self,
        (issuer, disk): (Acting<'_>, &Disk),
        cert_id: &CertId<'_>,
        seen: Seen,
        left: Duration,
    ) -> Due {
        let now = self.now();
        let file = disk.read(cert_id);
        let due = if file.is_some() { Due::Again } else { Due::New };
        let kept = file.as_ref().and_then(|file| Kept::of(file, cert_id));
        let says_so = kept.as_ref().is_some_and(|kept| kept.says(seen.record.status));
        let is_overtaken = |kept: &Kept<'_>| kept.is_seen_later(seen.record.status, seen.at, now);
        if kept.as_ref().is_some_and(is_overtaken) {
            return Due::Overtaken;
        }
        if seen.record.status != CertStatus::Good {
            forget_others(issuer, &cert_id.serial(), Some(seen.record.status));
        }
        match &kept {
            Some(kept) if says_so && self.is_enough(issuer, kept, seen, now, left) => Due::Kept,
            _ => due,
        }
    }

    /// Signs what the row says, and keeps it on disk, unless another process has seen the
    /// row later and kept something else meanwhile, or removed what says that it is good. One
    /// that was good a while ago is read once more.
    ///
    /// # Errors
    ///
    /// [`AheadError`].
    pub fn sign_ahead(
        &self,
        (issuer, disk): (Acting<'_>, &Disk),
        cert_id: &CertId<'_>,
        mut seen: Seen,
        mut due: Due,
    ) -> Result<Due, AheadError> {
        if seen.is_old() {
            let Some(again) = self.seen_again(issuer, cert_id)? else { return Ok(Due::Overtaken) };
            if again.record.status != CertStatus::Good {
                due = Due::Again;
            }
            seen = again;
        }
        let signed = self.signed(issuer, cert_id, seen.record, seen.at);
        let (der, _) = signed.map_err(|_| AheadError::NotSigned)?;
        if seen.is_old() {
            // The signature has taken long.
            match self.seen_again(issuer, cert_id)? {
                Some(again) if again.record == seen.record => seen = again,
                _ => return Ok(Due::Overtaken),
            }
        }
        let due = self.write_ahead(disk, cert_id, (&der, seen), due)?;
        if due.is_now() && seen.is_old() {
            // To write it has, too.
            match self.seen_again(issuer, cert_id) {
                Ok(Some(again)) if again.record == seen.record => {}
                again => {
                    issuer.cache().forget_good(cert_id);
                    return again.map(|_| Due::Overtaken);
                }
            }
        }
        Ok(due)
    }

    fn write_ahead(
        &self,
        disk: &Disk,
        cert_id: &CertId<'_>,
        (der, seen): (&[u8], Seen),
        due: Due,
    ) -> Result<Due, AheadError> {
        if due == Due::New
            && disk.try_write_new(cert_id, der, seen.at).map_err(AheadError::NotKept)?
        {
            return Ok(due);
        }
        let mut confirmed = seen.at;
        let now = self.now();
        let file = disk.read(cert_id);
        if file.is_none() && due == Due::Again && seen.record.status == CertStatus::Good {
            return Ok(Due::Overtaken);
        }
        if let Some(kept) = file.as_ref().and_then(|file| Kept::of(file, cert_id)) {
            if kept.is_seen_later(seen.record.status, seen.at, now) {
                return Ok(Due::Overtaken);
            }
            // Seen later, and the same: that holds for the new answer as well.
            if kept.says(seen.record.status) && kept.confirmed <= now {
                confirmed = confirmed.max(kept.confirmed);
            }
        }
        disk.try_write(cert_id, der, confirmed).map_err(AheadError::NotKept)?;
        Ok(Due::Again)
    }

    /// Reads a row once more; where it is not good now, what says so of it is forgotten. `None`:
    /// it is not there any more.
    fn seen_again(
        &self,
        issuer: Acting<'_>,
        cert_id: &CertId<'_>,
    ) -> Result<Option<Seen>, AheadError> {
        let at = self.now();
        let record = self.find(issuer, cert_id).map_err(|_| AheadError::NotRead)?;
        // Where that takes long by itself, it would be old at once.
        let begun = Instant::now();
        let status = record.as_ref().map(|record| record.status);
        if status != Some(CertStatus::Good) {
            forget_others(issuer, &cert_id.serial(), status);
        }
        Ok(record.map(|record| Seen { record, at, begun }))
    }

    /// Whether a kept answer, which says what the row says, need not be signed anew.
    fn is_enough(
        &self,
        issuer: Acting<'_>,
        Kept { answer, .. }: &Kept<'_>,
        seen: Seen,
        now: Timestamp,
        left: Duration,
    ) -> bool {
        let kept = answer.response.validity;
        let policy = issuer.policy();
        let ends = ends(issuer, &seen.record);
        if !kept.contains(now) || ends < kept.next_update {
            return false;
        }
        let is_old = || kept.is_half_over(now) || kept.next_update.saturating_since(now) <= left;
        let is_due = validity(seen.at, policy.validity, policy.back_date, ends)
            .is_none_or(|new| gives_way(kept, new, is_old));
        // The signature last, as it takes the longest.
        !is_due && issuer.has_signed(answer)
    }
}
