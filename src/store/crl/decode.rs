//! A CRL from PEM or DER (RFC 5280 section 5): decoded, verified, or refused whole.
//!
//! Pure. Refused is what would make an answer wrong: a list of another CA, of some
//! certificates or reasons only, of changes only, or with an extension that must be
//! understood and is not.

#![expect(clippy::result_large_err, reason = "the size of the asn1 crate's ParseError is its own")]

use std::fmt;

use asn1::{Asn1Read, BigUint, BitString, Enumerated, ObjectIdentifier, SequenceOf, Tlv};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use openssl::x509::X509Name;

use crate::hex;
use crate::serial::Serial;
use crate::status::RevocationReason;
use crate::store::crl::{Authority, Unlisted, signature};
use crate::store::listing::{Listing, Said};
use crate::time::{Timestamp, Validity};

/// What a CRL says.
#[derive(Debug)]
pub(super) struct List {
    pub listing: Listing,
    pub validity: Validity,
    edition: Edition,
    /// The newest list that had begun when this one was read, where it had not.
    begun_before: Option<Edition>,
    /// Entries with a reasonCode that there is not.
    pub unknown_reasons: usize,
}

/// What tells which of two lists is the newer one.
#[derive(Clone, Debug)]
struct Edition {
    this_update: Timestamp,
    /// The octets of its cRLNumber (RFC 5280 section 5.2.3), as few as it needs, where it has
    /// one.
    number: Option<Vec<u8>>,
}

impl List {
    /// Takes a CRL of this CA; why not, otherwise.
    pub(super) fn parse(
        octets: &[u8],
        issuer: &Authority,
        unlisted: Unlisted,
    ) -> Result<Self, String> {
        let decoded;
        let der = match octets.first() {
            Some(0x30) => octets,
            _ => {
                decoded = from_pem(octets)?;
                &decoded
            }
        };
        let list: CertificateList<'_> =
            asn1::parse_single(der).map_err(|_| "neither a CRL in DER nor in PEM")?;
        let tbs: TbsCertList<'_> =
            list.tbs_cert_list.parse().map_err(|_| "not a CRL as RFC 5280 has it")?;
        check_name(tbs.issuer.full_data(), issuer)?;
        let algorithm = list.signature_algorithm.full_data();
        if algorithm != tbs.signature.full_data() {
            return Err("its two signature algorithms differ".into());
        }
        let signed = list.tbs_cert_list.full_data();
        signature::verify(&issuer.key, algorithm, (signed, list.signature.as_bytes()), der)?;
        let mut number = None;
        for extension in tbs.extensions.into_iter().flatten() {
            check_extension(&extension, unlisted)?;
            if extension.extn_id == CE_CRL_NUMBER {
                let read = asn1::parse_single::<BigUint<'_>>(extension.extn_value);
                number = read.ok().map(|number| number.as_bytes().to_vec());
            }
        }
        let next_update = tbs.next_update.ok_or("without nextUpdate (RFC 5280 section 5.1.2.5)")?;
        let validity = Validity {
            this_update: tbs.this_update.timestamp()?,
            next_update: next_update.timestamp()?,
        };
        let (entries, unknown_reasons) = entries(tbs.revoked_certificates)?;
        Ok(Self {
            listing: Listing::new(entries),
            validity,
            edition: Edition { this_update: validity.this_update, number },
            begun_before: None,
            unknown_reasons,
        })
    }

    /// Takes the place of the list that was read before, of the same CA, if it is no older: an
    /// older one, as from a mirror that is behind, lacks what was revoked since. One that has
    /// not begun by `now`, as the clock of the CA was wrong, keeps none out that has.
    pub(super) fn following(mut self, before: &Self, now: Timestamp) -> Result<Self, String> {
        let newest = match before.edition.this_update <= now {
            true => Some(&before.edition),
            false => before.begun_before.as_ref(),
        };
        if let Some(newest) = newest.filter(|newest| self.edition.is_older_than(newest)) {
            return Err(format!(
                "older than the list that was read before: {}, that one {newest}, wanted: \
                 the newest one, or a restart, which takes the one that is there",
                self.edition
            ));
        }
        self.begun_before = newest.cloned();
        Ok(self)
    }
}

impl Edition {
    fn is_older_than(&self, other: &Self) -> bool {
        let is_lower = match (&self.number, &other.number) {
            (Some(own), Some(other)) => (own.len(), own) < (other.len(), other),
            _ => false,
        };
        self.this_update < other.this_update || is_lower
    }
}

impl fmt::Display for Edition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "from {}", self.this_update)?;
        let Some(number) = &self.number else { return Ok(()) };
        write!(f, " with the number 0x{}", hex::text(number))
    }
}

/// The entries, and how many have a reason that is not known.
fn entries(
    revoked: Option<SequenceOf<'_, RevokedCertificate<'_>>>,
) -> Result<(Vec<(Serial, Said)>, usize), String> {
    let Some(revoked) = revoked else { return Ok((Vec::new(), 0)) };
    let mut entries = Vec::with_capacity(revoked.len());
    let mut unknown_reasons = 0;
    for entry in revoked {
        let time = entry.revocation_date.timestamp()?;
        let mut reason = None;
        for extension in entry.extensions.into_iter().flatten() {
            if extension.extn_id == CE_REASON_CODE {
                let code: Enumerated = asn1::parse_single(extension.extn_value)
                    .map_err(|_| "a reasonCode is not as RFC 5280 has it")?;
                reason = match code.value() {
                    0 => None,
                    8 => return Err(OF_CHANGES.into()),
                    code => {
                        let known = RevocationReason::from_code(code);
                        unknown_reasons += usize::from(known.is_none());
                        known
                    }
                };
            } else if extension.extn_id == CE_CERTIFICATE_ISSUER {
                return Err("an indirect CRL: it has certificates of other CAs".into());
            } else if extension.critical == Some(true) {
                return Err(unknown_critical(&extension.extn_id));
            }
        }
        // Others cannot be asked for.
        if let Ok(serial) = Serial::from_integer_content(entry.user_certificate.as_bytes()) {
            entries.push((serial, Said::Revoked(time, reason)));
        }
    }
    Ok((entries, unknown_reasons))
}

fn check_name(der: &[u8], issuer: &Authority) -> Result<(), String> {
    let name = |der: &[u8]| X509Name::from_der(der).map_err(|_| "its issuer is no name");
    let (of_list, of_ca) = (name(der)?, name(&issuer.subject)?);
    // As OpenSSL does: without regard to case and the kind of string.
    match of_list.try_cmp(&of_ca) {
        Ok(std::cmp::Ordering::Equal) => Ok(()),
        _ => Err("of another CA: its issuer is not the CA's name".into()),
    }
}

fn check_extension(extension: &Extension<'_>, unlisted: Unlisted) -> Result<(), String> {
    match &extension.extn_id {
        id if *id == CE_DELTA_CRL_INDICATOR => Err(OF_CHANGES.into()),
        id if *id == CE_ISSUING_DISTRIBUTION_POINT => check_scope(extension.extn_value, unlisted),
        id if *id == CE_AUTHORITY_KEY_IDENTIFIER || *id == CE_CRL_NUMBER => Ok(()),
        id if extension.critical == Some(true) => Err(unknown_critical(id)),
        _ => Ok(()),
    }
}

/// IssuingDistributionPoint (RFC 5280 section 5.2.5).
fn check_scope(der: &[u8], unlisted: Unlisted) -> Result<(), String> {
    let malformed = "its issuingDistributionPoint is not as RFC 5280 has it";
    let parts: SequenceOf<'_, Tlv<'_>> = asn1::parse_single(der).map_err(|_| malformed)?;
    for part in parts {
        let limit = match part.tag().value() {
            0 if unlisted == Unlisted::Good => {
                return Err("of one distribution point: certificates that name another one \
                            cannot be good for not being on it (unlisted = \"good\")"
                    .into());
            }
            0 => continue,
            1 => "onlyContainsUserCerts",
            2 => "onlyContainsCACerts",
            3 => "onlySomeReasons",
            4 => "indirectCRL",
            5 => "onlyContainsAttributeCerts",
            _ => return Err(malformed.into()),
        };
        return Err(format!("not for all certificates of the CA: {limit}"));
    }
    Ok(())
}

fn unknown_critical(id: &ObjectIdentifier) -> String {
    format!("with a critical extension that is not known: {id}")
}

/// The one CRL of a PEM file, which may have text around it.
fn from_pem(octets: &[u8]) -> Result<Vec<u8>, String> {
    let no_crl = || "neither a CRL in DER nor in PEM".to_owned();
    let text = str::from_utf8(octets).map_err(|_| no_crl())?;
    let (_, rest) = text.split_once(BEGIN).ok_or_else(no_crl)?;
    let (body, rest) = rest.split_once(END).ok_or("its PEM has no end")?;
    if rest.contains(BEGIN) {
        return Err("it has several CRLs, wanted one".into());
    }
    let base64: Vec<u8> = body.bytes().filter(|octet| !octet.is_ascii_whitespace()).collect();
    STANDARD.decode(base64).map_err(|_| "its PEM is no Base64".into())
}

const BEGIN: &str = "-----BEGIN X509 CRL-----";
const END: &str = "-----END X509 CRL-----";
const OF_CHANGES: &str = "a delta CRL: it has only what has changed";

/// CertificateList (RFC 5280 section 5.1).
#[derive(Asn1Read)]
struct CertificateList<'a> {
    tbs_cert_list: Tlv<'a>,
    signature_algorithm: Tlv<'a>,
    signature: BitString<'a>,
}

#[derive(Asn1Read)]
struct TbsCertList<'a> {
    _version: Option<u8>,
    signature: Tlv<'a>,
    issuer: Tlv<'a>,
    this_update: Time,
    next_update: Option<Time>,
    revoked_certificates: Option<SequenceOf<'a, RevokedCertificate<'a>>>,
    #[explicit(0)]
    extensions: Option<SequenceOf<'a, Extension<'a>>>,
}

#[derive(Asn1Read)]
struct RevokedCertificate<'a> {
    user_certificate: asn1::BigInt<'a>,
    revocation_date: Time,
    extensions: Option<SequenceOf<'a, Extension<'a>>>,
}

/// `critical FALSE` written out is tolerated: the CA is the operator's.
#[derive(Asn1Read)]
struct Extension<'a> {
    extn_id: ObjectIdentifier,
    critical: Option<bool>,
    extn_value: &'a [u8],
}

#[derive(Asn1Read)]
enum Time {
    Utc(asn1::UtcTime),
    General(asn1::X509GeneralizedTime),
}

impl Time {
    fn timestamp(&self) -> Result<Timestamp, &'static str> {
        let time = match self {
            Self::Utc(time) => time.as_datetime(),
            Self::General(time) => time.as_datetime(),
        };
        let hour = (time.hour(), time.minute(), time.second());
        Timestamp::from_civil(time.year(), time.month(), time.day(), hour)
            .ok_or("a date that there is not")
    }
}

const CE_CRL_NUMBER: ObjectIdentifier = asn1::oid!(2, 5, 29, 20);
const CE_REASON_CODE: ObjectIdentifier = asn1::oid!(2, 5, 29, 21);
const CE_DELTA_CRL_INDICATOR: ObjectIdentifier = asn1::oid!(2, 5, 29, 27);
const CE_ISSUING_DISTRIBUTION_POINT: ObjectIdentifier = asn1::oid!(2, 5, 29, 28);
const CE_CERTIFICATE_ISSUER: ObjectIdentifier = asn1::oid!(2, 5, 29, 29);
const CE_AUTHORITY_KEY_IDENTIFIER: ObjectIdentifier = asn1::oid!(2, 5, 29, 35);
