//! The configured issuers, found by CertID, and who signs for them when.

use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::cache::survey::{self, SignerFolder};
use crate::cache::{Disk, ResponseCache};
use crate::ocsp::response::{SignedAnswer, assemble};
use crate::ocsp::{CertId, ResponderId};
use crate::responder::health::Health;
use crate::responder::policy::{Policy, ResponderIdKind};
use crate::signer::Signer;
use crate::signer::certificate::Certificate;
use crate::status::IssuerId;
use crate::store::StatusStore;
use crate::time::Timestamp;

/// A CA that answers are given about.
pub struct Issuer {
    id: IssuerId,
    certificate: Certificate,
    policy: Policy,
    store: Arc<dyn StatusStore>,
    /// In the order in which they take over; at least one.
    signatories: Vec<Signatory>,
    /// What is kept by those who are not configured here.
    others: Option<Arc<OtherSigners>>,
    health: Health,
}

/// A key that signs for an issuer, and the answers that it has signed.
struct Signatory {
    signer: Arc<Signer>,
    responder_id: ResponderId,
    cache: ResponseCache,
    certificate_to_send: Option<Vec<u8>>,
    takes_over: Timestamp,
    ends: Timestamp,
}

/// An issuer, with the one who signs for it now.
#[derive(Clone, Copy)]
pub struct Acting<'a> {
    issuer: &'a Issuer,
    signatory: &'a Signatory,
}

/// The CAs, in the order of the configuration.
pub struct Issuers(Vec<Issuer>);

/// When a successor takes over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TakeOver {
    /// So early that no answer of its predecessor has to be cut short by the end of
    /// the predecessor's certificate; not before its own begins.
    BeforeTheEnd,
    /// At this instant.
    At(Timestamp),
}

impl TakeOver {
    /// The instant, for a successor with this certificate, where its predecessor ends then and
    /// answers live for `validity`.
    #[must_use]
    pub fn instant(
        self,
        certificate: &Certificate,
        predecessor_ends: Timestamp,
        validity: Duration,
    ) -> Timestamp {
        match self {
            // Nobody signs after the end.
            Self::At(instant) => instant.min(predecessor_ends.max(certificate.not_before())),
            Self::BeforeTheEnd => {
                predecessor_ends.saturating_sub(validity).max(certificate.not_before())
            }
        }
    }
}

/// Those whose answers are below a cache folder, and who do not sign here.
struct OtherSigners {
    folder: PathBuf,
    configured: Vec<SignerFolder>,
}

impl Issuer {
    /// A CA without anybody to sign for it yet.
    #[must_use]
    pub fn new(
        id: IssuerId,
        certificate: Certificate,
        policy: Policy,
        store: Arc<dyn StatusStore>,
    ) -> Self {
        let (signatories, others, health) = (Vec::new(), None, Health::new());
        Self { id, certificate, policy, store, signatories, others, health }
    }

    /// Adds who signs next, after those who are there. Whether the certificate may
    /// sign for this CA has been checked (`Certificate::may_sign_for`).
    pub fn add(&mut self, signer: Signer, cache: ResponseCache, take_over: TakeOver) {
        let certificate = signer.certificate();
        let responder_id = match self.policy.responder_id {
            ResponderIdKind::ByKey => ResponderId::ByKey(certificate.hashes().key_sha1()),
            ResponderIdKind::ByName => ResponderId::ByName(certificate.subject_der().to_vec()),
        };
        // The CA's own certificate is never sent: the client has it.
        let certificate_to_send =
            (certificate.der() != self.certificate.der()).then(|| certificate.der().to_vec());
        let takes_over = match self.signatories.last() {
            None => Timestamp::from_unix(i64::MIN),
            Some(predecessor) => {
                take_over.instant(certificate, predecessor.ends, self.policy.validity)
            }
        };
        let ends = certificate.not_after().min(self.certificate.not_after());
        self.signatories.push(Signatory {
            signer: Arc::new(signer),
            responder_id,
            cache,
            certificate_to_send,
            takes_over,
            ends,
        });
    }

    /// Who signs at `now`; `None` while nobody was added.
    #[must_use]
    pub fn acting(&self, now: Timestamp) -> Option<Acting<'_>> {
        let signatory = self.signatories.iter().rev().find(|one| one.takes_over <= now);
        signatory.map(|signatory| Acting { issuer: self, signatory })
    }

    /// The issuer with each of those who sign or will sign, as if it were its turn.
    pub fn each_acting(&self) -> impl Iterator<Item = Acting<'_>> {
        self.signatories.iter().map(|signatory| Acting { issuer: self, signatory })
    }

    /// What the log knows it by.
    #[must_use]
    pub fn id(&self) -> IssuerId {
        self.id
    }

    /// The CA's certificate.
    #[must_use]
    pub fn certificate(&self) -> &Certificate {
        &self.certificate
    }

    /// How answers about its certificates are made.
    #[must_use]
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// Where the statuses of its certificates come from.
    #[must_use]
    pub fn store(&self) -> &dyn StatusStore {
        &*self.store
    }

    /// The answers, below the cache folder, of signers that are not configured here, as they are
    /// now: of those who signed before and may again, and of other processes that are to be
    /// reloaded, or were.
    pub(super) fn others(&self) -> Vec<Disk> {
        self.others.as_ref().map_or_else(Vec::new, |others| others.disks())
    }

    /// How its store and key are.
    pub(super) fn health(&self) -> &Health {
        &self.health
    }

    /// Whether a CertID names this CA.
    #[must_use]
    pub fn is_named_by(&self, cert_id: &CertId<'_>) -> bool {
        cert_id.names(self.certificate.hashes())
    }
}

impl<'a> Acting<'a> {
    /// What signs.
    #[must_use]
    pub fn signer(self) -> &'a Arc<Signer> {
        &self.signatory.signer
    }

    /// What answers name their signer by.
    #[must_use]
    pub fn responder_id(self) -> &'a ResponderId {
        &self.signatory.responder_id
    }

    /// What it has signed.
    #[must_use]
    pub fn cache(self) -> &'a ResponseCache {
        &self.signatory.cache
    }

    /// The delegated signer's certificate, which is sent along.
    #[must_use]
    pub fn certificate_to_send(self) -> Option<&'a [u8]> {
        self.signatory.certificate_to_send.as_deref()
    }

    /// When it begins to sign.
    #[must_use]
    pub fn takes_over(self) -> Timestamp {
        self.signatory.takes_over
    }

    /// The last second that an answer may reach to.
    #[must_use]
    pub fn ends(self) -> Timestamp {
        self.signatory.ends
    }

    /// Whether a cached answer was signed by this signer, as it signs now, and is sent as it
    /// sends: its signature says nothing of the certificates that stand beside it.
    #[must_use]
    pub fn has_signed(self, answer: &SignedAnswer<'_>) -> bool {
        answer.responder_id == self.signatory.responder_id
            && answer.signature_algorithm == self.signer().algorithm().identifier_der()
            && answer.response.validity.next_update <= self.ends()
            && assemble(
                answer.tbs_response_data,
                self.signer().algorithm(),
                answer.signature,
                self.certificate_to_send(),
            )
            .is_ok_and(|der| der == answer.der)
            && self.signer().verify(answer.tbs_response_data, answer.signature)
    }
}

impl Deref for Acting<'_> {
    type Target = Issuer;

    fn deref(&self) -> &Issuer {
        self.issuer
    }
}

impl OtherSigners {
    fn disks(&self) -> Vec<Disk> {
        // Where it cannot be read, nothing is found there either.
        let found = survey::signer_folders(&self.folder).unwrap_or_default();
        let others = found.into_iter().filter(|found| !self.configured.contains(found));
        others.map(|folder| Disk::at(folder.path)).collect()
    }
}

impl Issuers {
    /// Takes the CAs.
    #[must_use]
    pub fn new(issuers: Vec<Issuer>) -> Self {
        Self(issuers)
    }

    /// The same, where signers that are not configured here may have answers below `folder`, which
    /// are to be found overtaken by whoever gives them.
    #[must_use]
    pub fn with_others_in(mut self, folder: &Path) -> Self {
        let signatories = self.0.iter().flat_map(|issuer| &issuer.signatories);
        let certificates = signatories.map(|one| one.signer.certificate().der());
        let configured = certificates.map(|der| SignerFolder::of(folder, der)).collect();
        let others = Arc::new(OtherSigners { folder: folder.to_owned(), configured });
        for issuer in &mut self.0 {
            issuer.others = Some(Arc::clone(&others));
        }
        self
    }

    /// The CA that a CertID names, and who signs for it at `now`.
    #[must_use]
    pub fn find(&self, cert_id: &CertId<'_>, now: Timestamp) -> Option<Acting<'_>> {
        self.0.iter().find(|issuer| issuer.is_named_by(cert_id))?.acting(now)
    }

    /// Every CA.
    pub fn iter(&self) -> impl Iterator<Item = &Issuer> {
        self.0.iter()
    }
}
