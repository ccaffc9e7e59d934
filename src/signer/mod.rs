//! One key and its certificate: signs octets, names its algorithm.
//!
//! Knows neither what it signs nor how many may sign at once.

use std::sync::{Mutex, PoisonError};

use openssl::error::ErrorStack;
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{Id, PKey, Private};
use openssl::pkey_ctx::PkeyCtx;
use openssl::sha;
use openssl::sign::{Signer as DigestSigner, Verifier};

use crate::ocsp::SignatureAlgorithm;
use crate::signer::certificate::Certificate;

pub mod certificate;
pub mod key;

/// A key that signs, with the certificate that says so.
pub struct Signer {
    key: PKey<Private>,
    certificate: Certificate,
    algorithm: SignatureAlgorithm,
    /// Contexts made ready for this key and digest, one for each thread that
    /// signs at the same time: setting one up costs more than a P-256 signature.
    contexts: Mutex<Vec<PkeyCtx<Private>>>,
}

/// Why a signer cannot be, or did not sign.
#[derive(Debug, thiserror::Error)]
pub enum SignError {
    /// OpenSSL refused.
    #[error("signing")]
    OpenSsl(#[from] ErrorStack),
    /// A key of a kind that has no place in OCSP.
    #[error(
        "the key is {0}, wanted: RSA of 2048 bits or more, P-256, P-384, P-521, Ed25519 or Ed448"
    )]
    KeyKind(String),
    /// Key and certificate are not a pair.
    #[error("the key does not belong to the certificate")]
    NotAPair,
}

impl Signer {
    /// Puts a key and its certificate together.
    ///
    /// # Errors
    ///
    /// [`SignError::KeyKind`] or [`SignError::NotAPair`].
    pub fn new(key: PKey<Private>, certificate: Certificate) -> Result<Self, SignError> {
        let algorithm = algorithm_for(&key)?;
        if !certificate.x509().public_key()?.public_eq(&key) {
            return Err(SignError::NotAPair);
        }
        let signer = Self { key, certificate, algorithm, contexts: Mutex::default() };
        // A key that cannot sign (a lost token, a broken file) is found out now.
        let trial = signer.sign(b"trial")?;
        if signer.verify(b"trial", &trial) { Ok(signer) } else { Err(SignError::NotAPair) }
    }

    /// The certificate of the key.
    #[must_use]
    pub fn certificate(&self) -> &Certificate {
        &self.certificate
    }

    /// How this key signs.
    #[must_use]
    pub fn algorithm(&self) -> SignatureAlgorithm {
        self.algorithm
    }

    /// Signs `message`. Blocks for as long as the key needs: 30 µs for P-256 to
    /// milliseconds for RSA or a token.
    ///
    /// # Errors
    ///
    /// [`SignError::OpenSsl`].
    pub fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SignError> {
        match self.algorithm {
            SignatureAlgorithm::RsaSha256 | SignatureAlgorithm::EcdsaSha256 => {
                self.sign_digest(&sha::sha256(message))
            }
            SignatureAlgorithm::EcdsaSha384 => self.sign_digest(&sha::sha384(message)),
            SignatureAlgorithm::EcdsaSha512 => self.sign_digest(&sha::sha512(message)),
            SignatureAlgorithm::Ed25519 | SignatureAlgorithm::Ed448 => {
                Ok(DigestSigner::new_without_digest(&self.key)?.sign_oneshot_to_vec(message)?)
            }
        }
    }

    /// Whether `signature` is this key's over `message`.
    #[must_use]
    pub fn verify(&self, message: &[u8], signature: &[u8]) -> bool {
        let verified = || -> Result<bool, ErrorStack> {
            match self.digest() {
                Some(digest) => {
                    Verifier::new(digest, &self.key)?.verify_oneshot(signature, message)
                }
                None => Verifier::new_without_digest(&self.key)?.verify_oneshot(signature, message),
            }
        };
        verified().unwrap_or(false)
    }

    fn sign_digest(&self, digest: &[u8]) -> Result<Vec<u8>, SignError> {
        let kept = self.contexts.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut context = match kept {
            Some(context) => context,
            None => self.context()?,
        };
        let mut signature = Vec::new();
        context.sign_to_vec(digest, &mut signature)?;
        self.contexts.lock().unwrap_or_else(PoisonError::into_inner).push(context);
        Ok(signature)
    }

    fn context(&self) -> Result<PkeyCtx<Private>, ErrorStack> {
        let mut context = PkeyCtx::new(&self.key)?;
        context.sign_init()?;
        match self.algorithm {
            SignatureAlgorithm::EcdsaSha384 => {
                context.set_signature_md(openssl::md::Md::sha384())?
            }
            SignatureAlgorithm::EcdsaSha512 => {
                context.set_signature_md(openssl::md::Md::sha512())?
            }
            _ => context.set_signature_md(openssl::md::Md::sha256())?,
        }
        Ok(context)
    }

    fn digest(&self) -> Option<MessageDigest> {
        match self.algorithm {
            SignatureAlgorithm::RsaSha256 | SignatureAlgorithm::EcdsaSha256 => {
                Some(MessageDigest::sha256())
            }
            SignatureAlgorithm::EcdsaSha384 => Some(MessageDigest::sha384()),
            SignatureAlgorithm::EcdsaSha512 => Some(MessageDigest::sha512()),
            SignatureAlgorithm::Ed25519 | SignatureAlgorithm::Ed448 => None,
        }
    }
}

fn algorithm_for(key: &PKey<Private>) -> Result<SignatureAlgorithm, SignError> {
    match key.id() {
        Id::RSA if key.bits() >= MIN_RSA_BITS => Ok(SignatureAlgorithm::RsaSha256),
        Id::RSA => Err(SignError::KeyKind(format!("RSA of {} bits", key.bits()))),
        Id::EC => match key.ec_key()?.group().curve_name() {
            Some(Nid::X9_62_PRIME256V1) => Ok(SignatureAlgorithm::EcdsaSha256),
            Some(Nid::SECP384R1) => Ok(SignatureAlgorithm::EcdsaSha384),
            Some(Nid::SECP521R1) => Ok(SignatureAlgorithm::EcdsaSha512),
            Some(curve) => Err(SignError::KeyKind(format!("on the curve {}", curve.short_name()?))),
            None => Err(SignError::KeyKind("on a curve without a name".to_owned())),
        },
        Id::ED25519 => Ok(SignatureAlgorithm::Ed25519),
        Id::ED448 => Ok(SignatureAlgorithm::Ed448),
        other => Err(SignError::KeyKind(format!("of OpenSSL's kind {}", other.as_raw()))),
    }
}

/// CA/Browser Forum Baseline Requirements section 6.1.5.
const MIN_RSA_BITS: u32 = 2048;
