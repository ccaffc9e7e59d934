//! The answers of RFC 6960 section 2.2 as pure functions of row and policy.

use std::time::Duration;

use crate::ocsp::response::ExtendedRevoke;
use crate::responder::policy::{NonIssued, Policy};
use crate::status::{CertRecord, CertStatus, RevocationReason};
use crate::time::{Timestamp, Validity};

/// What is said about one certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// What the store says.
    Issued(CertRecord),
    /// What the policy says about a serial without a row.
    NonIssued(CertStatus, ExtendedRevoke),
    /// The error response `unauthorized`.
    Unauthorized,
}

/// No store, no key, no clock. Without a row the answer is never `good`.
#[must_use]
pub fn decide(record: Option<&CertRecord>, policy: &Policy) -> Decision {
    match (record, policy.non_issued) {
        (Some(record), _) => Decision::Issued(*record),
        (None, NonIssued::Unknown) => {
            Decision::NonIssued(CertStatus::Unknown, ExtendedRevoke::Absent)
        }
        (None, NonIssued::Unauthorized) => Decision::Unauthorized,
        // Reason and time are prescribed (section 2.2).
        (None, NonIssued::Revoked) => Decision::NonIssued(
            CertStatus::Revoked {
                time: Timestamp::EPOCH,
                reason: Some(RevocationReason::CertificateHold),
            },
            ExtendedRevoke::Stated,
        ),
    }
}

impl Decision {
    /// What is said of an issued certificate.
    #[must_use]
    pub fn issued_status(&self) -> Option<CertStatus> {
        match self {
            Self::Issued(record) => Some(record.status),
            Self::NonIssued(..) | Self::Unauthorized => None,
        }
    }

    /// Whether an answer that says `status` of an issued certificate says the same.
    #[must_use]
    pub fn is_issued_as(&self, status: CertStatus) -> bool {
        self.issued_status() == Some(status)
    }
}

/// thisUpdate and nextUpdate of an answer made at `now`: `span` apart, of which `back_date`
/// is over already, but not past `ends`, where the signer's or the issuer's certificate
/// ends. `None` when that is over.
#[must_use]
pub fn validity(
    now: Timestamp,
    span: Duration,
    back_date: Duration,
    ends: Timestamp,
) -> Option<Validity> {
    let this_update = now.saturating_sub(back_date);
    let next_update = this_update.saturating_add(span).min(ends);
    (now < next_update).then_some(Validity { this_update, next_update })
}

/// Whether a kept answer that still holds gives way to one made now, `new`: when it is old
/// and `new` reaches further; or when it reaches further than answers do now, as less is
/// configured since then, and an old `good` is not to outlast what the operator wants.
#[must_use]
pub fn gives_way(kept: Validity, new: Validity, is_old: impl FnOnce() -> bool) -> bool {
    let lives_too_long = kept.next_update > new.next_update.saturating_add(CLOCKS_APART);
    lives_too_long || (new.next_update > kept.next_update && is_old())
}

/// What the clocks of two machines that share a cache folder may differ by.
const CLOCKS_APART: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::Basis;

    const GOOD: CertRecord = CertRecord { status: CertStatus::Good, basis: Basis::Listed };

    // rule: ANS-1
    #[test]
    fn only_a_row_makes_an_answer_good() {
        for non_issued in [NonIssued::Unknown, NonIssued::Unauthorized, NonIssued::Revoked] {
            let policy = Policy { non_issued, ..Policy::default() };
            assert_eq!(decide(Some(&GOOD), &policy), Decision::Issued(GOOD));
            let without = decide(None, &policy);
            assert_ne!(without, Decision::Issued(GOOD));
            assert_ne!(without, Decision::NonIssued(CertStatus::Good, ExtendedRevoke::Absent));
        }
    }

    // rule: ANS-3
    #[test]
    fn a_serial_without_a_row_is_unknown_by_default() {
        assert_eq!(
            decide(None, &Policy::default()),
            Decision::NonIssued(CertStatus::Unknown, ExtendedRevoke::Absent)
        );
        let policy = Policy { non_issued: NonIssued::Unauthorized, ..Policy::default() };
        assert_eq!(decide(None, &policy), Decision::Unauthorized);
        let policy = Policy { non_issued: NonIssued::Revoked, ..Policy::default() };
        let reason = Some(RevocationReason::CertificateHold);
        assert_eq!(
            decide(None, &policy),
            Decision::NonIssued(
                CertStatus::Revoked { time: Timestamp::EPOCH, reason },
                ExtendedRevoke::Stated
            )
        );
    }

    // rule: RSP-3
    // rule: RSP-4
    #[test]
    fn next_update_lies_ahead_and_never_past_the_certificates() {
        let at = Timestamp::from_unix;
        let day = Duration::from_secs(86_400);
        let minute = Duration::from_secs(60);
        let plain = validity(at(1_000), day, Duration::ZERO, at(1_000_000)).unwrap();
        assert_eq!((plain.this_update, plain.next_update), (at(1_000), at(87_400)));
        let dated_back = validity(at(1_000), day, minute, at(1_000_000)).unwrap();
        assert_eq!((dated_back.this_update, dated_back.next_update), (at(940), at(87_340)));
        let clamped = validity(at(1_000), day, Duration::ZERO, at(1_001)).unwrap();
        assert_eq!(clamped.next_update, at(1_001));
        assert_eq!(validity(at(1_000), day, Duration::ZERO, at(1_000)), None);
    }
}
