//! A key as OpenSSL has loaded it: signs digests and messages.

use std::sync::{Mutex, OnceLock, PoisonError};

use openssl::error::ErrorStack;
use openssl::md::Md;
use openssl::pkey::{PKey, Private};
use openssl::pkey_ctx::PkeyCtx;
use openssl::rsa::Padding;
use openssl::sha;
use openssl::sign::{RsaPssSaltlen, Signer as MessageSigner};

use crate::ocsp::SignatureAlgorithm;
use crate::signer::reasons::Reasons;

/// A loaded key, with what makes it sign quickly.
pub(super) struct Handle {
    key: PKey<Private>,
    /// Contexts made ready for this key and an algorithm, one for each thread that
    /// signs at the same time: setting one up costs more than a P-256 signature.
    contexts: Mutex<Vec<(SignatureAlgorithm, PkeyCtx<Private>)>>,
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
        match algorithm {
            SignatureAlgorithm::RsaSha256
            | SignatureAlgorithm::RsaPssSha256
            | SignatureAlgorithm::EcdsaSha256 => self.sign_digest(algorithm, &sha::sha256(message)),
            SignatureAlgorithm::RsaSha384 | SignatureAlgorithm::EcdsaSha384 => {
                self.sign_digest(algorithm, &sha::sha384(message))
            }
            SignatureAlgorithm::RsaSha512 | SignatureAlgorithm::EcdsaSha512 => {
                self.sign_digest(algorithm, &sha::sha512(message))
            }
            SignatureAlgorithm::Ed25519 | SignatureAlgorithm::Ed448 => {
                MessageSigner::new_without_digest(&self.key)?.sign_oneshot_to_vec(message)
            }
        }
    }

    fn sign_digest(
        &self,
        algorithm: SignatureAlgorithm,
        digest: &[u8],
    ) -> Result<Vec<u8>, ErrorStack> {
        let mut context = match self.take_context(algorithm) {
            Some(context) => context,
            None => self.context(algorithm)?,
        };
        let mut signature = Vec::new();
        context.sign_to_vec(digest, &mut signature)?;
        let mut contexts = self.contexts.lock().unwrap_or_else(PoisonError::into_inner);
        contexts.push((algorithm, context));
        Ok(signature)
    }

    fn take_context(&self, algorithm: SignatureAlgorithm) -> Option<PkeyCtx<Private>> {
        let mut contexts = self.contexts.lock().unwrap_or_else(PoisonError::into_inner);
        let at = contexts.iter().position(|(other, _)| *other == algorithm)?;
        Some(contexts.swap_remove(at).1)
    }

    fn context(&self, algorithm: SignatureAlgorithm) -> Result<PkeyCtx<Private>, ErrorStack> {
        let mut context = PkeyCtx::new(&self.key)?;
        context.sign_init()?;
        if algorithm == SignatureAlgorithm::RsaPssSha256 {
            context.set_rsa_padding(Padding::PKCS1_PSS)?;
        }
        match algorithm {
            SignatureAlgorithm::RsaSha384 | SignatureAlgorithm::EcdsaSha384 => {
                context.set_signature_md(Md::sha384())?;
            }
            SignatureAlgorithm::RsaSha512 | SignatureAlgorithm::EcdsaSha512 => {
                context.set_signature_md(Md::sha512())?;
            }
            _ => context.set_signature_md(Md::sha256())?,
        }
        if algorithm == SignatureAlgorithm::RsaPssSha256 {
            context.set_rsa_mgf1_md(Md::sha256())?;
            context.set_rsa_pss_saltlen(RsaPssSaltlen::DIGEST_LENGTH)?;
        }
        Ok(context)
    }
}
