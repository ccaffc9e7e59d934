//! Signature algorithms and their AlgorithmIdentifiers.

use std::fmt;

/// How answers are signed. There is no SHA-1 among them
/// (CA/Browser Forum Baseline Requirements section 7.1.3.2.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SignatureAlgorithm {
    /// sha256WithRSAEncryption (RFC 4055 section 5).
    RsaSha256,
    /// ecdsa-with-SHA256 (RFC 5758 section 3.2).
    EcdsaSha256,
    /// ecdsa-with-SHA384.
    EcdsaSha384,
    /// ecdsa-with-SHA512.
    EcdsaSha512,
    /// Ed25519 (RFC 8410 section 3).
    Ed25519,
    /// Ed448.
    Ed448,
}

impl SignatureAlgorithm {
    /// DER of the AlgorithmIdentifier. RSA carries a NULL, the others no
    /// parameters at all (RFC 4055 section 5, RFC 5758 section 3.2, RFC 8410 section 3).
    #[must_use]
    pub fn identifier_der(self) -> &'static [u8] {
        match self {
            Self::RsaSha256 => b"\x30\x0d\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0b\x05\x00",
            Self::EcdsaSha256 => b"\x30\x0a\x06\x08\x2a\x86\x48\xce\x3d\x04\x03\x02",
            Self::EcdsaSha384 => b"\x30\x0a\x06\x08\x2a\x86\x48\xce\x3d\x04\x03\x03",
            Self::EcdsaSha512 => b"\x30\x0a\x06\x08\x2a\x86\x48\xce\x3d\x04\x03\x04",
            Self::Ed25519 => b"\x30\x05\x06\x03\x2b\x65\x70",
            Self::Ed448 => b"\x30\x05\x06\x03\x2b\x65\x71",
        }
    }
}

/// The names that OpenSSL prints.
impl fmt::Display for SignatureAlgorithm {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::RsaSha256 => "sha256WithRSAEncryption",
            Self::EcdsaSha256 => "ecdsa-with-SHA256",
            Self::EcdsaSha384 => "ecdsa-with-SHA384",
            Self::EcdsaSha512 => "ecdsa-with-SHA512",
            Self::Ed25519 => "ED25519",
            Self::Ed448 => "ED448",
        })
    }
}
