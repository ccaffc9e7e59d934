//! Decodes OCSP requests from DER (RFC 6960 section 4.1).
//!
//! Pure: no I/O, no clock, no policy. A signature is decoded and not checked:
//! signing is optional (section 4.1.2), so whether to demand it is not for the
//! codec. The input is untrusted.

use crate::ocsp::algorithm::SignatureAlgorithm;
use crate::ocsp::asn1 as syntax;
use crate::ocsp::cert_id::CertId;
use crate::ocsp::extensions::{Extensions, Level, extensions};
use crate::ocsp::nonce::Nonce;
use crate::ocsp::usual;
use crate::serial::SerialError;

/// A request: at least one question, borrowed from its DER.
#[derive(Clone)]
pub struct Request<'a> {
    first: CertId<'a>,
    rest: Vec<CertId<'a>>,
    extensions: Extensions<'a>,
    signature: Signature,
}

/// Whether a request is signed; by whom, and whether well, is not looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signature {
    /// It carries a signature.
    Present,
    /// It does not.
    Absent,
}

/// Why octets are no request that we can answer; all are `malformedRequest`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// Not one DER OCSPRequest from the first octet to the last.
    #[error("not an OCSPRequest in DER")]
    NotDer,
    /// Another version than v1.
    #[error("not version 1")]
    Version,
    /// A serial that cannot be one.
    #[error(transparent)]
    Serial(#[from] SerialError),
    /// The nonce is no OCTET STRING of 1 to 128 octets.
    #[error("the nonce is not an OCTET STRING of 1 to 128 octets")]
    Nonce,
    /// The same extension twice (RFC 5280 section 4.2).
    #[error("an extension occurs twice")]
    DuplicateExtension,
    /// A critical extension that we do not know (section 4.1.2).
    #[error("a critical extension is not known")]
    CriticalExtension,
    /// More questions than the limit.
    #[error("asks about more certificates than the limit")]
    TooMany,
    /// The preferred signature algorithms are no list of them (section 4.4.7.1).
    #[error("the preferred signature algorithms are no list of AlgorithmIdentifiers")]
    PreferredAlgorithms,
}

impl<'a> Request<'a> {
    /// Reads a request of at most `limit` questions.
    ///
    /// # Errors
    ///
    /// [`RequestError`], answered as `malformedRequest` (section 2.3).
    pub fn from_der(der: &'a [u8], limit: usize) -> Result<Self, RequestError> {
        match usual::req_cert(der) {
            Some(req_cert) if limit > 0 => Ok(Self {
                first: CertId::from_der(req_cert)?,
                rest: Vec::new(),
                extensions: Extensions::default(),
                signature: Signature::Absent,
            }),
            _ => Self::parse(der, limit),
        }
    }

    /// As [`Request::from_der`], for whatever there may be in a request.
    pub(super) fn parse(der: &'a [u8], limit: usize) -> Result<Self, RequestError> {
        let request: syntax::OcspRequest<'a> =
            asn1::parse_single(der).map_err(|_| RequestError::NotDer)?;
        let tbs_request = request.tbs_request;
        if tbs_request.version.is_some_and(|version| version != 0) {
            return Err(RequestError::Version);
        }
        if tbs_request.request_list.len() > limit {
            return Err(RequestError::TooMany);
        }
        let extensions = extensions(tbs_request.request_extensions, Level::Request)?;
        let mut questions = tbs_request.request_list;
        let first = question(questions.next().ok_or(RequestError::NotDer)?)?;
        // One question is the rule, and an empty Vec allocates nothing.
        let rest = questions.map(question).collect::<Result<Vec<_>, _>>()?;
        let signature = match request.optional_signature {
            Some(_) => Signature::Present,
            None => Signature::Absent,
        };
        Ok(Self { first, rest, extensions, signature })
    }

    /// The first question.
    #[must_use]
    pub fn first(&self) -> &CertId<'a> {
        &self.first
    }

    /// The only question, when there is no other.
    #[must_use]
    pub fn single(&self) -> Option<&CertId<'a>> {
        self.rest.is_empty().then_some(&self.first)
    }

    /// Every question, in order.
    pub fn cert_ids(&self) -> impl Iterator<Item = &CertId<'a>> {
        std::iter::once(&self.first).chain(&self.rest)
    }

    /// Whether it is signed.
    #[must_use]
    pub fn signature(&self) -> Signature {
        self.signature
    }

    /// The nonce.
    #[must_use]
    pub fn nonce(&self) -> Option<Nonce<'a>> {
        self.extensions.nonce
    }

    /// The algorithms that we have, of the first 32 of preferred-signature-algorithms, in
    /// order.
    pub fn preferred_algorithms(&self) -> impl Iterator<Item = SignatureAlgorithm> + use<'a> {
        let list = self.extensions.preferred.clone().into_iter().flatten();
        list.take(MAX_PREFERRED).filter_map(|preferred| {
            SignatureAlgorithm::from_identifier_der(preferred.sig_identifier.full_data())
        })
    }
}

fn question(request: syntax::Request<'_>) -> Result<CertId<'_>, RequestError> {
    extensions(request.single_request_extensions, Level::Question)?;
    CertId::from_der(request.req_cert.full_data())
}

/// Of the preferred algorithms, those that are looked at: more than there are, and as many
/// as a stranger likes may be in a request.
const MAX_PREFERRED: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ocsp::{HashAlgorithm, IssuerHashes};
    use crate::serial::Serial;

    fn tlv(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
        let content = parts.concat();
        let mut der = vec![tag];
        match u16::try_from(content.len()).unwrap().to_be_bytes() {
            [0, low] if low < 128 => der.push(low),
            [0, low] => der.extend([0x81, low]),
            [high, low] => der.extend([0x82, high, low]),
        }
        der.extend(content);
        der
    }

    fn sequence(parts: &[&[u8]]) -> Vec<u8> {
        tlv(0x30, parts)
    }

    const SHA1_OID: &[u8] = &[6, 5, 0x2b, 14, 3, 2, 26];
    const NONCE_OID: &[u8] = &[6, 9, 0x2b, 6, 1, 5, 5, 7, 48, 1, 2];
    const OTHER_OID: &[u8] = &[6, 3, 0x55, 0x1d, 99];
    const CRITICAL: &[u8] = &[1, 1, 0xff];

    fn cert_id(parameters: &[u8], serial: &[u8]) -> Vec<u8> {
        let algorithm = sequence(&[SHA1_OID, parameters]);
        let hash = tlv(4, &[&[7; 20]]);
        sequence(&[&algorithm, &hash, &hash, &tlv(2, &[serial])])
    }

    fn question() -> Vec<u8> {
        sequence(&[&cert_id(&[5, 0], &[1])])
    }

    fn request(version: &[u8], questions: &[&[u8]], extensions: &[&[u8]]) -> Vec<u8> {
        let list = sequence(questions);
        let extensions =
            if extensions.is_empty() { Vec::new() } else { tlv(0xa2, &[&sequence(extensions)]) };
        sequence(&[&sequence(&[version, &list, &extensions])])
    }

    fn nonce(octets: usize) -> Vec<u8> {
        let inner = tlv(4, &[&vec![9; octets]]);
        sequence(&[NONCE_OID, &tlv(4, &[&inner])])
    }

    fn parse(der: &[u8]) -> Result<Request<'_>, RequestError> {
        Request::from_der(der, 3)
    }

    // rule: REQ-1
    #[test]
    fn octets_that_are_not_one_request_in_der_are_refused() {
        let whole = request(&[], &[&question()], &[]);
        assert!(parse(&whole).is_ok());
        for length in 0..whole.len() {
            assert_eq!(parse(&whole[..length]).err(), Some(RequestError::NotDer), "{length}");
        }
        assert_eq!(parse(&[&whole[..], &[0]].concat()).err(), Some(RequestError::NotDer));
        assert_eq!(parse(&request(&[], &[], &[])).err(), Some(RequestError::NotDer));
        let indefinite = [&[0x30, 0x80][..], &whole[2..], &[0, 0]].concat();
        assert_eq!(parse(&indefinite).err(), Some(RequestError::NotDer));
    }

    // rule: REQ-1
    #[test]
    fn version_1_may_be_written_out_and_no_other_version_is_taken() {
        let with = |version: &[u8]| request(version, &[&question()], &[]);
        assert!(parse(&with(&[0xa0, 3, 2, 1, 0])).is_ok());
        assert_eq!(parse(&with(&[0xa0, 3, 2, 1, 1])).err(), Some(RequestError::Version));
        assert!(parse(&with(&[0xa0, 3, 2, 1, 0xff])).is_err());
    }

    // rule: REQ-1
    #[test]
    fn a_list_of_extensions_may_be_empty() {
        let none = tlv(0xa2, &[&sequence(&[])]);
        let der = sequence(&[&sequence(&[&sequence(&[&question()]), &none])]);
        assert!(parse(&der).unwrap().nonce().is_none());
    }

    // rule: REQ-3
    #[test]
    fn questions_keep_their_order_and_their_octets_up_to_the_limit() {
        let null = cert_id(&[5, 0], &[1]);
        let absent = cert_id(&[], &[2]);
        let (one, two) = (sequence(&[&null]), sequence(&[&absent]));
        let der = request(&[], &[&one, &two, &one], &[]);
        let parsed = parse(&der).unwrap();
        let ders: Vec<_> = parsed.cert_ids().map(CertId::der).collect();
        assert_eq!(ders, [&null, &absent, &null]);
        assert!(parsed.single().is_none());
        let der = request(&[], &[&one, &one, &one, &one], &[]);
        assert_eq!(parse(&der).err(), Some(RequestError::TooMany));
    }

    // rule: REQ-4
    #[test]
    fn an_issuer_is_found_only_by_both_hashes_and_by_every_hash_function() {
        let issuer = IssuerHashes::new(b"name", b"key");
        let oids: [(HashAlgorithm, &[u8], openssl::hash::MessageDigest); 4] = [
            (HashAlgorithm::Sha1, SHA1_OID, openssl::hash::MessageDigest::sha1()),
            (HashAlgorithm::Sha256, SHA256_OID, openssl::hash::MessageDigest::sha256()),
            (HashAlgorithm::Sha384, SHA384_OID, openssl::hash::MessageDigest::sha384()),
            (HashAlgorithm::Sha512, SHA512_OID, openssl::hash::MessageDigest::sha512()),
        ];
        for (algorithm, oid, digest) in oids {
            for parameters in [&[5, 0][..], &[]] {
                let names = |name: &[u8], key: &[u8]| {
                    let hash = |octets| openssl::hash::hash(digest, octets).unwrap();
                    let der = sequence(&[
                        &sequence(&[oid, parameters]),
                        &tlv(4, &[&hash(name)]),
                        &tlv(4, &[&hash(key)]),
                        &[2, 1, 1],
                    ]);
                    CertId::from_der(&der).unwrap().names(&issuer)
                };
                assert!(names(b"name", b"key"), "{algorithm:?}");
                assert!(!names(b"other", b"key"), "{algorithm:?}");
                assert!(!names(b"name", b"other"), "{algorithm:?}");
            }
        }
    }

    const SHA256_OID: &[u8] = &[6, 9, 0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2, 1];
    const SHA384_OID: &[u8] = &[6, 9, 0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2, 2];
    const SHA512_OID: &[u8] = &[6, 9, 0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2, 3];

    // rule: REQ-5
    #[test]
    fn a_hash_function_has_null_parameters_or_none_and_the_serial_is_an_integer() {
        let hash = tlv(4, &[&[7; 20]]);
        let with = |parameters: &[u8], tag| {
            let algorithm = sequence(&[SHA1_OID, parameters]);
            sequence(&[&sequence(&[&algorithm, &hash, &hash, &[tag, 1, 1]])])
        };
        for parameters in [&[5, 0][..], &[]] {
            assert!(parse(&request(&[], &[&with(parameters, 2)], &[])).is_ok());
        }
        // Each certificate would have as many spellings as there are made-up parameters.
        for parameters in [&[4, 1, 7][..], &[5, 1, 0], &[0x30, 0], &[2, 1, 0]] {
            let der = request(&[], &[&with(parameters, 2)], &[]);
            assert_eq!(parse(&der).err(), Some(RequestError::NotDer), "{parameters:?}");
        }
        // OCTET STRING, ENUMERATED, and INTEGER of another class.
        for tag in [4, 10, 0x82] {
            let der = request(&[], &[&with(&[5, 0], tag)], &[]);
            assert_eq!(parse(&der).err(), Some(RequestError::NotDer), "{tag}");
        }
    }

    // rule: REQ-5
    #[test]
    fn serials_may_be_long_and_padded_but_not_negative_or_empty() {
        let serial = |content: &[u8]| {
            let der = cert_id(&[5, 0], content);
            CertId::from_der(&der).map(|cert_id| cert_id.serial())
        };
        assert_eq!(serial(&[0, 0, 0x81]), Ok(Serial::from_be_bytes(&[0x81]).unwrap()));
        assert!(serial(&[0x7f; 32]).is_ok());
        assert_eq!(serial(&[0x7f; 33]).err(), Some(RequestError::Serial(SerialError::TooLong)));
        let one = |zeros| [vec![0; zeros], vec![1]].concat();
        assert_eq!(serial(&one(32)), Ok(Serial::from_be_bytes(&[1]).unwrap()));
        assert_eq!(serial(&one(33)).err(), Some(RequestError::Serial(SerialError::TooLong)));
        assert_eq!(serial(&[0x81]).err(), Some(RequestError::Serial(SerialError::Negative)));
        assert_eq!(serial(&[]).err(), Some(RequestError::Serial(SerialError::Empty)));
    }

    // rule: REQ-6
    #[test]
    fn an_unknown_extension_is_refused_only_when_it_is_critical() {
        let value = tlv(4, &[&[5, 0]]);
        let plain = sequence(&[OTHER_OID, &value]);
        let critical = sequence(&[OTHER_OID, CRITICAL, &value]);
        assert!(parse(&request(&[], &[&question()], &[&plain])).is_ok());
        let expected = Some(RequestError::CriticalExtension);
        assert_eq!(parse(&request(&[], &[&question()], &[&critical])).err(), expected);
        let of_question = |extension: &[u8]| {
            let extensions = tlv(0xa0, &[&sequence(&[extension])]);
            request(&[], &[&sequence(&[&cert_id(&[5, 0], &[1]), &extensions])], &[])
        };
        assert!(parse(&of_question(&plain)).is_ok());
        assert_eq!(parse(&of_question(&critical)).err(), expected);
        let twice = request(&[], &[&question()], &[&plain, &plain]);
        assert_eq!(parse(&twice).err(), Some(RequestError::DuplicateExtension));
    }

    // rule: REQ-6
    #[test]
    fn of_unknown_extensions_32_are_read_past_with_oids_of_up_to_63_octets() {
        let taken = |oids: &[Vec<u8>]| {
            let extensions: Vec<_> = oids.iter().map(|oid| sequence(&[oid, &[4, 0]])).collect();
            let extensions: Vec<_> = extensions.iter().map(Vec::as_slice).collect();
            parse(&request(&[], &[&question()], &extensions)).map(|_| ())
        };
        let several = |count| (0..count).map(|last| tlv(6, &[&[0x2a, last]])).collect::<Vec<_>>();
        assert_eq!(taken(&several(32)), Ok(()));
        assert_eq!(taken(&several(33)), Err(RequestError::NotDer));
        let long = |octets| vec![tlv(6, &[&vec![0x2a; octets]])];
        assert_eq!(taken(&long(63)), Ok(()));
        assert_eq!(taken(&long(64)), Err(RequestError::NotDer));
    }

    // rule: REQ-10
    #[test]
    fn of_the_preferred_algorithms_the_first_32_count() {
        let ed25519 = sequence(&[&[6, 3, 0x2b, 0x65, 0x70]]);
        let unknown = sequence(&[OTHER_OID]);
        for (before, counts) in [(0, 1), (31, 1), (32, 0), (1000, 0)] {
            let one = sequence(&[&unknown]);
            let list = sequence(&[&one.repeat(before), &sequence(&[&ed25519])]);
            let extension = sequence(&[PREFERRED_OID, &tlv(4, &[&list])]);
            let der = request(&[], &[&question()], &[&extension]);
            assert_eq!(parse(&der).unwrap().preferred_algorithms().count(), counts, "{before}");
        }
    }

    const PREFERRED_OID: &[u8] = &[6, 9, 0x2b, 6, 1, 5, 5, 7, 48, 1, 8];

    // rule: REQ-9
    #[test]
    fn a_nonce_has_1_to_128_octets() {
        for (octets, fits) in [(0, false), (1, true), (32, true), (128, true), (129, false)] {
            let der = request(&[], &[&question()], &[&nonce(octets)]);
            let parsed = parse(&der);
            assert_eq!(parsed.is_ok(), fits, "{octets}");
            if let Ok(parsed) = parsed {
                assert_eq!(parsed.nonce().unwrap().extn_value().len(), nonce_value(octets));
            }
        }
        let unwrapped = sequence(&[NONCE_OID, &tlv(4, &[&[9; 16]])]);
        let der = request(&[], &[&question()], &[&unwrapped]);
        assert_eq!(parse(&der).err(), Some(RequestError::Nonce));
    }

    fn nonce_value(octets: usize) -> usize {
        octets + if octets < 128 { 2 } else { 3 }
    }

    proptest::proptest! {
        // rule: REQ-1
        #[test]
        fn no_octets_make_the_parser_panic(der: Vec<u8>) {
            let _ = parse(&der);
        }

        // rule: REQ-1
        #[test]
        fn no_mutation_of_a_request_makes_the_parser_panic(at: usize, octet: u8) {
            let mut der = request(&[], &[&question(), &question()], &[&nonce(16)]);
            let at = at % der.len();
            der[at] = octet;
            let _ = parse(&der);
        }
    }
}
