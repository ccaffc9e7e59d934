//! The configured issuers, found by CertID.

use std::sync::Arc;

use crate::cache::ResponseCache;
use crate::ocsp::response::SignedAnswer;
use crate::ocsp::{CertId, ResponderId};
use crate::responder::policy::ResponderIdKind;
use crate::signer::Signer;
use crate::signer::certificate::Certificate;
use crate::status::IssuerId;
use crate::store::StatusStore;
use crate::time::Timestamp;

/// A CA that answers are given about, with what signs and keeps them.
pub struct Issuer {
    id: IssuerId,
    certificate: Certificate,
    signer: Signer,
    responder_id: ResponderId,
    store: Arc<dyn StatusStore>,
    cache: ResponseCache,
}

/// The CAs, in the order of the configuration.
pub struct Issuers(Vec<Issuer>);

impl Issuer {
    /// Puts a CA and its signer together. Whether the one may sign for the other
    /// has been checked (`Certificate::may_sign_for`).
    #[must_use]
    pub fn new(
        id: IssuerId,
        certificate: Certificate,
        signer: Signer,
        responder_id: ResponderIdKind,
        (store, cache): (Arc<dyn StatusStore>, ResponseCache),
    ) -> Self {
        let responder_id = match responder_id {
            ResponderIdKind::ByKey => ResponderId::ByKey(signer.certificate().hashes().key_sha1()),
            ResponderIdKind::ByName => {
                ResponderId::ByName(signer.certificate().subject_der().to_vec())
            }
        };
        Self { id, certificate, signer, responder_id, store, cache }
    }

    /// What the status store knows it by.
    #[must_use]
    pub fn id(&self) -> IssuerId {
        self.id
    }

    /// What signs.
    #[must_use]
    pub fn signer(&self) -> &Signer {
        &self.signer
    }

    /// What answers name their signer by.
    #[must_use]
    pub fn responder_id(&self) -> &ResponderId {
        &self.responder_id
    }

    /// Where the statuses of its certificates come from.
    #[must_use]
    pub fn store(&self) -> &dyn StatusStore {
        &*self.store
    }

    /// What is kept.
    #[must_use]
    pub fn cache(&self) -> &ResponseCache {
        &self.cache
    }

    /// Whether a CertID names this CA.
    #[must_use]
    pub fn is_named_by(&self, cert_id: &CertId<'_>) -> bool {
        cert_id.names(self.certificate.hashes())
    }

    /// The certificate to be sent along: a delegated signer's, never the CA's
    /// own, which the client has.
    #[must_use]
    pub fn certificate_to_send(&self) -> Option<&[u8]> {
        let signer = self.signer.certificate().der();
        (signer != self.certificate.der()).then_some(signer)
    }

    /// The last second that an answer may reach to.
    #[must_use]
    pub fn ends(&self) -> Timestamp {
        self.signer.certificate().not_after().min(self.certificate.not_after())
    }

    /// Whether a cached answer was signed by this signer, as it signs now.
    #[must_use]
    pub fn has_signed(&self, answer: &SignedAnswer<'_>) -> bool {
        answer.responder_id == self.responder_id
            && answer.signature_algorithm == self.signer.algorithm().identifier_der()
            && answer.response.validity.next_update <= self.ends()
            && self.signer.verify(answer.tbs_response_data, answer.signature)
    }
}

impl Issuers {
    /// Takes the CAs.
    #[must_use]
    pub fn new(issuers: Vec<Issuer>) -> Self {
        Self(issuers)
    }

    /// The CA that a CertID names.
    #[must_use]
    pub fn find(&self, cert_id: &CertId<'_>) -> Option<&Issuer> {
        self.0.iter().find(|issuer| issuer.is_named_by(cert_id))
    }

    /// Every CA.
    pub fn iter(&self) -> impl Iterator<Item = &Issuer> {
        self.0.iter()
    }
}
