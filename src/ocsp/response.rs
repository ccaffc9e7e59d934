//! Answers into DER, unsigned and then signed, and the error responses (RFC 6960 section
//! 4.2). `reading` has the way back.

use asn1::{DateTime, Enumerated, SequenceOfWriter, Tlv, X509GeneralizedTime};

use crate::ocsp::algorithm::SignatureAlgorithm;
use crate::ocsp::asn1 as syntax;
use crate::ocsp::nonce::Nonce;
use crate::status::CertStatus;
use crate::time::{Timestamp, Validity};

mod reading;

pub use reading::{HasNonce, SignedAnswer, single_answers};

/// What a response says, before it is signed.
#[derive(Clone, Debug)]
pub struct Answer<'a> {
    /// Who signs.
    pub responder_id: &'a ResponderId,
    /// When.
    pub produced_at: Timestamp,
    /// One for each question, in order; at least one.
    pub responses: Vec<SingleAnswer<'a>>,
    /// The nonce of the request, repeated.
    pub nonce: Option<Nonce<'a>>,
    /// Whether a never-issued serial is answered `revoked` (section 4.4.8).
    pub extended_revoke: ExtendedRevoke,
}

/// Whether the extended-revoked extension stands in the response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExtendedRevoke {
    /// It does.
    Stated,
    /// It does not.
    Absent,
}

/// The answer to one question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SingleAnswer<'a> {
    /// DER of the CertID, as the question had it.
    pub cert_id: &'a [u8],
    /// The status.
    pub status: CertStatus,
    /// thisUpdate and nextUpdate.
    pub validity: Validity,
    /// The earliest end of a certificate that statuses are still told of
    /// (section 4.4.4).
    pub archive_cutoff: Option<Timestamp>,
}

/// How a response names its signer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ResponderId {
    /// SHA-1 of its public key.
    ByKey([u8; 20]),
    /// DER of its subject name.
    ByName(Vec<u8>),
}

/// The unsuccessful values of OCSPResponseStatus (section 4.2.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the names are the RFC's")]
pub enum ErrorStatus {
    MalformedRequest,
    InternalError,
    TryLater,
    SigRequired,
    Unauthorized,
}

/// Why octets are no response of ours, or values make none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a basic OCSP response about one certificate")]
pub struct ResponseError;

impl Answer<'_> {
    /// DER of ResponseData: what is to be signed.
    ///
    /// # Errors
    ///
    /// [`ResponseError`] when a CertID or name is no DER, or memory runs out.
    pub fn to_be_signed(&self) -> Result<Vec<u8>, ResponseError> {
        let cutoffs = self.responses.iter().map(archive_cutoff).collect::<Result<Vec<_>, _>>()?;
        let cutoffs: Vec<_> = cutoffs
            .iter()
            .map(|cutoff| cutoff.as_deref().map(|value| [extension(value)]))
            .collect();
        let responses = self
            .responses
            .iter()
            .zip(&cutoffs)
            .map(|(response, cutoff)| {
                single_response(response, cutoff.as_ref().map(|one| &one[..]))
            })
            .collect::<Result<Vec<_>, _>>()?;
        let mut extensions = Vec::new();
        if let Some(nonce) = &self.nonce {
            extensions.push(syntax::Extension {
                extn_id: syntax::ID_PKIX_OCSP_NONCE,
                critical: false,
                extn_value: nonce.extn_value(),
            });
        }
        if self.extended_revoke == ExtendedRevoke::Stated {
            extensions.push(syntax::Extension {
                extn_id: syntax::ID_PKIX_OCSP_EXTENDED_REVOKE,
                critical: false,
                extn_value: DER_NULL,
            });
        }
        let data = syntax::ResponseDataWriter {
            responder_id: match self.responder_id {
                ResponderId::ByKey(hash) => syntax::ResponderId::ByKey(hash),
                ResponderId::ByName(name) => syntax::ResponderId::ByName(tlv(name)?),
            },
            produced_at: generalized_time(self.produced_at)?,
            responses: SequenceOfWriter::new(&responses),
            response_extensions: (!extensions.is_empty())
                .then(|| SequenceOfWriter::new(extensions.as_slice())),
        };
        asn1::write_single(&data).map_err(|_| ResponseError)
    }
}

/// Puts ResponseData, its signature and the delegated signer's certificate
/// together: DER of a successful OCSPResponse.
///
/// # Errors
///
/// [`ResponseError`] when a part is no DER, or memory runs out.
pub fn assemble(
    to_be_signed: &[u8],
    algorithm: SignatureAlgorithm,
    signature: &[u8],
    certificate: Option<&[u8]>,
) -> Result<Vec<u8>, ResponseError> {
    let certificates = certificate.map(tlv).transpose()?.map(|certificate| [certificate]);
    let basic = syntax::BasicOcspResponseWriter {
        tbs_response_data: tlv(to_be_signed)?,
        signature_algorithm: tlv(algorithm.identifier_der())?,
        signature: asn1::BitString::new(signature, 0).ok_or(ResponseError)?,
        certs: certificates.as_ref().map(|list| SequenceOfWriter::new(list.as_slice())),
    };
    let response = asn1::write_single(&basic).map_err(|_| ResponseError)?;
    asn1::write_single(&syntax::OcspResponse {
        response_status: Enumerated::new(0),
        response_bytes: Some(syntax::ResponseBytes {
            response_type: syntax::ID_PKIX_OCSP_BASIC,
            response: &response,
        }),
    })
    .map_err(|_| ResponseError)
}

impl ErrorStatus {
    /// The whole OCSPResponse: a status and no responseBytes.
    #[must_use]
    pub fn der(self) -> &'static [u8] {
        match self {
            Self::MalformedRequest => b"\x30\x03\x0a\x01\x01",
            Self::InternalError => b"\x30\x03\x0a\x01\x02",
            Self::TryLater => b"\x30\x03\x0a\x01\x03",
            Self::SigRequired => b"\x30\x03\x0a\x01\x05",
            Self::Unauthorized => b"\x30\x03\x0a\x01\x06",
        }
    }
}

fn archive_cutoff(answer: &SingleAnswer<'_>) -> Result<Option<Vec<u8>>, ResponseError> {
    let Some(cutoff) = answer.archive_cutoff else { return Ok(None) };
    asn1::write_single(&generalized_time(cutoff)?).map(Some).map_err(|_| ResponseError)
}

fn extension(archive_cutoff: &[u8]) -> syntax::Extension<'_> {
    let extn_id = syntax::ID_PKIX_OCSP_ARCHIVE_CUTOFF;
    syntax::Extension { extn_id, critical: false, extn_value: archive_cutoff }
}

fn single_response<'a>(
    answer: &SingleAnswer<'a>,
    extensions: Option<&'a [syntax::Extension<'a>]>,
) -> Result<syntax::SingleResponseWriter<'a>, ResponseError> {
    Ok(syntax::SingleResponseWriter {
        cert_id: tlv(answer.cert_id)?,
        cert_status: match answer.status {
            CertStatus::Good => syntax::CertStatus::Good(()),
            CertStatus::Unknown => syntax::CertStatus::Unknown(()),
            CertStatus::Revoked { time, reason } => {
                syntax::CertStatus::Revoked(syntax::RevokedInfo {
                    revocation_time: generalized_time(time)?,
                    revocation_reason: reason
                        .map(|reason| Enumerated::new(u32::from(reason.code()))),
                })
            }
        },
        this_update: generalized_time(answer.validity.this_update)?,
        next_update: Some(generalized_time(answer.validity.next_update)?),
        single_extensions: extensions.map(SequenceOfWriter::new),
    })
}

fn generalized_time(instant: Timestamp) -> Result<X509GeneralizedTime, ResponseError> {
    let civil = instant.civil();
    DateTime::new(civil.year, civil.month, civil.day, civil.hour, civil.minute, civil.second)
        .and_then(X509GeneralizedTime::new)
        .map_err(|_| ResponseError)
}

fn tlv(der: &[u8]) -> Result<Tlv<'_>, ResponseError> {
    asn1::parse_single(der).map_err(|_| ResponseError)
}

const DER_NULL: &[u8] = &[5, 0];

#[cfg(test)]
mod tests {
    use base64::Engine;

    use super::*;
    use crate::ocsp::Request;
    use crate::status::RevocationReason;

    fn at(text: (u16, u8, u8), time: (u8, u8, u8)) -> Timestamp {
        Timestamp::from_civil(text.0, text.1, text.2, time).unwrap()
    }

    fn data(name: &str) -> Vec<u8> {
        let path = format!("{}/tests/data/{name}.b64", env!("CARGO_MANIFEST_DIR"));
        let text: String = std::fs::read_to_string(path).unwrap().split_whitespace().collect();
        base64::engine::general_purpose::STANDARD.decode(text).unwrap()
    }

    // rule: RSP-2
    #[test]
    fn an_answer_of_the_earlier_responder_is_made_again_octet_by_octet() {
        let (request, answer) = (data("earlier-request"), data("earlier-answer"));
        let request = Request::from_der(&request, 1).unwrap();
        let signed = SignedAnswer::from_der(&answer).unwrap();
        assert_eq!(signed.response.cert_id, request.first().der());
        assert_eq!(signed.response.status, CertStatus::Good);
        let made = Answer {
            responder_id: &signed.responder_id,
            produced_at: at((2022, 12, 29), (13, 19, 9)),
            responses: vec![signed.response],
            nonce: None,
            extended_revoke: ExtendedRevoke::Absent,
        };
        let to_be_signed = made.to_be_signed().unwrap();
        assert_eq!(to_be_signed, signed.tbs_response_data);
        let whole = assemble(&to_be_signed, SignatureAlgorithm::RsaSha256, signed.signature, None);
        assert_eq!(whole.unwrap(), answer);
    }

    // rule: RSP-2
    #[test]
    fn an_answer_of_another_version_is_not_read() {
        let answer = data("earlier-answer");
        let signed = SignedAnswer::from_der(&answer).unwrap();
        let content = tlv(signed.tbs_response_data).unwrap().data();
        let with = |version: &[u8]| {
            let length = u8::try_from(version.len() + content.len()).unwrap();
            let to_be_signed = [&[0x30, 0x81, length], version, content].concat();
            assemble(&to_be_signed, SignatureAlgorithm::RsaSha256, signed.signature, None).unwrap()
        };
        assert!(SignedAnswer::from_der(&with(&[])).is_ok());
        assert!(SignedAnswer::from_der(&with(&[0xa0, 3, 2, 1, 1])).is_err());
    }

    // rule: ANS-6
    #[test]
    fn an_answer_with_an_error_status_or_about_two_certificates_is_none_that_is_kept() {
        let answer = data("earlier-answer");
        let signed = SignedAnswer::from_der(&answer).unwrap();
        let mut failed = answer.clone();
        let status = answer.windows(3).position(|octets| octets == [10, 1, 0]).unwrap() + 2;
        failed[status] = 3;
        assert!(SignedAnswer::from_der(&failed).is_err());
        let about = |responses| {
            let made = Answer {
                responder_id: &signed.responder_id,
                produced_at: signed.response.validity.this_update,
                responses,
                nonce: None,
                extended_revoke: ExtendedRevoke::Absent,
            };
            let to_be_signed = made.to_be_signed().unwrap();
            assemble(&to_be_signed, SignatureAlgorithm::RsaSha256, signed.signature, None).unwrap()
        };
        assert!(SignedAnswer::from_der(&about(vec![signed.response])).is_ok());
        assert!(SignedAnswer::from_der(&about(vec![signed.response; 2])).is_err());
    }

    // rule: ANS-2
    #[test]
    fn a_status_reads_back_as_it_was_written() {
        let request = data("earlier-request");
        let request = Request::from_der(&request, 1).unwrap();
        let time = at((2024, 2, 29), (0, 0, 1));
        let validity = Validity { this_update: time, next_update: time.saturating_add(DAY) };
        let reasons = RevocationReason::ALL.into_iter().map(Some).chain([None]);
        let revoked = reasons.map(|reason| CertStatus::Revoked { time, reason });
        for status in revoked.chain([CertStatus::Good, CertStatus::Unknown]) {
            let cert_id = request.first().der();
            let archive_cutoff = (status == CertStatus::Good).then_some(time);
            let response = SingleAnswer { cert_id, status, validity, archive_cutoff };
            let responder_id = ResponderId::ByName(vec![0x30, 0]);
            let algorithm = SignatureAlgorithm::Ed25519;
            let der = |nonce| {
                let answer = Answer {
                    responder_id: &responder_id,
                    produced_at: time,
                    responses: vec![response],
                    nonce,
                    extended_revoke: ExtendedRevoke::Stated,
                };
                let certificate = Some(&[0x30, 1, 0xff][..]);
                assemble(&answer.to_be_signed().unwrap(), algorithm, b"sig", certificate).unwrap()
            };
            assert!(SignedAnswer::from_der(&der(request.nonce())).is_err(), "for one client");
            let der = der(None);
            let read = SignedAnswer::from_der(&der).unwrap();
            assert_eq!((read.response, read.responder_id), (response, responder_id));
            assert_eq!(read.signature_algorithm, algorithm.identifier_der());
        }
    }

    // rule: REQ-2
    #[test]
    fn an_error_response_is_five_octets() {
        for (status, code) in [
            (ErrorStatus::MalformedRequest, 1),
            (ErrorStatus::InternalError, 2),
            (ErrorStatus::TryLater, 3),
            (ErrorStatus::SigRequired, 5),
            (ErrorStatus::Unauthorized, 6),
        ] {
            assert_eq!(status.der(), [0x30, 3, 10, 1, code]);
        }
    }

    const DAY: std::time::Duration = std::time::Duration::from_secs(86_400);
}
