//! What the CA knows about a certificate.

use std::time::Duration;

use crate::time::Timestamp;

/// The place of an issuer in the configuration, by which the log names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct IssuerId(pub u32);

/// The status of one certificate (RFC 6960 section 2.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CertStatus {
    /// Issued and not revoked.
    Good,
    /// Revoked, for good or on hold.
    Revoked {
        /// The time of revocation.
        time: Timestamp,
        /// The reason; `None` is never written, and stands for `unspecified` too
        /// (RFC 5280 section 5.3.1).
        reason: Option<RevocationReason>,
    },
    /// Not known to this CA.
    Unknown,
}

/// What the status store says of a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CertRecord {
    /// [`CertStatus::Good`] or [`CertStatus::Revoked`].
    pub status: CertStatus,
    /// What that rests on.
    pub basis: Basis,
}

/// What a status rests on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Basis {
    /// The store has the certificate.
    Listed,
    /// It had it as revoked, which nobody takes back, and cannot be read now.
    Remembered,
    /// It has not, and the operator says what that means: any serial number that
    /// somebody makes up has this status.
    Absence {
        /// When the store's knowledge ends; no answer reaches further.
        until: Timestamp,
    },
}

impl CertRecord {
    /// Of a certificate that the store has.
    #[must_use]
    pub fn listed(status: CertStatus) -> Self {
        Self { status, basis: Basis::Listed }
    }

    /// The same without a time of revocation that is still to come at `now`: until then
    /// some clients would take the certificate for good. One that is ahead by no more than
    /// clocks differ is that of `now`; others are no time, as where there is none.
    #[must_use]
    pub fn as_of(self, now: Timestamp) -> Self {
        let CertStatus::Revoked { time, reason } = self.status else { return self };
        let time = match time.saturating_since(now) {
            Duration::ZERO => time,
            ahead if ahead <= CLOCKS_DIFFER => now,
            _ => Timestamp::EPOCH,
        };
        Self { status: CertStatus::Revoked { time, reason }, ..self }
    }

    /// When what it says ends, where that is known.
    #[must_use]
    pub fn ends(&self) -> Option<Timestamp> {
        match self.basis {
            Basis::Listed | Basis::Remembered => None,
            Basis::Absence { until } => Some(until),
        }
    }
}

impl Basis {
    /// Whether the store has, or had, the certificate: nobody can have made it up.
    #[must_use]
    pub fn is_of_an_entry(self) -> bool {
        self == Self::Listed || self == Self::Remembered
    }
}

/// The most that the clock of a database, or of a CA, is ahead of ours.
const CLOCKS_DIFFER: Duration = Duration::from_secs(60);

/// CRLReason without `unspecified` and `removeFromCRL`, which an answer never
/// carries (RFC 5280 section 5.3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the names are the RFC's")]
pub enum RevocationReason {
    KeyCompromise = 1,
    CaCompromise = 2,
    AffiliationChanged = 3,
    Superseded = 4,
    CessationOfOperation = 5,
    CertificateHold = 6,
    PrivilegeWithdrawn = 9,
    AaCompromise = 10,
}

impl RevocationReason {
    /// Every reason.
    pub const ALL: [Self; 8] = [
        Self::KeyCompromise,
        Self::CaCompromise,
        Self::AffiliationChanged,
        Self::Superseded,
        Self::CessationOfOperation,
        Self::CertificateHold,
        Self::PrivilegeWithdrawn,
        Self::AaCompromise,
    ];

    /// The number of the CRLReason ENUMERATED.
    #[must_use]
    pub fn code(self) -> u8 {
        self as u8
    }

    /// The reason with this CRLReason number.
    #[must_use]
    pub fn from_code(code: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| u32::from(reason.code()) == code)
    }

    /// The name in the `revocation_reason` column: `key_compromise`.
    #[must_use]
    pub fn column_name(self) -> &'static str {
        match self {
            Self::KeyCompromise => "key_compromise",
            Self::CaCompromise => "ca_compromise",
            Self::AffiliationChanged => "affiliation_changed",
            Self::Superseded => "superseded",
            Self::CessationOfOperation => "cessation_of_operation",
            Self::CertificateHold => "certificate_hold",
            Self::PrivilegeWithdrawn => "privilege_withdrawn",
            Self::AaCompromise => "aa_compromise",
        }
    }

    /// The reason that a word stands for, in any case: as in the `revocation_reason`
    /// column (`key_compromise`), as RFC 5280 and OpenSSL have it (`keyCompromise`), or
    /// the number of the CRLReason. `Some(None)` is unspecified; `None`: it is unknown.
    #[must_use]
    pub fn from_text(text: &str) -> Option<Option<Self>> {
        let word = text.replace('_', "").to_ascii_lowercase();
        if matches!(word.as_str(), "unspecified" | "0") {
            return Some(None);
        }
        let is_meant = |reason: &Self| {
            word == reason.column_name().replace('_', "") || word == reason.code().to_string()
        };
        Self::ALL.into_iter().find(is_meant).map(Some)
    }
}
