//! A key as OpenSSL has loaded it: signs digests and messages.

use std::sync::{Mutex, OnceLock, PoisonError};

use openssl::error::ErrorStack;
use openssl::hash::MessageDigest;
use openssl::md::Md;
use openssl::md_ctx::MdCtx;
use openssl::pkey::{PKey, Private};
use openssl::pkey_ctx::PkeyCtx;
use openssl::rsa::Padding;
use openssl::sign::{RsaPssSaltlen, Signer as MessageSigner};

use crate::ocsp::SignatureAlgorithm;
use crate::signer::reasons::Reasons;

/// A loaded key, with what makes it sign quickly.
pub(super) struct Handle {
    key: PKey<Private>,
    /// Contexts made ready for this key and an algorithm, one for each thread that
    /// signs at the same time: setting one up costs more than a P-256 signature.
    contexts: Mutex<Vec<Contexts>>,
    /// Why it no longer signs.
    death: OnceLock<Reasons>,
}

impl Handle {
    pub fn new(key: PKey<Private>) -> Self {
        Self { key, contexts: Mutex::default(), death: OnceLock::new() }
    }

    /// Says that it is not to be used any more.
    pub fn bury(&self, reasons: Reasons) {
        let _others_came_first = self.death.set(reasons);
    }

    /// Why it is not to be used any more.
    pub fn death(&self) -> Option<&Reasons> {
        self.death.get()
    }

    /// Signs `message`.
    pub fn sign(
        &self,
        message: &[u8],
        algorithm: SignatureAlgorithm,
    ) -> Result<Vec<u8>, ErrorStack> {
        let Some(digest) = algorithm.digest() else {
            return MessageSigner::new_without_digest(&self.key)?.sign_oneshot_to_vec(message);
        };
        let mut contexts = match self.take_contexts(algorithm) {
            Some(contexts) => contexts,
            None => Contexts::new(&self.key, algorithm, digest)?,
        };
        let signature = contexts.sign(message)?;
        let mut kept = self.contexts.lock().unwrap_or_else(PoisonError::into_inner);
        kept.push(contexts);
        Ok(signature)
    }

    fn take_contexts(&self, algorithm: SignatureAlgorithm) -> Option<Contexts> {
        let mut kept = self.contexts.lock().unwrap_or_else(PoisonError::into_inner);
        let at = kept.iter().position(|contexts| contexts.algorithm == algorithm)?;
        Some(kept.swap_remove(at))
    }
}

/// What OpenSSL has made ready for a key and an algorithm.
struct Contexts {
    algorithm: SignatureAlgorithm,
    /// Fetched once: OpenSSL 3 would do it anew for each message.
    digest: Md,
    hash: MdCtx,
    key: PkeyCtx<Private>,
}

impl Contexts {
    fn new(
        key: &PKey<Private>,
        algorithm: SignatureAlgorithm,
        digest: MessageDigest,
    ) -> Result<Self, ErrorStack> {
        let fetched = Md::fetch(None, digest.type_().short_name()?, None)?;
        let digest = Md::from_nid(digest.type_()).ok_or_else(ErrorStack::get)?;
        let mut key = PkeyCtx::new(key)?;
        key.sign_init()?;
        if algorithm == SignatureAlgorithm::RsaPssSha256 {
            key.set_rsa_padding(Padding::PKCS1_PSS)?;
        }
        key.set_signature_md(digest)?;
        if algorithm == SignatureAlgorithm::RsaPssSha256 {
            key.set_rsa_mgf1_md(digest)?;
            key.set_rsa_pss_saltlen(RsaPssSaltlen::DIGEST_LENGTH)?;
        }
        Ok(Self { algorithm, digest: fetched, hash: MdCtx::new()?, key })
    }

    fn sign(&mut self, message: &[u8]) -> Result<Vec<u8>, ErrorStack> {
        self.hash.digest_init(&self.digest)?;
        self.hash.digest_update(message)?;
        let mut digest = [0; LONGEST_DIGEST];
        let length = self.hash.digest_final(&mut digest)?;
        let mut signature = Vec::new();
        self.key.sign_to_vec(digest.get(..length).unwrap_or_default(), &mut signature)?;
        Ok(signature)
    }
}

/// That of SHA-512, in octets.
const LONGEST_DIGEST: usize = 64;
