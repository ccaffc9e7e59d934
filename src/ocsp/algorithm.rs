//! Signature algorithms and their AlgorithmIdentifiers.

use std::fmt;

use openssl::hash::MessageDigest;

/// How answers are signed. There is no SHA-1 and no MD5 among them
/// (CA/Browser Forum Baseline Requirements section 7.1.3.2.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SignatureAlgorithm {
    /// sha256WithRSAEncryption (RFC 4055 section 5).
    RsaSha256,
    /// sha384WithRSAEncryption.
    RsaSha384,
    /// sha512WithRSAEncryption.
    RsaSha512,
    /// RSASSA-PSS with SHA-256, MGF1 with SHA-256 and a salt of 32 octets (RFC 4055
    /// section 3.1).
    RsaPssSha256,
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
    /// Every algorithm.
    pub const ALL: [Self; 9] = [
        Self::RsaSha256,
        Self::RsaSha384,
        Self::RsaSha512,
        Self::RsaPssSha256,
        Self::EcdsaSha256,
        Self::EcdsaSha384,
        Self::EcdsaSha512,
        Self::Ed25519,
        Self::Ed448,
    ];

    /// The hash function that goes before the signature; `None` where the message itself is
    /// signed.
    #[must_use]
    pub fn digest(self) -> Option<MessageDigest> {
        match self {
            Self::RsaSha256 | Self::RsaPssSha256 | Self::EcdsaSha256 => {
                Some(MessageDigest::sha256())
            }
            Self::RsaSha384 | Self::EcdsaSha384 => Some(MessageDigest::sha384()),
            Self::RsaSha512 | Self::EcdsaSha512 => Some(MessageDigest::sha512()),
            Self::Ed25519 | Self::Ed448 => None,
        }
    }

    /// DER of the AlgorithmIdentifier. RSA carries a NULL, the others no
    /// parameters at all (RFC 4055 section 5, RFC 5758 section 3.2, RFC 8410 section 3).
    #[must_use]
    pub fn identifier_der(self) -> &'static [u8] {
        match self {
            Self::RsaSha256 => b"\x30\x0d\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0b\x05\x00",
            Self::RsaSha384 => b"\x30\x0d\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0c\x05\x00",
            Self::RsaSha512 => b"\x30\x0d\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0d\x05\x00",
            Self::RsaPssSha256 => RSA_PSS_SHA256,
            Self::EcdsaSha256 => b"\x30\x0a\x06\x08\x2a\x86\x48\xce\x3d\x04\x03\x02",
            Self::EcdsaSha384 => b"\x30\x0a\x06\x08\x2a\x86\x48\xce\x3d\x04\x03\x03",
            Self::EcdsaSha512 => b"\x30\x0a\x06\x08\x2a\x86\x48\xce\x3d\x04\x03\x04",
            Self::Ed25519 => b"\x30\x05\x06\x03\x2b\x65\x70",
            Self::Ed448 => b"\x30\x05\x06\x03\x2b\x65\x71",
        }
    }

    /// The algorithm of an AlgorithmIdentifier; `None` for one that we do not have.
    /// RSA is found without its NULL as well, as some clients leave it out.
    #[must_use]
    pub fn from_identifier_der(der: &[u8]) -> Option<Self> {
        Self::ALL.into_iter().find(|algorithm| {
            let ours = algorithm.identifier_der();
            ours == der || without_null(ours).is_some_and(|content| is_sequence_of(der, content))
        })
    }
}

/// The content of an identifier whose parameters are NULL, without them.
fn without_null(identifier: &[u8]) -> Option<&[u8]> {
    identifier.get(2..)?.strip_suffix(&[5, 0])
}

fn is_sequence_of(der: &[u8], content: &[u8]) -> bool {
    matches!(der, [0x30, length, rest @ ..] if usize::from(*length) == rest.len() && rest == content)
}

/// The names that OpenSSL prints.
impl fmt::Display for SignatureAlgorithm {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::RsaSha256 => "sha256WithRSAEncryption",
            Self::RsaSha384 => "sha384WithRSAEncryption",
            Self::RsaSha512 => "sha512WithRSAEncryption",
            Self::RsaPssSha256 => "rsassaPss",
            Self::EcdsaSha256 => "ecdsa-with-SHA256",
            Self::EcdsaSha384 => "ecdsa-with-SHA384",
            Self::EcdsaSha512 => "ecdsa-with-SHA512",
            Self::Ed25519 => "ED25519",
            Self::Ed448 => "ED448",
        })
    }
}

const RSA_PSS_SHA256: &[u8] = b"\x30\x41\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0a\x30\x34\
\xa0\x0f\x30\x0d\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x01\x05\x00\
\xa1\x1c\x30\x1a\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x08\
\x30\x0d\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x01\x05\x00\
\xa2\x03\x02\x01\x20";

#[cfg(test)]
mod tests {
    use super::*;

    // rule: REQ-10
    #[test]
    fn each_algorithm_is_found_by_its_identifier_and_no_other() {
        for algorithm in SignatureAlgorithm::ALL {
            let der = algorithm.identifier_der();
            assert_eq!(SignatureAlgorithm::from_identifier_der(der), Some(algorithm));
            assert!(asn1::parse_single::<asn1::Tlv<'_>>(der).is_ok(), "{algorithm}");
        }
        let without_null = b"\x30\x0b\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0b";
        assert_eq!(
            SignatureAlgorithm::from_identifier_der(without_null),
            Some(SignatureAlgorithm::RsaSha256)
        );
        let sha1 = b"\x30\x0d\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x05\x05\x00";
        assert_eq!(SignatureAlgorithm::from_identifier_der(sha1), None);
    }
}
