//! The nonce of a request (RFC 9654 section 2.1).

use crate::ocsp::request::RequestError;

/// 1 to 128 octets that the asker chose, borrowed from the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Nonce<'a> {
    extn_value: &'a [u8],
}

impl<'a> Nonce<'a> {
    /// Takes the extnValue of the extension: DER of an OCTET STRING of 1 to 128 octets.
    ///
    /// # Errors
    ///
    /// [`RequestError::Nonce`] for anything else; answered as `malformedRequest`.
    pub fn from_extension(extn_value: &'a [u8]) -> Result<Self, RequestError> {
        let octets: &[u8] = asn1::parse_single(extn_value).map_err(|_| RequestError::Nonce)?;
        (1..=128).contains(&octets.len()).then_some(Self { extn_value }).ok_or(RequestError::Nonce)
    }

    /// The extnValue, to be repeated in the response.
    #[must_use]
    pub fn extn_value(&self) -> &'a [u8] {
        self.extn_value
    }
}
