//! A question, sent, and its answer read and judged.

use std::time::Instant;

use der::{Decode, Encode};
use ocsp_fcgi::time::{Clock, SystemClock};
use openssl::x509::X509;
use x509_ocsp::{BasicOcspResponse, OcspResponse, OcspResponseStatus};

use crate::client::{Client, Fetched};
use crate::support::client::{escaped, get, post};
use crate::support::ocsp::{Answer, CertId, NONCE, Request, seconds, status};
use crate::truth::{Status, Truth};

/// Asks questions about one CA's certificates, and knows what must be answered.
pub struct Examiner<'w> {
    pub authority: X509,
    pub template: CertId,
    pub truth: &'w Truth,
}

/// How a question is put.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    Get,
    Post,
    /// A POST with a nonce.
    Nonce,
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    Said(Status),
    TryLater,
    /// Another error of OCSP.
    Refused,
    /// A status code of HTTP other than 200.
    Http,
    /// No connection, or no whole response.
    Nothing,
    Wrong(String),
}

/// Whether the signature is checked, which costs more than the rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signature {
    Checked,
    Taken,
}

impl Examiner<'_> {
    /// Asks about a certificate; `number` makes the nonce.
    pub fn ask(
        &self,
        client: &mut Client,
        certificate: u32,
        form: Form,
        (number, signature): (u32, Signature),
    ) -> Outcome {
        let mut cert_id = self.template.clone();
        cert_id.serial = serial(certificate).to_be_bytes()[1..].to_vec();
        let mut request = Request::about(&cert_id);
        let nonce = [&number.to_be_bytes()[..], &[7; 12]].concat();
        if form == Form::Nonce {
            request = request.with_nonce(&nonce);
        }
        let der = request.der();
        let http = if form == Form::Get { get(&format!("/{}", escaped(&der))) } else { post(&der) };
        let sent = Instant::now();
        let body = match client.fetch(&http) {
            Fetched::Body(body) => body,
            Fetched::NotOk => return Outcome::Http,
            Fetched::Nothing => return Outcome::Nothing,
        };
        let nonce = (form == Form::Nonce).then_some(&nonce[..]);
        let said = match self.read(&body, &cert_id.der(), nonce, signature) {
            Ok(Ok(said)) => said,
            Ok(Err(refusal)) => return refusal,
            Err(problem) => return Outcome::Wrong(format!("certificate {certificate}: {problem}")),
        };
        match self.truth.refutes(certificate, said, sent) {
            None => Outcome::Said(said),
            Some(problem) => Outcome::Wrong(problem),
        }
    }

    /// The status that an answer gives, or the error that it is.
    fn read(
        &self,
        der: &[u8],
        cert_id: &[u8],
        nonce: Option<&[u8]>,
        signature: Signature,
    ) -> Result<Result<Status, Outcome>, String> {
        let response = OcspResponse::from_der(der).map_err(|error| error.to_string())?;
        match response.response_status {
            OcspResponseStatus::Successful => {}
            OcspResponseStatus::TryLater => return Ok(Err(Outcome::TryLater)),
            _ => return Ok(Err(Outcome::Refused)),
        }
        let bytes = response.response_bytes.ok_or("no responseBytes")?;
        let basic = BasicOcspResponse::from_der(bytes.response.as_bytes());
        let basic = basic.map_err(|error| error.to_string())?;
        let [single] = &basic.tbs_response_data.responses[..] else {
            return Err("not about one certificate".to_owned());
        };
        if single.cert_id.to_der().map_err(|error| error.to_string())? != cert_id {
            return Err("about another certificate".to_owned());
        }
        let now = SystemClock.now().unix();
        let next_update = single.next_update.as_ref().map_or(0, seconds);
        if seconds(&single.this_update) > now || next_update < now {
            return Err("not valid now".to_owned());
        }
        let said = match status(single).as_bytes().first() {
            Some(b'g') => Status::Good,
            Some(b'r') => Status::Revoked,
            _ => Status::Unknown,
        };
        let answer = Answer { der: der.to_vec(), basic };
        if let Some(nonce) = nonce
            && answer.extension(NONCE).is_none_or(|value| !value.ends_with(nonce))
        {
            return Err("without the nonce".to_owned());
        }
        if signature == Signature::Checked && !answer.is_signed_by(&self.authority) {
            return Err("signature is wrong".to_owned());
        }
        Ok(Ok(said))
    }
}

/// The serial of a certificate, of three octets.
pub fn serial(certificate: u32) -> u32 {
    FIRST_SERIAL + certificate
}

pub const FIRST_SERIAL: u32 = 0x10_0000;
