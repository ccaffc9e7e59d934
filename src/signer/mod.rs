//! One key and its certificate: signs octets, names its algorithm.
//!
//! Knows neither what it signs nor how many may sign at once. A key on a token is
//! loaded anew when it no longer signs: a token that was pulled out and put back, or
//! a connection to an HSM that was lost, leaves only dead handles behind. A process that
//! answers one question loads its key when that is to sign.

use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use openssl::error::ErrorStack;
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{Id, PKey, Public};
use openssl::rsa::Padding;
use openssl::sign::{RsaPssSaltlen, Verifier};
use serde::Deserialize;

use crate::logging::chain;
use crate::ocsp::SignatureAlgorithm;
use crate::signer::certificate::Certificate;
use crate::signer::handle::Handle;
use crate::signer::key::{Holder, Key, KeyError, KeySource};
use crate::signer::reasons::Reasons;

pub mod certificate;
mod handle;
pub mod key;
pub mod password;
pub mod private_file;
pub mod reasons;
mod token;

/// A key that signs, with the certificate that says so.
pub struct Signer {
    /// Where its loading was put off, from then on; or why it is not, which stays: a token
    /// locks itself after a few wrong PINs.
    loaded: OnceLock<Result<Loaded, Arc<str>>>,
    source: KeySource,
    certificate: Certificate,
    /// The certificate's, not the token's: it is there when the token is not.
    public_key: PKey<Public>,
    algorithm: SignatureAlgorithm,
}

/// A key that is there.
struct Loaded {
    handle: ArcSwap<Handle>,
    /// For a key that a provider holds.
    token: Option<Token>,
    /// All that the key can do.
    algorithms: Vec<SignatureAlgorithm>,
}

/// Why a signer cannot be, or did not sign.
#[derive(Debug, thiserror::Error)]
pub enum SignError {
    /// The key is in memory and does not sign: that stays.
    #[error("signing")]
    OpenSsl(#[source] Reasons),
    /// The key is on a token that does not sign: that may pass, so the answer is
    /// `tryLater` (RFC 6960 section 2.3).
    #[error("the key is out of reach: {0}")]
    OutOfReach(Arc<str>),
    /// A key of a kind that has no place in OCSP.
    #[error(
        "the key is {0}, wanted: RSA of 2048 bits or more, P-256, P-384, P-521, Ed25519 or Ed448"
    )]
    KeyKind(String),
    /// Key and certificate are not a pair.
    #[error("the key does not belong to the certificate")]
    NotAPair,
    /// A key whose loading was put off is not there.
    #[error("{0}")]
    NotLoaded(Arc<str>),
}

impl From<ErrorStack> for SignError {
    fn from(stack: ErrorStack) -> Self {
        Self::OpenSsl(stack.into())
    }
}

/// What a key on a token is called, and when it was loaded anew.
struct Token {
    name: String,
    last: Mutex<Option<Attempt>>,
}

struct Attempt {
    next: Instant,
    outcome: Arc<str>,
}

impl Signer {
    /// Puts a key and its certificate together.
    ///
    /// # Errors
    ///
    /// [`SignError::KeyKind`] or [`SignError::NotAPair`].
    pub fn new(key: Key, certificate: Certificate, padding: RsaPadding) -> Result<Self, SignError> {
        let signer = Self::put_off(key.source.clone(), certificate, padding)?;
        let loaded = signer.take(key)?;
        Ok(Self { loaded: OnceLock::from(Ok(loaded)), ..signer })
    }

    /// The same with a key that is loaded when it is first to sign.
    ///
    /// # Errors
    ///
    /// [`SignError::KeyKind`], by the certificate.
    pub fn put_off(
        source: KeySource,
        certificate: Certificate,
        padding: RsaPadding,
    ) -> Result<Self, SignError> {
        let public_key = certificate.x509().public_key().map_err(|_| {
            let kind = certificate.key_algorithm();
            SignError::KeyKind(format!("of the kind {kind}, which OpenSSL does not load"))
        })?;
        let algorithm = algorithm_for((&public_key, &certificate), padding)?;
        Ok(Self { loaded: OnceLock::new(), source, certificate, public_key, algorithm })
    }

    fn take(&self, key: Key) -> Result<Loaded, SignError> {
        if !self.public_key.public_eq(&key.pkey) {
            return Err(SignError::NotAPair);
        }
        let handle = Handle::new(key.pkey);
        let mut algorithms = algorithms_for(&self.public_key, self.algorithm);
        let token = match key.holder {
            Holder::Memory => None,
            Holder::Provider(name) => {
                // A token need not know every padding and every hash.
                algorithms.retain(|other| handle.sign(TRIAL, *other).is_ok());
                Some(Token { name, last: Mutex::default() })
            }
        };
        Ok(Loaded { handle: ArcSwap::from_pointee(handle), token, algorithms })
    }

    /// Loads the key now if that was put off.
    ///
    /// # Errors
    ///
    /// [`SignError::NotLoaded`].
    pub fn load(&self) -> Result<(), SignError> {
        self.loaded().map(|_| ())
    }

    fn loaded(&self) -> Result<&Loaded, SignError> {
        let load = || match key::load(&self.source) {
            Ok(key) => self.take(key).map_err(|error| chain(&error).to_string().into()),
            Err(error) => Err(chain(&error).to_string().into()),
        };
        let loaded = self.loaded.get_or_init(load).as_ref();
        loaded.map_err(|reason| SignError::NotLoaded(Arc::clone(reason)))
    }

    /// The name of its key on a token, and the file of its URI, where it is on one.
    #[must_use]
    pub fn token(&self) -> Option<(&str, &Path)> {
        let token = self.loaded.get()?.as_ref().ok()?.token.as_ref()?;
        Some((&token.name, &self.source.path))
    }

    /// Signs once for nothing, and verifies it: a key that cannot sign (a lost token, a
    /// broken file) is found out now.
    ///
    /// # Errors
    ///
    /// As [`Signer::sign`], or [`SignError::NotAPair`] for a wrong signature.
    pub fn try_out(&self) -> Result<(), SignError> {
        let signature = self.sign(TRIAL, self.algorithm)?;
        if self.verify(TRIAL, &signature) { Ok(()) } else { Err(SignError::NotAPair) }
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
        let can = |algorithm: &SignatureAlgorithm| {
            self.loaded().is_ok_and(|loaded| loaded.algorithms.contains(algorithm))
        };
        preferred.find(can).unwrap_or(self.algorithm)
    }

    /// Signs `message` with an algorithm of this key. Blocks for as long as the key
    /// needs: 30 µs for P-256 to milliseconds for RSA or a token, or as long as a
    /// token takes to fail.
    ///
    /// # Errors
    ///
    /// [`SignError::OpenSsl`], which stays, [`SignError::OutOfReach`], which passes, or as
    /// [`Signer::load`].
    pub fn sign(
        &self,
        message: &[u8],
        algorithm: SignatureAlgorithm,
    ) -> Result<Vec<u8>, SignError> {
        let loaded = self.loaded()?;
        let handle = loaded.handle.load_full();
        let Some(token) = &loaded.token else { return Ok(handle.sign(message, algorithm)?) };
        if handle.death().is_none() {
            match handle.sign(message, algorithm) {
                Ok(signature) => return Ok(signature),
                Err(error) => handle.bury(error.into()),
            }
        }
        // Never a second try with the same handle: the provider may ask for the PIN on
        // a terminal, which it cannot while it loads a key.
        let handle = self.anew(&loaded.handle, token, &handle)?;
        handle.sign(message, algorithm).map_err(|error| {
            let reasons = Reasons::from(error);
            handle.bury(reasons.clone());
            SignError::OutOfReach(reasons.to_string().into())
        })
    }

    /// Whether `signature` is this key's over `message`, by its default algorithm.
    #[must_use]
    pub fn verify(&self, message: &[u8], signature: &[u8]) -> bool {
        let verified = || -> Result<bool, ErrorStack> {
            let mut verifier = match self.algorithm.digest() {
                Some(digest) => Verifier::new(digest, &self.public_key)?,
                None => Verifier::new_without_digest(&self.public_key)?,
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

    /// The key loaded anew, once for all threads that found it dead, and not again
    /// before a pause is over.
    fn anew(
        &self,
        place: &ArcSwap<Handle>,
        token: &Token,
        dead: &Arc<Handle>,
    ) -> Result<Arc<Handle>, SignError> {
        let mut last = token.last.lock().unwrap_or_else(PoisonError::into_inner);
        let present = place.load_full();
        if !Arc::ptr_eq(&present, dead) {
            return Ok(present);
        }
        if let Some(attempt) = &*last
            && Instant::now() < attempt.next
        {
            return Err(SignError::OutOfReach(Arc::clone(&attempt.outcome)));
        }
        let loaded = key::load(&self.source);
        let next = Instant::now() + pause_after(&loaded);
        let trouble = match loaded {
            Ok(key) if self.public_key.public_eq(&key.pkey) => {
                let handle = Arc::new(Handle::new(key.pkey));
                place.store(Arc::clone(&handle));
                *last = Some(Attempt { next, outcome: "it failed again after a moment".into() });
                return Ok(handle);
            }
            Ok(_) => SignError::NotAPair.to_string(),
            Err(error) => chain(&error).to_string(),
        };
        let death = dead.death().map_or_else(String::new, |reasons| format!("{reasons}; then "));
        let outcome: Arc<str> = format!("{death}{trouble}").into();
        *last = Some(Attempt { next, outcome: Arc::clone(&outcome) });
        Err(SignError::OutOfReach(outcome))
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

/// How long a token is left alone after an attempt to load its key.
fn pause_after(loaded: &Result<Key, KeyError>) -> Duration {
    match loaded {
        Err(KeyError::WrongPin(..)) => PAUSE_AFTER_WRONG_PIN,
        _ => PAUSE,
    }
}

fn algorithm_for(
    (key, certificate): (&PKey<Public>, &Certificate),
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
        // What OpenSSL calls -1 may be anything that a provider knows.
        _ => Err(SignError::KeyKind(format!("of the kind {}", certificate.key_algorithm()))),
    }
}

/// What such a key can do, `default` among it.
fn algorithms_for(key: &PKey<Public>, default: SignatureAlgorithm) -> Vec<SignatureAlgorithm> {
    use SignatureAlgorithm::{RsaPssSha256, RsaSha256, RsaSha384, RsaSha512};
    match key.id() {
        Id::RSA => vec![RsaSha256, RsaSha384, RsaSha512, RsaPssSha256],
        // ECDSA with another hash than the curve's would be allowed, and gains nothing.
        _ => vec![default],
    }
}

/// CA/Browser Forum Baseline Requirements section 6.1.5.
const MIN_RSA_BITS: u32 = 2048;
const TRIAL: &[u8] = b"trial";
const PAUSE: Duration = Duration::from_secs(3);
/// Tokens lock themselves after a few wrong PINs; but an operator may be about to
/// write the right one into its file.
const PAUSE_AFTER_WRONG_PIN: Duration = Duration::from_secs(600);
