//! One key and its certificate: signs octets, names its algorithm.
//!
//! Knows neither what it signs nor how many may sign at once.

use std::sync::{Mutex, PoisonError};

use openssl::error::ErrorStack;
use openssl::hash::MessageDigest;
use openssl::md::Md;
use openssl::nid::Nid;
use openssl::pkey::{Id, PKey, Private};
use openssl::pkey_ctx::PkeyCtx;
use openssl::rsa::Padding;
use openssl::sha;
use openssl::sign::{RsaPssSaltlen, Signer as DigestSigner, Verifier};
use serde::Deserialize;

use crate::ocsp::SignatureAlgorithm;
use crate::signer::certificate::Certificate;

pub mod certificate;
pub mod key;

/// A key that signs, with the certificate that says so.
pub struct Signer {
    key: PKey<Private>,
    certificate: Certificate,
    algorithm: SignatureAlgorithm,
    /// Contexts made ready for this key and an algorithm, one for each thread that
    /// signs at the same time: setting one up costs more than a P-256 signature.
    contexts: Mutex<Vec<(SignatureAlgorithm, PkeyCtx<Private>)>>,
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
    pub fn new(
        key: PKey<Private>,
        certificate: Certificate,
        padding: RsaPadding,
    ) -> Result<Self, SignError> {
        let algorithm = algorithm_for(&key, padding)?;
        if !certificate.x509().public_key()?.public_eq(&key) {
            return Err(SignError::NotAPair);
        }
        Ok(Self { key, certificate, algorithm, contexts: Mutex::default() })
    }

    /// Signs once for nothing, and verifies it: a key that cannot sign (a lost token, a
    /// broken file) is found out now.
    ///
    /// # Errors
    ///
    /// [`SignError::OpenSsl`], or [`SignError::NotAPair`] for a wrong signature.
    pub fn try_out(&self) -> Result<(), SignError> {
        let signature = self.sign(b"trial", self.algorithm)?;
        if self.verify(b"trial", &signature) { Ok(()) } else { Err(SignError::NotAPair) }
    }

    /// The certificate of the key.
    #[must_use]
    pub fn certificate(&self) -> &Certificate {
        &self.certificate
    }

    /// How this key signs unless a request asks for something else.
    #[must_use]
    pub fn algorithm(&self) -> SignatureAlgorithm {
        self.algorithm
    }

    /// The first of `preferred` that this key can do; otherwise the default
    /// (RFC 6960 section 4.4.7.2).
    #[must_use]
    pub fn choose(
        &self,
        mut preferred: impl Iterator<Item = SignatureAlgorithm>,
    ) -> SignatureAlgorithm {
        preferred.find(|algorithm| self.can(*algorithm)).unwrap_or(self.algorithm)
    }

    /// Signs `message` with an algorithm of this key. Blocks for as long as the key
    /// needs: 30 µs for P-256 to milliseconds for RSA or a token.
    ///
    /// # Errors
    ///
    /// [`SignError::OpenSsl`].
    pub fn sign(
        &self,
        message: &[u8],
        algorithm: SignatureAlgorithm,
    ) -> Result<Vec<u8>, SignError> {
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
                Ok(DigestSigner::new_without_digest(&self.key)?.sign_oneshot_to_vec(message)?)
            }
        }
    }

    /// Whether `signature` is this key's over `message`, by its default algorithm.
    #[must_use]
    pub fn verify(&self, message: &[u8], signature: &[u8]) -> bool {
        let verified = || -> Result<bool, ErrorStack> {
            let mut verifier = match self.algorithm {
                SignatureAlgorithm::Ed25519 | SignatureAlgorithm::Ed448 => {
                    Verifier::new_without_digest(&self.key)?
                }
                SignatureAlgorithm::RsaSha384 | SignatureAlgorithm::EcdsaSha384 => {
                    Verifier::new(MessageDigest::sha384(), &self.key)?
                }
                SignatureAlgorithm::RsaSha512 | SignatureAlgorithm::EcdsaSha512 => {
                    Verifier::new(MessageDigest::sha512(), &self.key)?
                }
                _ => Verifier::new(MessageDigest::sha256(), &self.key)?,
            };
            if self.algorithm == SignatureAlgorithm::RsaPssSha256 {
                verifier.set_rsa_padding(Padding::PKCS1_PSS)?;
                verifier.set_rsa_mgf1_md(MessageDigest::sha256())?;
                verifier.set_rsa_pss_saltlen(RsaPssSaltlen::DIGEST_LENGTH)?;
            }
            verifier.verify_oneshot(signature, message)
        };
        verified().unwrap_or(false)
    }

    fn can(&self, algorithm: SignatureAlgorithm) -> bool {
        use SignatureAlgorithm::{RsaPssSha256, RsaSha256, RsaSha384, RsaSha512};
        let plain_rsa = self.key.id() == Id::RSA;
        match algorithm {
            RsaSha256 | RsaSha384 | RsaSha512 => plain_rsa,
            RsaPssSha256 => plain_rsa || self.key.id() == Id::RSA_PSS,
            // ECDSA with another hash than the curve's would be allowed, and gains nothing.
            _ => algorithm == self.algorithm,
        }
    }

    fn sign_digest(
        &self,
        algorithm: SignatureAlgorithm,
        digest: &[u8],
    ) -> Result<Vec<u8>, SignError> {
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

/// How RSA pads (RFC 8017 sections 8.1 and 8.2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RsaPadding {
    /// PKCS#1 v1.5, which every client knows.
    #[default]
    Pkcs1,
    /// PSS.
    Pss,
}

fn algorithm_for(
    key: &PKey<Private>,
    padding: RsaPadding,
) -> Result<SignatureAlgorithm, SignError> {
    match key.id() {
        Id::RSA | Id::RSA_PSS if key.bits() < MIN_RSA_BITS => {
            Err(SignError::KeyKind(format!("RSA of {} bits", key.bits())))
        }
        Id::RSA_PSS => Ok(SignatureAlgorithm::RsaPssSha256),
        Id::RSA => Ok(match padding {
            RsaPadding::Pkcs1 => SignatureAlgorithm::RsaSha256,
            RsaPadding::Pss => SignatureAlgorithm::RsaPssSha256,
        }),
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
