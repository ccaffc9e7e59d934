//! CertID: which certificate of which issuer is asked about (RFC 6960 section 4.1.1).

use openssl::sha;

use crate::ocsp::asn1 as syntax;
use crate::ocsp::request::RequestError;
use crate::serial::Serial;

/// The question: a certificate named by its issuer's hashes and its serial.
#[derive(Clone, Copy, Debug)]
pub struct CertId<'a> {
    der: &'a [u8],
    hash_algorithm: Option<HashAlgorithm>,
    issuer_name_hash: &'a [u8],
    issuer_key_hash: &'a [u8],
    serial: Serial,
}

/// The hash functions that a CertID may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the names are the standard's")]
pub enum HashAlgorithm {
    Sha1,
    Sha256,
    Sha384,
    Sha512,
}

/// The hashes of one issuer's name and key, by each hash function.
#[derive(Clone)]
pub struct IssuerHashes {
    sha1: ([u8; 20], [u8; 20]),
    sha256: ([u8; 32], [u8; 32]),
    sha384: ([u8; 48], [u8; 48]),
    sha512: ([u8; 64], [u8; 64]),
}

impl<'a> CertId<'a> {
    /// Reads one CertID.
    ///
    /// A hash function that is not known makes a CertID that matches no issuer:
    /// that is for the issuer lookup to refuse, not for the parser.
    ///
    /// # Errors
    ///
    /// [`RequestError`], answered as `malformedRequest`.
    pub fn from_der(der: &'a [u8]) -> Result<Self, RequestError> {
        let cert_id: syntax::CertId<'a> =
            asn1::parse_single(der).map_err(|_| RequestError::NotDer)?;
        let hash_algorithm = HashAlgorithm::from_oid(&cert_id.hash_algorithm.algorithm);
        // NULL or nothing: both are common (RFC 5754 section 2), and go back as they came.
        let parameters = cert_id.hash_algorithm.parameters.map(|tlv| tlv.full_data());
        if hash_algorithm.is_some() && !matches!(parameters, None | Some([5, 0])) {
            return Err(RequestError::NotDer);
        }
        if cert_id.serial_number.tag() != INTEGER {
            return Err(RequestError::NotDer);
        }
        let serial = Serial::from_integer_content(cert_id.serial_number.data())?;
        Ok(Self {
            der,
            hash_algorithm,
            issuer_name_hash: cert_id.issuer_name_hash,
            issuer_key_hash: cert_id.issuer_key_hash,
            serial,
        })
    }

    /// The CertID as it came, to be repeated byte for byte.
    #[must_use]
    pub fn der(&self) -> &'a [u8] {
        self.der
    }

    /// The serial of the certificate asked about.
    #[must_use]
    pub fn serial(&self) -> Serial {
        self.serial
    }

    /// Whether another one asks about the same certificate with the same hash
    /// function: NULL parameters of the hash, or zeros before the serial, make no
    /// difference.
    #[must_use]
    pub fn asks_the_same(&self, other: &CertId<'_>) -> bool {
        self.hash_algorithm.is_some()
            && self.hash_algorithm == other.hash_algorithm
            && self.serial == other.serial
            && self.issuer_key_hash == other.issuer_key_hash
            && self.issuer_name_hash == other.issuer_name_hash
    }

    /// Whether it names this issuer: BOTH hashes match.
    #[must_use]
    pub fn names(&self, issuer: &IssuerHashes) -> bool {
        let (name, key): (&[u8], &[u8]) = match self.hash_algorithm {
            None => return false,
            Some(HashAlgorithm::Sha1) => (&issuer.sha1.0, &issuer.sha1.1),
            Some(HashAlgorithm::Sha256) => (&issuer.sha256.0, &issuer.sha256.1),
            Some(HashAlgorithm::Sha384) => (&issuer.sha384.0, &issuer.sha384.1),
            Some(HashAlgorithm::Sha512) => (&issuer.sha512.0, &issuer.sha512.1),
        };
        self.issuer_key_hash == key && self.issuer_name_hash == name
    }
}

impl HashAlgorithm {
    fn from_oid(oid: &asn1::ObjectIdentifier) -> Option<Self> {
        [(SHA1, Self::Sha1), (SHA256, Self::Sha256), (SHA384, Self::Sha384), (SHA512, Self::Sha512)]
            .into_iter()
            .find_map(|(known, algorithm)| (known == *oid).then_some(algorithm))
    }
}

impl IssuerHashes {
    /// Hashes the DER of the issuer's subject name, and the value of its public
    /// key's BIT STRING without tag, length and unused-bits octet.
    #[must_use]
    pub fn new(name_der: &[u8], public_key: &[u8]) -> Self {
        Self {
            sha1: (sha::sha1(name_der), sha::sha1(public_key)),
            sha256: (sha::sha256(name_der), sha::sha256(public_key)),
            sha384: (sha::sha384(name_der), sha::sha384(public_key)),
            sha512: (sha::sha512(name_der), sha::sha512(public_key)),
        }
    }

    /// SHA-1 of the key: the KeyHash of a ResponderID (RFC 6960 section 4.2.1).
    #[must_use]
    pub fn key_sha1(&self) -> [u8; 20] {
        self.sha1.1
    }
}

const INTEGER: asn1::Tag = <u64 as asn1::SimpleAsn1Readable>::TAG;
const SHA1: asn1::ObjectIdentifier = asn1::oid!(1, 3, 14, 3, 2, 26);
const SHA256: asn1::ObjectIdentifier = asn1::oid!(2, 16, 840, 1, 101, 3, 4, 2, 1);
const SHA384: asn1::ObjectIdentifier = asn1::oid!(2, 16, 840, 1, 101, 3, 4, 2, 2);
const SHA512: asn1::ObjectIdentifier = asn1::oid!(2, 16, 840, 1, 101, 3, 4, 2, 3);
