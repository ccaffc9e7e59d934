//! What nearly all clients send, read without the parser for everything else.
//!
//! A request about one certificate, without extensions or signature, its hashes by SHA-1
//! or SHA-256: each part is all of its parent and shorter than 128 octets, so its
//! head is two octets. A third of what a repeat took was the parser. What is not
//! recognized here says nothing: the parser has the last word, and agrees on the rest.

use crate::ocsp::HashAlgorithm;

/// The fields of a CertID.
pub(super) struct Fields<'a> {
    pub hash_algorithm: HashAlgorithm,
    pub issuer_name_hash: &'a [u8],
    pub issuer_key_hash: &'a [u8],
    /// Content of the INTEGER, whatever it may be.
    pub serial_number: &'a [u8],
}

/// The reqCert of a request in which there is nothing else.
pub(super) fn req_cert(der: &[u8]) -> Option<&[u8]> {
    let tbs_request = all(SEQUENCE, der)?;
    let request_list = all(SEQUENCE, tbs_request)?;
    let request = all(SEQUENCE, request_list)?;
    let req_cert = all(SEQUENCE, request)?;
    all(SEQUENCE, req_cert).map(|_| req_cert)
}

/// The fields of a CertID.
pub(super) fn fields(cert_id: &[u8]) -> Option<Fields<'_>> {
    let rest = all(SEQUENCE, cert_id)?;
    let (algorithm, rest) = first(SEQUENCE, rest)?;
    let (_, hash_algorithm) = ALGORITHMS.into_iter().find(|(octets, _)| *octets == algorithm)?;
    let (issuer_name_hash, rest) = first(OCTET_STRING, rest)?;
    let (issuer_key_hash, rest) = first(OCTET_STRING, rest)?;
    let serial_number = all(INTEGER, rest)?;
    Some(Fields { hash_algorithm, issuer_name_hash, issuer_key_hash, serial_number })
}

/// The content of a part that is all there is.
fn all(tag: u8, octets: &[u8]) -> Option<&[u8]> {
    first(tag, octets).filter(|(_, rest)| rest.is_empty()).map(|(content, _)| content)
}

/// The content of the first part, and what follows it.
fn first(tag: u8, octets: &[u8]) -> Option<(&[u8], &[u8])> {
    match octets {
        [found, length @ ..0x80, rest @ ..] if *found == tag => {
            rest.split_at_checked(usize::from(*length))
        }
        _ => None,
    }
}

const SEQUENCE: u8 = 0x30;
const OCTET_STRING: u8 = 0x04;
const INTEGER: u8 = 0x02;
/// AlgorithmIdentifiers without their head, the most frequent first.
const ALGORITHMS: [(&[u8], HashAlgorithm); 4] = [
    (&[6, 5, 0x2b, 14, 3, 2, 26, 5, 0], HashAlgorithm::Sha1),
    (&[6, 9, 0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2, 1, 5, 0], HashAlgorithm::Sha256),
    (&[6, 5, 0x2b, 14, 3, 2, 26], HashAlgorithm::Sha1),
    (&[6, 9, 0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2, 1], HashAlgorithm::Sha256),
];

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::ocsp::{CertId, IssuerHashes, Request, RequestError};
    use crate::serial::Serial;

    /// By SHA-1 and SHA-256, with NULL and without, of serials short and long.
    fn requests() -> Vec<Vec<u8>> {
        let hashes = IssuerHashes::new(b"name", b"key");
        let serials = ["01", "80", "4ab00102030405060708090a0b0c0d0e0f101112"];
        let cert_ids =
            serials.map(|serial| hashes.cert_ids(&Serial::from_hex(serial).unwrap())[..4].to_vec());
        cert_ids.into_iter().flatten().map(|cert_id| wrapped(cert_id, 4)).collect()
    }

    fn wrapped(der: Vec<u8>, times: usize) -> Vec<u8> {
        (0..times).fold(der, |der, _| match u8::try_from(der.len()).unwrap() {
            length @ ..0x80 => [&[SEQUENCE, length], &der[..]].concat(),
            length => [&[SEQUENCE, 0x81, length], &der[..]].concat(),
        })
    }

    /// With heads of two octets, as if the second were a length whatever it is.
    fn wrapped_in_short(der: Vec<u8>, times: usize) -> Vec<u8> {
        (0..times)
            .fold(der, |der, _| [&[SEQUENCE, u8::try_from(der.len()).unwrap()], &der[..]].concat())
    }

    /// All that can be seen of a request.
    fn seen(read: Result<Request<'_>, RequestError>) -> String {
        let seen = read.map(|request| {
            let cert_ids: Vec<_> = request.cert_ids().collect();
            let nonce = request.nonce().map(|nonce| nonce.extn_value());
            let algorithms = request.preferred_algorithms().count();
            format!("{cert_ids:?} {nonce:?} {algorithms} {:?}", request.signature())
        });
        format!("{seen:?}")
    }

    fn assert_agreement(der: &[u8]) {
        assert_eq!(seen(Request::from_der(der, 9)), seen(Request::parse(der, 9)), "{der:02x?}");
        let cert_id = |read: Result<CertId<'_>, RequestError>| format!("{read:?}");
        let inner = der.get(8..).unwrap_or_default();
        assert_eq!(cert_id(CertId::from_der(inner)), cert_id(CertId::parse(inner)), "{inner:02x?}");
    }

    // rule: REQ-1
    #[test]
    fn what_nearly_all_clients_send_is_recognized() {
        for der in requests() {
            assert_eq!(req_cert(&der), Some(&der[8..]), "{der:02x?}");
            assert!(fields(&der[8..]).is_some(), "{der:02x?}");
            assert_agreement(&der);
        }
    }

    // rule: REQ-1
    #[test]
    fn the_parser_agrees_whatever_one_octet_is() {
        // Those of the longest serial number, as all would take long.
        for der in requests().into_iter().skip(8) {
            for at in 0..der.len() {
                let mut other = der.clone();
                for octet in 0..=u8::MAX {
                    other[at] = octet;
                    assert_agreement(&other);
                }
                assert_agreement(&der[..at]);
                assert_agreement(&[&der[..at], &der[at + 1..]].concat());
                assert_agreement(&[&der[..at], &[0], &der[at..]].concat());
            }
            assert_agreement(&wrapped(der.clone(), 1));
        }
    }

    // rule: REQ-1
    #[test]
    fn the_parser_agrees_on_lengths_that_take_more_than_an_octet() {
        let algorithm = [&[SEQUENCE, 9], ALGORITHMS[0].0].concat();
        for length in 90..=120 {
            let hash = [&[OCTET_STRING, length][..], &vec![7; length.into()]].concat();
            let fields = [&algorithm[..], &hash, &[OCTET_STRING, 1, 7], &[INTEGER, 1, 1]].concat();
            assert_agreement(&wrapped(fields.clone(), 5));
            assert_agreement(&wrapped_in_short(fields, 5));
        }
    }

    // rule: REQ-1
    #[test]
    fn what_stands_beside_the_usual_parts_is_left_to_the_parser() {
        let whole = requests().swap_remove(8);
        let part = |heads: usize| &whole[2 * heads..];
        let version = [0xa0, 3, INTEGER, 1, 0];
        let nonce = [OCTET_STRING, 3, OCTET_STRING, 1, 9];
        let id = [6, 9, 0x2b, 6, 1, 5, 5, 7, 48, 1, 2];
        let extensions =
            |tag: u8| [&[tag, 20, SEQUENCE, 18, SEQUENCE, 16], &id[..], &nonce].concat();
        let signature = [0xa0, 15, SEQUENCE, 13, SEQUENCE, 7, 6, 5, 0x2b, 14, 3, 2, 26, 3, 2, 0, 1];
        for (parts, heads) in [
            ([&version[..], part(2)], 2),
            ([part(2), &extensions(0xa2)], 2),
            ([part(4), &extensions(0xa0)], 4),
            ([part(3), part(3)], 3),
            ([part(1), &signature], 1),
        ] {
            let der = wrapped(parts.concat(), heads);
            assert!(req_cert(&der).is_none() && Request::parse(&der, 9).is_ok(), "{der:02x?}");
            assert_agreement(&der);
        }
    }

    proptest! {
        // rule: REQ-1
        #[test]
        fn the_parser_agrees_whatever_several_octets_are(
            number: usize,
            changes: Vec<(usize, u8)>,
            end: Vec<u8>,
        ) {
            let mut der = requests().swap_remove(number % 12);
            for (at, octet) in changes {
                let at = at % der.len();
                der[at] = octet;
            }
            assert_agreement(&der);
            assert_agreement(&[der, end].concat());
        }
    }
}
