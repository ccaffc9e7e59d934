//! Whether a CRL is signed by the key of its CA.

use openssl::error::ErrorStack;
use openssl::hash::MessageDigest;
use openssl::pkey::{PKey, Public};
use openssl::sign::Verifier;
use openssl::x509::X509Crl;

use crate::ocsp::SignatureAlgorithm;

/// Verifies `signature` over `signed`, both parts of the CRL `der`.
///
/// The list is not given to OpenSSL whole where that can be helped: it takes ten times
/// the memory.
pub(super) fn verify(
    key: &PKey<Public>,
    algorithm: &[u8],
    (signed, signature): (&[u8], &[u8]),
    der: &[u8],
) -> Result<(), String> {
    use SignatureAlgorithm as Algorithm;
    let by_digest =
        |digest: MessageDigest| Verifier::new(digest, key)?.verify_oneshot(signature, signed);
    let verified: Result<bool, ErrorStack> = match Algorithm::from_identifier_der(algorithm) {
        Some(Algorithm::RsaSha256 | Algorithm::EcdsaSha256) => by_digest(MessageDigest::sha256()),
        Some(Algorithm::RsaSha384 | Algorithm::EcdsaSha384) => by_digest(MessageDigest::sha384()),
        Some(Algorithm::RsaSha512 | Algorithm::EcdsaSha512) => by_digest(MessageDigest::sha512()),
        Some(Algorithm::Ed25519 | Algorithm::Ed448) => Verifier::new_without_digest(key)
            .and_then(|mut verifier| verifier.verify_oneshot(signature, signed)),
        // Its parameters have too many forms.
        Some(Algorithm::RsaPssSha256) => X509Crl::from_der(der).and_then(|crl| crl.verify(key)),
        None if algorithm.get(2..).is_some_and(|rest| rest.starts_with(RSASSA_PSS)) => {
            X509Crl::from_der(der).and_then(|crl| crl.verify(key))
        }
        None => return Err("signed by an algorithm that is not supported, wanted SHA-2".into()),
    };
    match verified {
        Ok(true) => Ok(()),
        // Also where the algorithm does not go with the key.
        Ok(false) | Err(_) => Err("its signature is not of the CA's key".into()),
    }
}

/// DER of id-RSASSA-PSS (RFC 4055 section 3.1).
const RSASSA_PSS: &[u8] = b"\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0a";
