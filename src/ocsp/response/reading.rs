//! Responses out of DER: our own, for the disk cache, and those that others signed for
//! us (RFC 6960 section 4.2). Checks no signature.

use asn1::X509GeneralizedTime;

use crate::ocsp::asn1 as syntax;
use crate::ocsp::response::{ResponderId, ResponseError, SingleAnswer};
use crate::status::{CertStatus, RevocationReason};
use crate::time::{Timestamp, Validity};

/// A signed response of our own, read again.
#[derive(Debug)]
pub struct SignedAnswer<'a> {
    /// The whole OCSPResponse.
    pub der: &'a [u8],
    /// What the signature is over.
    pub tbs_response_data: &'a [u8],
    /// DER of the AlgorithmIdentifier.
    pub signature_algorithm: &'a [u8],
    /// The signature.
    pub signature: &'a [u8],
    /// Who signed.
    pub responder_id: ResponderId,
    /// The one answer in it.
    pub response: SingleAnswer<'a>,
}

/// Whether a response carries a nonce.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HasNonce {
    /// It does: it was made for one request.
    Yes,
    /// It does not.
    No,
}

impl<'a> SignedAnswer<'a> {
    /// Reads a successful response about exactly one certificate, which was made for
    /// nobody in particular: without a nonce.
    ///
    /// # Errors
    ///
    /// [`ResponseError`] for anything else. The signature is not checked here.
    pub fn from_der(der: &'a [u8]) -> Result<Self, ResponseError> {
        let (basic, data) = successful(der)?;
        if nonce(&data) == HasNonce::Yes {
            return Err(ResponseError);
        }
        let mut responses = data.responses;
        let (Some(response), None) = (responses.next(), responses.next()) else {
            return Err(ResponseError);
        };
        Ok(Self {
            der,
            tbs_response_data: basic.tbs_response_data.full_data(),
            signature_algorithm: basic.signature_algorithm.full_data(),
            signature: basic.signature.as_bytes(),
            responder_id: match data.responder_id {
                syntax::ResponderId::ByKey(hash) => {
                    ResponderId::ByKey(hash.try_into().map_err(|_| ResponseError)?)
                }
                syntax::ResponderId::ByName(name) => ResponderId::ByName(name.full_data().to_vec()),
            },
            response: single(response)?,
        })
    }
}

/// What a successful response says, of each certificate in it.
///
/// # Errors
///
/// [`ResponseError`] for anything else, and where a nextUpdate is missing. The
/// signature is not checked here.
pub fn single_answers(der: &[u8]) -> Result<(Vec<SingleAnswer<'_>>, HasNonce), ResponseError> {
    let (_, data) = successful(der)?;
    let nonce = nonce(&data);
    Ok((data.responses.map(single).collect::<Result<_, _>>()?, nonce))
}

fn nonce(data: &syntax::ResponseData<'_>) -> HasNonce {
    let mut extensions = data.response_extensions.clone().into_iter().flatten();
    match extensions.any(|one| one.extn_id == syntax::ID_PKIX_OCSP_NONCE) {
        true => HasNonce::Yes,
        false => HasNonce::No,
    }
}

fn successful(
    der: &[u8],
) -> Result<(syntax::BasicOcspResponse<'_>, syntax::ResponseData<'_>), ResponseError> {
    let outer: syntax::OcspResponse<'_> = asn1::parse_single(der).map_err(|_| ResponseError)?;
    let bytes = outer.response_bytes.ok_or(ResponseError)?;
    if outer.response_status.value() != 0 || bytes.response_type != syntax::ID_PKIX_OCSP_BASIC {
        return Err(ResponseError);
    }
    let basic: syntax::BasicOcspResponse<'_> =
        asn1::parse_single(bytes.response).map_err(|_| ResponseError)?;
    let data: syntax::ResponseData<'_> =
        basic.tbs_response_data.parse().map_err(|_| ResponseError)?;
    if data.version != 0 {
        return Err(ResponseError);
    }
    Ok((basic, data))
}

fn single(response: syntax::SingleResponse<'_>) -> Result<SingleAnswer<'_>, ResponseError> {
    Ok(SingleAnswer {
        cert_id: response.cert_id.full_data(),
        status: status(&response.cert_status)?,
        validity: Validity {
            this_update: timestamp(&response.this_update)?,
            next_update: timestamp(&response.next_update.ok_or(ResponseError)?)?,
        },
        archive_cutoff: archive_cutoff(response.single_extensions)?,
    })
}

fn archive_cutoff<'a>(
    extensions: Option<asn1::SequenceOf<'a, syntax::Extension<'a>, 1>>,
) -> Result<Option<Timestamp>, ResponseError> {
    let mut extensions = extensions.into_iter().flatten();
    let cutoff = extensions.find(|one| one.extn_id == syntax::ID_PKIX_OCSP_ARCHIVE_CUTOFF);
    let Some(cutoff) = cutoff else { return Ok(None) };
    timestamp(&asn1::parse_single(cutoff.extn_value).map_err(|_| ResponseError)?).map(Some)
}

fn status(status: &syntax::CertStatus) -> Result<CertStatus, ResponseError> {
    Ok(match status {
        syntax::CertStatus::Good(()) => CertStatus::Good,
        syntax::CertStatus::Unknown(()) => CertStatus::Unknown,
        syntax::CertStatus::Revoked(info) => CertStatus::Revoked {
            time: timestamp(&info.revocation_time)?,
            // What others sign may have `unspecified` written out, as OpenSSL does it, or a reason
            // that there is not yet.
            reason: info
                .revocation_reason
                .as_ref()
                .and_then(|code| RevocationReason::from_code(code.value())),
        },
    })
}

fn timestamp(time: &X509GeneralizedTime) -> Result<Timestamp, ResponseError> {
    let date = time.as_datetime();
    let time = (date.hour(), date.minute(), date.second());
    Timestamp::from_civil(date.year(), date.month(), date.day(), time).ok_or(ResponseError)
}
