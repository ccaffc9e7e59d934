//! Decodes OCSP requests from DER (RFC 6960 section 4.1).
//!
//! Pure: no I/O, no clock, no policy. A signature is decoded and not checked:
//! signing is optional (section 4.1.2), so whether to demand it is not for the
//! codec. The input is untrusted.

use crate::ocsp::asn1 as syntax;
use crate::ocsp::cert_id::CertId;
use crate::ocsp::nonce::Nonce;
use crate::serial::SerialError;

/// A request: at least one question, borrowed from its DER.
#[derive(Clone, Debug)]
pub struct Request<'a> {
    first: CertId<'a>,
    rest: Vec<CertId<'a>>,
    nonce: Option<Nonce<'a>>,
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
}

impl<'a> Request<'a> {
    /// Reads a request of at most `limit` questions.
    ///
    /// # Errors
    ///
    /// [`RequestError`], answered as `malformedRequest` (section 2.3).
    pub fn from_der(der: &'a [u8], limit: usize) -> Result<Self, RequestError> {
        let request: syntax::OcspRequest<'a> =
            asn1::parse_single(der).map_err(|_| RequestError::NotDer)?;
        let tbs_request = request.tbs_request;
        if tbs_request.version.is_some_and(|version| version != 0) {
            return Err(RequestError::Version);
        }
        if tbs_request.request_list.len() > limit {
            return Err(RequestError::TooMany);
        }
        let nonce = extensions(tbs_request.request_extensions, Level::Request)?;
        let mut questions = tbs_request.request_list;
        let first = question(questions.next().ok_or(RequestError::NotDer)?)?;
        // One question is the rule, and an empty Vec allocates nothing.
        let rest = questions.map(question).collect::<Result<Vec<_>, _>>()?;
        Ok(Self { first, rest, nonce })
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

    /// The nonce.
    #[must_use]
    pub fn nonce(&self) -> Option<Nonce<'a>> {
        self.nonce
    }
}

/// Where an extension stands: none that we know belongs to a single question.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Level {
    Request,
    Question,
}

type Extensions<'a> = Option<asn1::SequenceOf<'a, syntax::Extension<'a>, 1>>;

fn question(request: syntax::Request<'_>) -> Result<CertId<'_>, RequestError> {
    extensions(request.single_request_extensions, Level::Question)?;
    CertId::from_der(request.req_cert.full_data())
}

fn extensions(list: Extensions<'_>, level: Level) -> Result<Option<Nonce<'_>>, RequestError> {
    let Some(list) = list else { return Ok(None) };
    if list.len() > MAX_EXTENSIONS {
        return Err(RequestError::NotDer);
    }
    let mut nonce = None;
    let mut later = list.clone();
    for extension in list {
        later.next();
        if later.clone().any(|other| other.extn_id == extension.extn_id) {
            return Err(RequestError::DuplicateExtension);
        }
        match (level, extension.extn_id) {
            (Level::Request, syntax::ID_PKIX_OCSP_NONCE) => {
                nonce = Some(Nonce::from_extension(extension.extn_value)?);
            }
            // id-pkix-ocsp-basic is all there is, and is sent whatever the list
            // holds (section 4.4.3).
            (Level::Request, syntax::ID_PKIX_OCSP_RESPONSE) => {}
            (Level::Request, syntax::ID_PKIX_OCSP_PREF_SIG_ALGS) => {}
            _ if extension.critical => return Err(RequestError::CriticalExtension),
            _ => {}
        }
    }
    Ok(nonce)
}

/// The search for duplicates is quadratic, so an attacker must not choose the number.
const MAX_EXTENSIONS: usize = 32;
