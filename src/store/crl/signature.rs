//! Whether a CRL is signed by the key of its CA.

#![expect(clippy::result_large_err, reason = "the size of the asn1 crate's ParseError is its own")]

use asn1::{Asn1Read, ObjectIdentifier, Tlv};
use openssl::pkey::{PKey, Public};
use openssl::sign::Verifier;
use openssl::x509::X509Crl;

use crate::ocsp::asn1::AlgorithmIdentifier;
use crate::ocsp::{HashAlgorithm, SignatureAlgorithm};

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
    let whole = || X509Crl::from_der(der)?.verify(key);
    let verified = match SignatureAlgorithm::from_identifier_der(algorithm) {
        // Its parameters have too many forms.
        Some(SignatureAlgorithm::RsaPssSha256) => whole(),
        None if is_pss_with_sha2(algorithm) => whole(),
        None => return Err("signed by an algorithm that is not supported, wanted SHA-2".into()),
        Some(algorithm) => match algorithm.digest() {
            Some(digest) => Verifier::new(digest, key),
            None => Verifier::new_without_digest(key),
        }
        .and_then(|mut verifier| verifier.verify_oneshot(signature, signed)),
    };
    match verified {
        Ok(true) => Ok(()),
        // Also where the algorithm does not go with the key.
        Ok(false) | Err(_) => Err("its signature is not of the CA's key".into()),
    }
}

/// Whether it is RSASSA-PSS over a hash of SHA-2. One that is not named is SHA-1.
fn is_pss_with_sha2(algorithm: &[u8]) -> bool {
    asn1::parse_single::<PssIdentifier<'_>>(algorithm).is_ok_and(|pss| {
        let hash = pss.parameters.hash_algorithm;
        let hash = hash.and_then(|hash| HashAlgorithm::from_oid(&hash.algorithm));
        pss.algorithm == RSASSA_PSS && hash.is_some_and(|hash| hash != HashAlgorithm::Sha1)
    })
}

/// AlgorithmIdentifier with RSASSA-PSS-params (RFC 4055 section 3.1).
#[derive(Asn1Read)]
struct PssIdentifier<'a> {
    algorithm: ObjectIdentifier,
    parameters: PssParameters<'a>,
}

#[derive(Asn1Read)]
struct PssParameters<'a> {
    #[explicit(0)]
    hash_algorithm: Option<AlgorithmIdentifier<'a>>,
    #[explicit(1)]
    _mask_gen_algorithm: Option<Tlv<'a>>,
    #[explicit(2)]
    _salt_length: Option<u64>,
    #[explicit(3)]
    _trailer_field: Option<u8>,
}

/// id-RSASSA-PSS.
const RSASSA_PSS: ObjectIdentifier = asn1::oid!(1, 2, 840, 113549, 1, 1, 10);
