//! OCSP requests built octet by octet, wrong ones too, and answers read by a second
//! parser, x509-ocsp, which must write each of them again as it came.

use der::{Decode, Encode};
use openssl::hash::{MessageDigest, hash};
use openssl::sign::Verifier;
use openssl::x509::{X509, X509Ref};
use x509_ocsp::{BasicOcspResponse, OcspResponse, SingleResponse};

/// Content octets of OBJECT IDENTIFIERs.
pub const SHA1: &[u8] = &[0x2b, 14, 3, 2, 26];
pub const SHA256: &[u8] = &[0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2, 1];
pub const SHA384: &[u8] = &[0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2, 2];
pub const SHA512: &[u8] = &[0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2, 3];
pub const MD5: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 13, 2, 5];
pub const NONCE: &[u8] = &[0x2b, 6, 1, 5, 5, 7, 48, 1, 2];
pub const ACCEPTABLE_RESPONSES: &[u8] = &[0x2b, 6, 1, 5, 5, 7, 48, 1, 4];
pub const PREFERRED_ALGORITHMS: &[u8] = &[0x2b, 6, 1, 5, 5, 7, 48, 1, 8];
pub const EXTENDED_REVOKE: &[u8] = &[0x2b, 6, 1, 5, 5, 7, 48, 1, 9];
/// 1.2.3.4: nobody knows it.
pub const UNHEARD_OF: &[u8] = &[0x2a, 3, 4];

pub const NULL: &[u8] = &[5, 0];
/// The error responses.
pub const MALFORMED: &[u8] = &[0x30, 3, 10, 1, 1];
pub const INTERNAL_ERROR: &[u8] = &[0x30, 3, 10, 1, 2];
pub const TRY_LATER: &[u8] = &[0x30, 3, 10, 1, 3];
pub const UNAUTHORIZED: &[u8] = &[0x30, 3, 10, 1, 6];

/// One element of DER.
pub fn tlv(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let content = parts.concat();
    let mut der = vec![tag];
    match u32::try_from(content.len()).unwrap().to_be_bytes() {
        [0, 0, 0, low] if low < 128 => der.push(low),
        [0, 0, 0, low] => der.extend([0x81, low]),
        [0, 0, high, low] => der.extend([0x82, high, low]),
        [0, top, high, low] => der.extend([0x83, top, high, low]),
        _ => panic!("{} octets", content.len()),
    }
    der.extend(content);
    der
}

pub fn sequence(parts: &[&[u8]]) -> Vec<u8> {
    tlv(0x30, parts)
}

/// The elements that the content of an element of DER consists of.
pub fn children(der: &[u8]) -> Vec<&[u8]> {
    let (header, length) = header(der);
    let mut rest = &der[header..header + length];
    let mut children = Vec::new();
    while !rest.is_empty() {
        let (header, length) = self::header(rest);
        let (child, after) = rest.split_at(header + length);
        children.push(child);
        rest = after;
    }
    children
}

/// The content octets of an element of DER.
pub fn content(der: &[u8]) -> &[u8] {
    let (header, length) = header(der);
    &der[header..header + length]
}

fn header(der: &[u8]) -> (usize, usize) {
    match der[1] {
        short @ 0..128 => (2, short.into()),
        long => {
            let octets = usize::from(long & 0x7f);
            let length =
                der[2..2 + octets].iter().fold(0, |sum, octet| sum << 8 | usize::from(*octet));
            (2 + octets, length)
        }
    }
}

/// A CertID, each part of which can be wrong.
#[derive(Clone)]
pub struct CertId {
    pub algorithm: &'static [u8],
    /// DER of the algorithm's parameters; nothing where they are absent.
    pub parameters: &'static [u8],
    pub name_hash: Vec<u8>,
    pub key_hash: Vec<u8>,
    /// Content of the INTEGER.
    pub serial: Vec<u8>,
}

impl CertId {
    /// As OpenSSL makes it: SHA-1, NULL. `serial` is in hexadecimal, whole octets.
    pub fn new(issuer: &X509Ref, serial: &str) -> Self {
        Self::hashed(SHA1, issuer, serial)
    }

    /// By another hash function.
    pub fn hashed(algorithm: &'static [u8], issuer: &X509Ref, serial: &str) -> Self {
        let digest = match algorithm {
            SHA256 => MessageDigest::sha256(),
            SHA384 => MessageDigest::sha384(),
            SHA512 => MessageDigest::sha512(),
            MD5 => MessageDigest::md5(),
            _ => MessageDigest::sha1(),
        };
        let name = issuer.subject_name().to_der().unwrap();
        let key_info = issuer.public_key().unwrap().public_key_to_der().unwrap();
        let bits = content(children(&key_info)[1])[1..].to_vec();
        let mut serial = octets(serial);
        if serial[0] >= 0x80 {
            serial.insert(0, 0);
        }
        Self {
            algorithm,
            parameters: NULL,
            name_hash: hash(digest, &name).unwrap().to_vec(),
            key_hash: hash(digest, &bits).unwrap().to_vec(),
            serial,
        }
    }

    pub fn der(&self) -> Vec<u8> {
        let algorithm = sequence(&[&tlv(6, &[self.algorithm]), self.parameters]);
        let (name, key) = (tlv(4, &[&self.name_hash]), tlv(4, &[&self.key_hash]));
        sequence(&[&algorithm, &name, &key, &tlv(2, &[&self.serial])])
    }
}

/// A request in the making.
#[derive(Clone, Default)]
pub struct Request {
    /// DER in front of the list of questions.
    pub version: Vec<u8>,
    pub cert_ids: Vec<Vec<u8>>,
    /// Extensions of the last question.
    pub question_extensions: Vec<Vec<u8>>,
    pub extensions: Vec<Vec<u8>>,
}

impl Request {
    /// About one certificate, without a nonce.
    pub fn about(cert_id: &CertId) -> Self {
        Self { cert_ids: vec![cert_id.der()], ..Self::default() }
    }

    pub fn with(mut self, extension: Vec<u8>) -> Self {
        self.extensions.push(extension);
        self
    }

    /// With a nonce as it should be: an OCTET STRING in an OCTET STRING.
    pub fn with_nonce(self, nonce: &[u8]) -> Self {
        self.with(extension(NONCE, &tlv(4, &[nonce])))
    }

    pub fn der(&self) -> Vec<u8> {
        let last = self.cert_ids.len().saturating_sub(1);
        let questions = self.cert_ids.iter().enumerate().map(|(number, cert_id)| {
            let here = if number == last { &self.question_extensions[..] } else { &[] };
            sequence(&[cert_id, &explicit_list(0xa0, here)])
        });
        let questions: Vec<_> = questions.collect();
        let questions = tlv(0x30, &questions.iter().map(Vec::as_slice).collect::<Vec<_>>());
        let extensions = explicit_list(0xa2, &self.extensions);
        sequence(&[&sequence(&[&self.version, &questions, &extensions])])
    }
}

/// An extension that is not critical.
pub fn extension(oid: &[u8], value: &[u8]) -> Vec<u8> {
    sequence(&[&tlv(6, &[oid]), &tlv(4, &[value])])
}

pub fn critical_extension(oid: &[u8], value: &[u8]) -> Vec<u8> {
    sequence(&[&tlv(6, &[oid]), &[1, 1, 0xff], &tlv(4, &[value])])
}

fn explicit_list(tag: u8, items: &[Vec<u8>]) -> Vec<u8> {
    if items.is_empty() {
        return Vec::new();
    }
    let items: Vec<_> = items.iter().map(Vec::as_slice).collect();
    tlv(tag, &[&tlv(0x30, &items)])
}

/// Octets written in hexadecimal.
pub fn octets(hexadecimal: &str) -> Vec<u8> {
    let pairs = hexadecimal.as_bytes().chunks(2).map(|pair| str::from_utf8(pair).unwrap());
    pairs.map(|pair| u8::from_str_radix(pair, 16).unwrap()).collect()
}

/// A successful answer, with its raw parts.
pub struct Answer {
    pub der: Vec<u8>,
    pub basic: BasicOcspResponse,
}

/// What a successful answer says of each certificate, as [`status`] has it.
#[track_caller]
pub fn statuses(der: &[u8]) -> Vec<String> {
    Answer::read(der).statuses()
}

/// The status of one certificate, in words: `good`, `unknown`, `revoked 1767323045 1`
/// (seconds since the epoch, CRLReason or `-`).
pub fn status(single: &SingleResponse) -> String {
    match &single.cert_status {
        x509_ocsp::CertStatus::Good(_) => "good".to_owned(),
        x509_ocsp::CertStatus::Unknown(_) => "unknown".to_owned(),
        x509_ocsp::CertStatus::Revoked(info) => {
            let reason =
                info.revocation_reason.map_or("-".to_owned(), |reason| (reason as u32).to_string());
            format!("revoked {} {reason}", seconds(&info.revocation_time))
        }
    }
}

pub fn seconds(time: &x509_ocsp::OcspGeneralizedTime) -> i64 {
    i64::try_from(time.0.to_unix_duration().as_secs()).unwrap()
}

impl Answer {
    /// Reads an answer; a second parser must take it and write the same octets again.
    #[track_caller]
    pub fn read(der: &[u8]) -> Self {
        let response = OcspResponse::from_der(der).unwrap_or_else(|e| panic!("{e}: {der:02x?}"));
        assert_eq!(response.to_der().unwrap(), der, "x509-ocsp writes it differently");
        let bytes = response.response_bytes.unwrap_or_else(|| panic!("an error: {der:02x?}"));
        let octets = bytes.response.as_bytes();
        let basic = BasicOcspResponse::from_der(octets).unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(basic.to_der().unwrap(), octets, "x509-ocsp writes it differently");
        Self { der: der.to_vec(), basic }
    }

    /// The statuses in order, as [`status`] words them.
    pub fn statuses(&self) -> Vec<String> {
        self.basic.tbs_response_data.responses.iter().map(status).collect()
    }

    /// thisUpdate, producedAt and nextUpdate of the first, in seconds since the epoch.
    pub fn times(&self) -> (i64, i64, i64) {
        let data = &self.basic.tbs_response_data;
        let first = &data.responses[0];
        let next_update = first.next_update.as_ref().expect("nextUpdate");
        (seconds(&first.this_update), seconds(&data.produced_at), seconds(next_update))
    }

    /// extnValue of an extension of the response.
    pub fn extension(&self, oid: &[u8]) -> Option<Vec<u8>> {
        let mut all = self.basic.tbs_response_data.response_extensions.iter().flatten();
        let found = all.find(|extension| extension.extn_id.as_bytes() == oid)?;
        Some(found.extn_value.as_bytes().to_vec())
    }

    /// Whether this certificate's key signed it, by the algorithm that it states.
    pub fn is_signed_by(&self, signer: &X509) -> bool {
        let key = signer.public_key().unwrap();
        let basic = raw_basic(&self.der);
        let parts = children(&basic);
        let signature = &content(parts[2])[1..];
        let digest = match self.basic.signature_algorithm.oid.to_string().as_str() {
            "1.2.840.113549.1.1.11" | "1.2.840.10045.4.3.2" => MessageDigest::sha256(),
            "1.2.840.10045.4.3.3" => MessageDigest::sha384(),
            "1.2.840.10045.4.3.4" => MessageDigest::sha512(),
            "1.3.101.112" | "1.3.101.113" => {
                let mut verifier = Verifier::new_without_digest(&key).unwrap();
                return verifier.verify_oneshot(signature, parts[0]).unwrap();
            }
            other => panic!("signed by {other}"),
        };
        Verifier::new(digest, &key).unwrap().verify_oneshot(signature, parts[0]).unwrap()
    }
}

/// DER of each CertID of an answer, whether or not the second parser would take it.
pub fn raw_cert_ids(der: &[u8]) -> Vec<Vec<u8>> {
    let basic = raw_basic(der);
    let data = children(children(&basic)[0]);
    children(data[2]).into_iter().map(|single| children(single)[0].to_vec()).collect()
}

/// DER of the BasicOCSPResponse in an answer.
pub fn raw_basic(der: &[u8]) -> Vec<u8> {
    let explicit = children(der)[1];
    let response_bytes = children(explicit)[0];
    content(children(response_bytes)[1]).to_vec()
}
