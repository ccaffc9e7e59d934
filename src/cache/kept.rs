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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ocsp::response::{ExtendedRevoke, assemble};
    use crate::ocsp::{Answer, IssuerHashes, ResponderId, SignatureAlgorithm, SingleAnswer};
    use crate::serial::Serial;
    use crate::time::Validity;

    // rule: ANS-6
    #[test]
    fn what_was_seen_later_counts_until_its_answer_is_over_and_not_in_advance() {
        let at = Timestamp::from_unix;
        let spellings = IssuerHashes::new(b"name", b"key").cert_ids(&Serial::PROBE);
        let cert_id = CertId::from_der(&spellings[0]).unwrap();
        let response = SingleAnswer {
            cert_id: cert_id.der(),
            status: CertStatus::Revoked { time: at(1), reason: None },
            validity: Validity { this_update: at(10), next_update: at(20) },
            archive_cutoff: None,
        };
        let answer = Answer {
            responder_id: &ResponderId::ByKey([7; 20]),
            produced_at: at(10),
            responses: vec![response],
            nonce: None,
            extended_revoke: ExtendedRevoke::Absent,
        };
        let to_be_signed = answer.to_be_signed().unwrap();
        let der = assemble(&to_be_signed, SignatureAlgorithm::Ed25519, b"signature", None);
        let file = CacheFile { der: der.unwrap(), modified: at(15), path: "file".into() };
        let kept = Kept::of(&file, &cert_id).unwrap();
        let is_seen_later = |seen, now| kept.is_seen_later(CertStatus::Good, at(seen), at(now));
        assert_eq!([14, 15, 19, 20].map(|now| is_seen_later(14, now)), [false, true, true, false]);
        assert_eq!([14, 15, 16].map(|seen| is_seen_later(seen, 19)), [true, true, false]);
    }
}
