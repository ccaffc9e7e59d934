//! What the CA knows about a certificate.

use crate::time::Timestamp;

/// The place of an issuer in the configuration; what the status store knows it by.
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

/// The row of a certificate in the status store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CertRecord {
    /// [`CertStatus::Good`] or [`CertStatus::Revoked`].
    pub status: CertStatus,
}

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

    /// The reason with this name in the `revocation_reason` column, in any case.
    #[must_use]
    pub fn from_column_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.column_name().eq_ignore_ascii_case(name))
    }
}
