//! What a file of the cache says, whoever has signed it.

use super::disk::CacheFile;
use crate::ocsp::CertId;
use crate::ocsp::response::SignedAnswer;
use crate::status::CertStatus;
use crate::time::Timestamp;

/// An answer to a question that is kept on disk.
pub struct Kept<'a> {
    /// As it was signed.
    pub answer: SignedAnswer<'a>,
    /// When its row was last read.
    pub confirmed: Timestamp,
}

impl<'a> Kept<'a> {
    /// `None`: the file is no answer to this question.
    #[must_use]
    pub fn of(file: &'a CacheFile, cert_id: &CertId<'_>) -> Option<Self> {
        let answer = SignedAnswer::from_der(&file.der).ok()?;
        let is_answer = answer.response.cert_id == cert_id.der();
        is_answer.then_some(Self { answer, confirmed: file.modified })
    }

    /// Whether this is what it says.
    #[must_use]
    pub fn says(&self, status: CertStatus) -> bool {
        self.answer.response.status == status
    }

    /// Whether somebody has seen the row later than we did, who saw `status` in it `at`
    /// that time, and it said something else. Within the same second, which tells
    /// nothing, one that is not good is believed.
    #[must_use]
    pub fn is_seen_later(&self, status: CertStatus, at: Timestamp, now: Timestamp) -> bool {
        // A time in the future is a clock that went back.
        let is_another = !self.says(status)
            && self.answer.response.validity.contains(now)
            && self.confirmed <= now;
        let is_tie = self.confirmed == at && status == CertStatus::Good;
        is_another && (self.confirmed > at || is_tie)
    }
}
