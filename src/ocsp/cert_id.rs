//! CertID: which certificate of which issuer is asked about (RFC 6960 section 4.1.1).

use std::fmt;

use openssl::sha;

use crate::ocsp::asn1 as syntax;
use crate::ocsp::request::RequestError;
use crate::ocsp::usual;
use crate::serial::Serial;

/// The question: a certificate named by its issuer's hashes and its serial.
#[derive(Clone, Copy, Debug)]
pub struct CertId<'a> {
    der: &'a [u8],
    hash_algorithm: Option<HashAlgorithm>,
    issuer_name_hash: &'a [u8],
    issuer_key_hash: &'a [u8],
    serial: Serial,
    zeros: Zeros,
}

/// What stands before a serial besides its sign octet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Zeros {
    Nothing,
    Needless,
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

/// Whether the AlgorithmIdentifier of a hash function carries NULL parameters (RFC 5754
/// section 2 has them both ways).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Parameters {
    Null,
    Absent,
}

/// How clients may write the CertID of a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Spelling {
    /// What the issuer is hashed with.
    pub hash: HashAlgorithm,
    /// What stands beside the name of the hash function.
    pub parameters: Parameters,
}

/// The hashes of one issuer's name and key, by each hash function.
#[derive(Clone, PartialEq, Eq)]
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
        let Some(fields) = usual::fields(der) else { return Self::parse(der) };
        let hashes = (fields.issuer_name_hash, fields.issuer_key_hash);
        Self::of(der, Some(fields.hash_algorithm), hashes, fields.serial_number)
    }

    /// As [`CertId::from_der`], whatever its hash function, and however long.
    pub(super) fn parse(der: &'a [u8]) -> Result<Self, RequestError> {
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
        let hashes = (cert_id.issuer_name_hash, cert_id.issuer_key_hash);
        Self::of(der, hash_algorithm, hashes, cert_id.serial_number.data())
    }

    fn of(
        der: &'a [u8],
        hash_algorithm: Option<HashAlgorithm>,
        (issuer_name_hash, issuer_key_hash): (&'a [u8], &'a [u8]),
        serial_number: &'a [u8],
    ) -> Result<Self, RequestError> {
        let serial = Serial::from_integer_content(serial_number)?;
        let zeros = match serial_number {
            [0, next, ..] if *next < 0x80 => Zeros::Needless,
            _ => Zeros::Nothing,
        };
        Ok(Self { der, hash_algorithm, issuer_name_hash, issuer_key_hash, serial, zeros })
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

    /// Whether it is one of the handful that clients write for its certificate
    /// ([`IssuerHashes::cert_ids`]), if it names the issuer: DER leaves no other choice
    /// than the hash function, its NULL, and, as they are let pass, zeros before the
    /// serial.
    #[must_use]
    pub fn is_usual(&self) -> bool {
        self.hash_algorithm.is_some() && self.zeros == Zeros::Nothing
    }

    /// Whether it names this issuer: BOTH hashes match.
    #[must_use]
    pub fn names(&self, issuer: &IssuerHashes) -> bool {
        let Some(algorithm) = self.hash_algorithm else { return false };
        let (name, key) = issuer.by(algorithm);
        self.issuer_key_hash == key && self.issuer_name_hash == name
    }
}

impl HashAlgorithm {
    /// Every hash function.
    pub const ALL: [Self; 4] = [Self::Sha1, Self::Sha256, Self::Sha384, Self::Sha512];

    fn oid(self) -> asn1::ObjectIdentifier {
        match self {
            Self::Sha1 => SHA1,
            Self::Sha256 => SHA256,
            Self::Sha384 => SHA384,
            Self::Sha512 => SHA512,
        }
    }

    /// The hash function of this name; `None` for one that we do not have.
    #[must_use]
    pub fn from_oid(oid: &asn1::ObjectIdentifier) -> Option<Self> {
        Self::ALL.into_iter().find(|algorithm| algorithm.oid() == *oid)
    }
}

impl Spelling {
    /// By each hash function, its NULL parameters there or not.
    pub fn all() -> impl Iterator<Item = Self> {
        HashAlgorithm::ALL.into_iter().flat_map(|hash| {
            [Parameters::Null, Parameters::Absent].map(|parameters| Self { hash, parameters })
        })
    }
}

/// `SHA-1`, or `SHA-1 without NULL`.
impl fmt::Display for Spelling {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self.hash {
            HashAlgorithm::Sha1 => "SHA-1",
            HashAlgorithm::Sha256 => "SHA-256",
            HashAlgorithm::Sha384 => "SHA-384",
            HashAlgorithm::Sha512 => "SHA-512",
        })?;
        match self.parameters {
            Parameters::Null => Ok(()),
            Parameters::Absent => formatter.write_str(" without NULL"),
        }
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

    /// DER of every CertID that clients write for this serial: by each hash function,
    /// its NULL parameters there or not.
    #[must_use]
    pub fn cert_ids(&self, serial: &Serial) -> Vec<Vec<u8>> {
        Spelling::all().filter_map(|spelling| self.cert_id(serial, spelling)).collect()
    }

    /// DER of the CertID that clients write so for this serial; always there.
    #[must_use]
    pub fn cert_id(&self, serial: &Serial, spelling: Spelling) -> Option<Vec<u8>> {
        let mut number = serial.as_bytes().to_vec();
        if number.first().is_some_and(|first| *first >= 0x80) {
            number.insert(0, 0); // the sign octet
        }
        let parameters = match spelling.parameters {
            Parameters::Null => Some(asn1::parse_single::<asn1::Tlv<'_>>(&[5, 0]).ok()?),
            Parameters::Absent => None,
        };
        let (issuer_name_hash, issuer_key_hash) = self.by(spelling.hash);
        let algorithm = spelling.hash.oid();
        asn1::write_single(&syntax::CertIdWriter {
            hash_algorithm: syntax::AlgorithmIdentifier { algorithm, parameters },
            issuer_name_hash,
            issuer_key_hash,
            serial_number: asn1::BigUint::new(&number)?,
        })
        .ok()
    }

    /// Name and key by one hash function.
    fn by(&self, algorithm: HashAlgorithm) -> (&[u8], &[u8]) {
        match algorithm {
            HashAlgorithm::Sha1 => (&self.sha1.0, &self.sha1.1),
            HashAlgorithm::Sha256 => (&self.sha256.0, &self.sha256.1),
            HashAlgorithm::Sha384 => (&self.sha384.0, &self.sha384.1),
            HashAlgorithm::Sha512 => (&self.sha512.0, &self.sha512.1),
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

#[cfg(test)]
mod tests {
    use super::*;

    // rule: REQ-5
    #[test]
    fn the_usual_cert_ids_are_those_that_clients_write_and_no_others() {
        let hashes = IssuerHashes::new(b"name", b"key");
        for serial in ["00", "01", "7f", "80", "00ff", "0a1b", "8000"] {
            let serial = Serial::from_hex(serial).unwrap();
            let usual = hashes.cert_ids(&serial);
            assert_eq!(usual.len(), 8);
            for der in &usual {
                assert!(CertId::from_der(der).unwrap().is_usual(), "{der:02x?}");
                let padded = with_a_zero(der, serial.as_bytes());
                assert!(!CertId::from_der(&padded).unwrap().is_usual(), "{padded:02x?}");
            }
        }
    }

    /// The serial, which comes last, with a zero before it.
    fn with_a_zero(der: &[u8], serial: &[u8]) -> Vec<u8> {
        let sign = usize::from(serial[0] >= 0x80);
        let integer = 2 + sign + serial.len();
        let mut padded = der[..der.len() - integer].to_vec();
        padded.extend([2, u8::try_from(integer - 2 + 1).unwrap(), 0]);
        padded.extend(&der[der.len() - integer + 2..]);
        let content = match padded[1] {
            0x81 => 2, // the length has an octet of its own
            _ => 1,
        };
        padded[content] += 1;
        padded
    }
}
