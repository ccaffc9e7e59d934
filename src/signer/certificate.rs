//! Certificates of issuers and signers; may this one sign for that issuer?
//! (RFC 6960 section 4.2.2.2)

#![expect(clippy::result_large_err, reason = "the size of the asn1 crate's ParseError is its own")]

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use asn1::{Asn1Read, BitString, SequenceOf, Tlv};
use openssl::asn1::{Asn1Object, Asn1Time, Asn1TimeRef};
use openssl::error::ErrorStack;
use openssl::x509::X509;

use crate::ocsp::IssuerHashes;
use crate::ocsp::asn1::AlgorithmIdentifier;
use crate::signer::reasons::Reasons;
use crate::time::Timestamp;

/// A certificate, and the parts of it that OCSP looks at.
#[derive(Clone)]
pub struct Certificate {
    x509: X509,
    der: Vec<u8>,
    subject_der: Vec<u8>,
    key_algorithm: asn1::ObjectIdentifier,
    hashes: IssuerHashes,
    not_before: Timestamp,
    not_after: Timestamp,
    extended_key_usage: Vec<asn1::ObjectIdentifier>,
    no_check: NoCheck,
    authority: Authority,
}

/// Whether a certificate can be that of a CA (RFC 5280 section 4.2.1.9).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Authority {
    /// It says so, or nothing against it, as those of version 1 do.
    Possible,
    /// It says that it is none, or that it signs OCSP responses for one.
    No,
}

/// Whether the id-pkix-ocsp-nocheck extension is there (RFC 6960 section 4.2.2.2.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoCheck {
    /// It is: clients do not ask whether the signer is revoked.
    Present,
    /// It is not.
    Absent,
}

/// Why a file gave no certificate.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// The file cannot be read.
    #[error("certificate {0}")]
    Read(PathBuf, #[source] io::Error),
    /// It holds no certificate.
    #[error("certificate {0}: no X.509 certificate in PEM or DER")]
    NoCertificate(PathBuf, #[source] Reasons),
    /// It holds a key instead.
    #[error("certificate {0}: holds a private key, and no certificate")]
    HoldsKey(PathBuf),
    /// The certificate cannot be understood.
    #[error("certificate: not as RFC 5280 has it")]
    Malformed,
    /// OpenSSL refused.
    #[error("certificate")]
    OpenSsl(#[source] Reasons),
}

/// Why a certificate may not sign for an issuer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotAllowed {
    /// Its issuer is not the subject of the CA's certificate.
    #[error("it is not issued by this CA: the issuer's name differs")]
    OtherIssuer,
    /// The CA's key did not sign it.
    #[error("it is not issued by this CA: the signature is not of the CA's key")]
    OtherKey,
    /// OpenSSL does not know the algorithm of the CA's key.
    #[error("it cannot be verified: OpenSSL does not load the CA's key")]
    UnknownKey,
    /// extendedKeyUsage lacks id-kp-OCSPSigning.
    #[error("its extendedKeyUsage lacks OCSPSigning, which clients demand of a delegated signer")]
    NoOcspSigning,
    /// It is not yet valid.
    #[error("it is not valid before {0}")]
    NotYet(Timestamp),
    /// It is no longer valid.
    #[error("it ended on {0}")]
    Ended(Timestamp),
}

impl From<ErrorStack> for CertificateError {
    fn from(stack: ErrorStack) -> Self {
        Self::OpenSsl(stack.into())
    }
}

impl Certificate {
    /// Loads a certificate in PEM or DER; the first one where a PEM file holds several.
    ///
    /// # Errors
    ///
    /// [`CertificateError`].
    pub fn load(path: &Path) -> Result<Self, CertificateError> {
        let octets =
            fs::read(path).map_err(|error| CertificateError::Read(path.to_owned(), error))?;
        let x509 =
            X509::from_pem(&octets).or_else(|_| X509::from_der(&octets)).map_err(|error| {
                match octets.windows(KEY.len()).any(|part| part == KEY) {
                    true => CertificateError::HoldsKey(path.to_owned()),
                    false => CertificateError::NoCertificate(path.to_owned(), error.into()),
                }
            })?;
        Self::new(x509)
    }

    /// Takes what OpenSSL has read.
    ///
    /// # Errors
    ///
    /// [`CertificateError::Malformed`].
    pub fn new(x509: X509) -> Result<Self, CertificateError> {
        let der = x509.to_der()?;
        let syntax: CertificateSyntax<'_> =
            asn1::parse_single(&der).map_err(|_| CertificateError::Malformed)?;
        let tbs = syntax.tbs_certificate;
        let subject_der = tbs.subject.full_data().to_vec();
        let SubjectPublicKeyInfo { algorithm, subject_public_key: public_key } =
            tbs.subject_public_key_info;
        let hashes = IssuerHashes::new(&subject_der, public_key.as_bytes());
        let mut extended_key_usage = Vec::new();
        let mut no_check = NoCheck::Absent;
        let mut is_ca = None;
        for extension in tbs.extensions.into_iter().flatten() {
            if extension.extn_id == ID_CE_EXT_KEY_USAGE {
                let purposes: SequenceOf<'_, asn1::ObjectIdentifier> =
                    asn1::parse_single(extension.extn_value)
                        .map_err(|_| CertificateError::Malformed)?;
                extended_key_usage.extend(purposes);
            } else if extension.extn_id == ID_PKIX_OCSP_NOCHECK {
                no_check = NoCheck::Present;
            } else if extension.extn_id == ID_CE_BASIC_CONSTRAINTS {
                let constraints = asn1::parse_single::<BasicConstraints>(extension.extn_value);
                is_ca = constraints.ok().map(|constraints| constraints.ca.unwrap_or(false));
            }
        }
        let authority = match is_ca {
            Some(true) => Authority::Possible,
            None if !extended_key_usage.contains(&ID_KP_OCSP_SIGNING) => Authority::Possible,
            _ => Authority::No,
        };
        Ok(Self {
            subject_der,
            key_algorithm: algorithm.algorithm,
            hashes,
            not_before: timestamp(x509.not_before())?,
            not_after: timestamp(x509.not_after())?,
            extended_key_usage,
            no_check,
            authority,
            der,
            x509,
        })
    }

    /// As OpenSSL has it.
    #[must_use]
    pub fn x509(&self) -> &X509 {
        &self.x509
    }

    /// As DER.
    #[must_use]
    pub fn der(&self) -> &[u8] {
        &self.der
    }

    /// DER of the subject's name.
    #[must_use]
    pub fn subject_der(&self) -> &[u8] {
        &self.subject_der
    }

    /// The algorithm of the key by OpenSSL's name, `ML-DSA-65`; the numbers of one that it
    /// does not know.
    #[must_use]
    pub fn key_algorithm(&self) -> String {
        let numbers = self.key_algorithm.to_string();
        Asn1Object::from_str(&numbers).map_or(numbers, |object| object.to_string())
    }

    /// The hashes that a CertID names this certificate by.
    #[must_use]
    pub fn hashes(&self) -> &IssuerHashes {
        &self.hashes
    }

    /// The first second of its validity.
    #[must_use]
    pub fn not_before(&self) -> Timestamp {
        self.not_before
    }

    /// The last second of its validity.
    #[must_use]
    pub fn not_after(&self) -> Timestamp {
        self.not_after
    }

    /// Whether clients are told not to ask for its own status.
    #[must_use]
    pub fn no_check(&self) -> NoCheck {
        self.no_check
    }

    /// Whether it can be that of a CA.
    #[must_use]
    pub fn authority(&self) -> Authority {
        self.authority
    }

    /// The subject as a person reads it: `CN=Example CA, O=Example`.
    #[must_use]
    pub fn subject(&self) -> String {
        let parts = self.x509.subject_name().entries().map(|entry| {
            let name = entry.object().nid().short_name().unwrap_or("?");
            let value = entry.data().to_string().unwrap_or_else(|_| "?".to_owned());
            format!("{name}={value}")
        });
        parts.collect::<Vec<_>>().join(", ")
    }

    /// Whether clients will accept this certificate's signature under answers
    /// about certificates of `issuer` (RFC 6960 section 4.2.2.2): it is the
    /// issuer's own, or issued directly by it for the purpose; and valid at `now`.
    ///
    /// # Errors
    ///
    /// [`NotAllowed`] names the rule that is broken.
    pub fn may_sign_for(&self, issuer: &Self, now: Timestamp) -> Result<(), NotAllowed> {
        if self.der != issuer.der {
            if self.x509.issuer_name().try_cmp(issuer.x509.subject_name()).ok()
                != Some(std::cmp::Ordering::Equal)
            {
                return Err(NotAllowed::OtherIssuer);
            }
            let key = issuer.x509.public_key().map_err(|_| NotAllowed::UnknownKey)?;
            if !self.x509.verify(&key).unwrap_or(false) {
                return Err(NotAllowed::OtherKey);
            }
            if !self.extended_key_usage.contains(&ID_KP_OCSP_SIGNING) {
                return Err(NotAllowed::NoOcspSigning);
            }
        }
        if now < self.not_before {
            return Err(NotAllowed::NotYet(self.not_before));
        }
        if self.not_after < now {
            return Err(NotAllowed::Ended(self.not_after));
        }
        Ok(())
    }
}

/// The first and the last second of a certificate, PEM or DER; `None` where the octets
/// are none.
#[must_use]
pub fn lifetime(octets: &[u8]) -> Option<(Timestamp, Timestamp)> {
    let x509 = match octets.first()? {
        0x30 => X509::from_der(octets),
        _ => X509::from_pem(octets),
    };
    let x509 = x509.ok()?;
    Some((timestamp(x509.not_before()).ok()?, timestamp(x509.not_after()).ok()?))
}

fn timestamp(time: &Asn1TimeRef) -> Result<Timestamp, ErrorStack> {
    let since = Asn1Time::from_unix(0)?.diff(time)?;
    Ok(Timestamp::from_unix(i64::from(since.days) * 86_400 + i64::from(since.secs)))
}

/// Certificate (RFC 5280 section 4.1).
#[derive(Asn1Read)]
struct CertificateSyntax<'a> {
    tbs_certificate: TbsCertificate<'a>,
    _signature_algorithm: Tlv<'a>,
    _signature: BitString<'a>,
}

#[derive(Asn1Read)]
struct TbsCertificate<'a> {
    #[explicit(0)]
    _version: Option<u8>,
    _serial_number: Tlv<'a>,
    _signature: Tlv<'a>,
    _issuer: Tlv<'a>,
    _validity: Tlv<'a>,
    subject: Tlv<'a>,
    subject_public_key_info: SubjectPublicKeyInfo<'a>,
    #[implicit(1)]
    _issuer_unique_id: Option<BitString<'a>>,
    #[implicit(2)]
    _subject_unique_id: Option<BitString<'a>>,
    #[explicit(3)]
    extensions: Option<SequenceOf<'a, Extension<'a>, 1>>,
}

#[derive(Asn1Read)]
struct SubjectPublicKeyInfo<'a> {
    algorithm: AlgorithmIdentifier<'a>,
    subject_public_key: BitString<'a>,
}

/// Like the protocol's, but `critical FALSE` written out is tolerated: the
/// certificate is the operator's, and clients accept it.
#[derive(Asn1Read)]
struct Extension<'a> {
    extn_id: asn1::ObjectIdentifier,
    _critical: Option<bool>,
    extn_value: &'a [u8],
}

/// Of a key in PEM, of any kind.
const KEY: &[u8] = b"PRIVATE KEY-----";

/// As tolerant as [`Extension`].
#[derive(Asn1Read)]
struct BasicConstraints {
    ca: Option<bool>,
    _path_length: Option<u64>,
}

const ID_CE_BASIC_CONSTRAINTS: asn1::ObjectIdentifier = asn1::oid!(2, 5, 29, 19);
const ID_CE_EXT_KEY_USAGE: asn1::ObjectIdentifier = asn1::oid!(2, 5, 29, 37);
const ID_KP_OCSP_SIGNING: asn1::ObjectIdentifier = asn1::oid!(1, 3, 6, 1, 5, 5, 7, 3, 9);
const ID_PKIX_OCSP_NOCHECK: asn1::ObjectIdentifier = asn1::oid!(1, 3, 6, 1, 5, 5, 7, 48, 1, 5);
