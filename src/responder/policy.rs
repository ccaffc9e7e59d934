//! What the operator may choose about the answers.

use std::time::Duration;

use serde::Deserialize;

/// The answer for a serial that the CA never issued (RFC 6960 section 2.2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NonIssued {
    /// `unknown`: the client may ask elsewhere.
    #[default]
    Unknown,
    /// The error response `unauthorized` (RFC 9919 section 3.2.3).
    Unauthorized,
    /// `revoked` in 1970, with the extended-revoked extension (section 4.4.8).
    Revoked,
}

/// What happens to the nonce of a request (RFC 9654 section 2.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NoncePolicy {
    /// Repeated in the answer, which is signed for this one request.
    #[default]
    Echo,
    /// Left out: the cached answer serves.
    Ignore,
    /// As `Echo`, and a request without one is refused as malformed.
    Require,
}

/// Which requests are answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Requests {
    /// All; a signature is not looked at (RFC 9919 section 3.1.2).
    #[default]
    Any,
    /// Those that carry a signature, which is not checked; the others get
    /// `sigRequired` (RFC 6960 section 2.3).
    Signed,
}

/// How the answer names its signer (RFC 6960 section 4.2.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ResponderIdKind {
    /// SHA-1 of the signer's public key.
    #[default]
    #[serde(rename = "key")]
    ByKey,
    /// The signer's subject name.
    #[serde(rename = "name")]
    ByName,
}

/// What is given while the status store is out of reach.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StoreDown {
    /// The cached answer, until its nextUpdate.
    #[default]
    #[serde(rename = "serve")]
    ServeCached,
    /// `tryLater`.
    TryLater,
}

/// How answers are made, for one issuer or for all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// nextUpdate less thisUpdate of an answer about an issued certificate.
    pub validity: Duration,
    /// The same for a serial that was never issued.
    pub non_issued_validity: Duration,
    /// How far thisUpdate lies before the present, for clients with slow clocks.
    pub back_date: Duration,
    /// The answer for serials that were never issued.
    pub non_issued: NonIssued,
    /// What happens to nonces.
    pub nonce: NoncePolicy,
    /// How the answer names its signer.
    pub responder_id: ResponderIdKind,
    /// How long after its end a certificate's status is still told: the archive
    /// cutoff (RFC 6960 section 4.4.4). Zero: nothing is said of it.
    pub archive: Duration,
    /// Which requests are answered.
    pub requests: Requests,
    /// The longest time that an answer is given without asking the store again.
    pub freshness: Duration,
    /// What is given while the store is out of reach.
    pub store_down: StoreDown,
    /// The ceiling of the `max-age` of Cache-Control.
    pub max_age: Duration,
    /// The most CertIDs in one request.
    pub request_certificates: usize,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            validity: Duration::from_secs(3 * 86_400),
            non_issued_validity: Duration::from_secs(3_600),
            back_date: Duration::ZERO,
            non_issued: NonIssued::default(),
            nonce: NoncePolicy::default(),
            responder_id: ResponderIdKind::default(),
            archive: Duration::ZERO,
            requests: Requests::default(),
            freshness: Duration::from_secs(10),
            store_down: StoreDown::default(),
            max_age: Duration::from_secs(3_600),
            request_certificates: 100,
        }
    }
}
