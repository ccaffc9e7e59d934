//! Loads private keys through OpenSSL: plain, encrypted, or held by a provider.
//!
//! Never asks on a terminal: OpenSSL gets a callback for each password.

use std::fs;
use std::path::{Path, PathBuf};

use openssl::error::ErrorStack;
use openssl::pkey::{PKey, Private};
use zeroize::Zeroizing;

use crate::signer::password::{PasswordError, PasswordSource};
use crate::signer::private_file::{self, Exposed, PrivateFileError, ReadableByOthers};
use crate::signer::reasons::Reasons;
use crate::signer::token::TokenUri;

/// Where a key is, and what opens it.
#[derive(Clone, Debug)]
pub struct KeySource {
    /// The file of the key, or of the URI of a key on a token.
    pub path: PathBuf,
    /// The password of the file, or the PIN of the token.
    pub password: Option<PasswordSource>,
    /// Whether others may be able to read the files.
    pub others: ReadableByOthers,
}

/// A key that OpenSSL has loaded.
pub struct Key {
    /// As OpenSSL has it.
    pub pkey: PKey<Private>,
    /// Who does the signing.
    pub holder: Holder,
    /// The files that others can read.
    pub exposed: Vec<Exposed>,
    /// Where it came from.
    pub source: KeySource,
    /// Whether a password is configured that the key does not need.
    pub password_use: PasswordUse,
}

impl Key {
    /// A key that has no file, for tests.
    #[must_use]
    pub fn in_memory(pkey: PKey<Private>) -> Self {
        let source =
            KeySource { path: PathBuf::new(), password: None, others: ReadableByOthers::Refuse };
        let password_use = PasswordUse::Fit;
        Self { pkey, holder: Holder::Memory, exposed: Vec::new(), source, password_use }
    }
}

/// Who holds a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Holder {
    /// This process, in memory: what goes wrong once goes wrong always.
    Memory,
    /// Another provider of OpenSSL than its default, for a token that may be gone for
    /// a while. The text names the key, and holds no PIN.
    Provider(String),
}

/// What became of the configured password.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PasswordUse {
    /// It was needed, or none is configured, or a token may need it later.
    Fit,
    /// The key is not encrypted.
    Needless,
}

/// Why a key was not loaded.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// Its file was not read.
    #[error(transparent)]
    File(#[from] PrivateFileError),
    /// There is no password where one should be.
    #[error("key {0}")]
    Password(PathBuf, #[source] PasswordError),
    /// It is encrypted, and no password is configured.
    #[error("key {0}: it is encrypted, wanted: its password, by {WAYS}")]
    Encrypted(PathBuf),
    /// The password does not open it.
    #[error("key {0}: it does not open with the {1}")]
    WrongPassword(PathBuf, PasswordSource, #[source] Reasons),
    /// It is no key.
    #[error("key {0}: no private key in PEM or DER (PKCS#8, PKCS#1 or SEC1)")]
    NoKey(PathBuf, #[source] Reasons),
    /// A key of a provider that is not there.
    #[error(
        "key {0}: {1}: OpenSSL has not loaded pkcs11-provider and a module for it, wanted: both \
         in the file that OPENSSL_CONF names"
    )]
    NoProvider(PathBuf, String, #[source] Option<Reasons>),
    /// A token that is not there, or not as it should be.
    #[error(
        "key {0}: {1}: the token or the key on it is not there (or the PIN in openssl.cnf or in \
         the URI is wrong)"
    )]
    NotFound(PathBuf, String, #[source] Option<Reasons>),
    /// A token that is there, without the key.
    #[error("key {0}: {1}: the token takes the PIN, but does not have this key")]
    NotOnToken(PathBuf, String, #[source] Option<Reasons>),
    /// A token that wants a PIN, and none is configured.
    #[error("key {0}: {1}: the token wants a PIN, wanted: {WAYS}")]
    NoPin(PathBuf, String, #[source] Option<Reasons>),
    /// A token that does not take the PIN. Tokens lock themselves after a few of those.
    #[error("key {0}: {1}: the token refuses the {2} as its PIN")]
    WrongPin(PathBuf, String, PasswordSource, #[source] Option<Reasons>),
}

/// Loads a key in PEM or DER: PKCS#8, PKCS#1 or SEC1, encrypted or not; or what
/// OpenSSL's providers know how to load, such as a token's URI.
///
/// # Errors
///
/// [`KeyError`].
pub fn load(source: &KeySource) -> Result<Key, KeyError> {
    let path = &source.path;
    let (octets, exposed) = private_file::read("key", path, source.others)?;
    let mut exposed = Vec::from_iter(exposed);
    let password = match &source.password {
        None => None,
        Some(password) => {
            let (octets, readable) = password
                .read(source.others)
                .map_err(|error| KeyError::Password(path.clone(), error))?;
            exposed.extend(readable);
            Some((octets, password))
        }
    };
    let mut opener = Opener { path, password, asked: Asked::No };
    let (pkey, holder) = match TokenUri::find(&octets) {
        Some(uri) => (opener.token(&uri)?, Holder::Provider(uri.to_string())),
        None => opener.file(&octets)?,
    };
    let is_needless =
        holder == Holder::Memory && opener.password.is_some() && opener.asked == Asked::No;
    let password_use = if is_needless { PasswordUse::Needless } else { PasswordUse::Fit };
    Ok(Key { pkey, holder, exposed, source: source.clone(), password_use })
}

struct Opener<'a> {
    path: &'a Path,
    password: Option<(Zeroizing<Vec<u8>>, &'a PasswordSource)>,
    asked: Asked,
}

/// Whether OpenSSL wanted the password.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    Yes,
    No,
}

impl Opener<'_> {
    fn file(&mut self, octets: &[u8]) -> Result<(PKey<Private>, Holder), KeyError> {
        let labels = pem_labels(octets);
        let loaded = if labels.is_empty() {
            self.der(octets)
        } else {
            PKey::private_key_from_pem_callback(octets, |room| self.answer(room))
        };
        let is_ours = |label: &String| IN_MEMORY.contains(&label.as_str());
        let holder = match labels.last() {
            Some(label) if !labels.iter().any(is_ours) => Holder::Provider(label.clone()),
            _ => Holder::Memory,
        };
        loaded.map(|pkey| (pkey, holder)).map_err(|error| self.not_opened(error))
    }

    fn der(&mut self, octets: &[u8]) -> Result<PKey<Private>, ErrorStack> {
        // Takes only what is encrypted.
        match PKey::private_key_from_pkcs8_callback(octets, |room| self.answer(room)) {
            Err(_) if self.asked == Asked::No => PKey::private_key_from_der(octets),
            opened => opened,
        }
    }

    fn token(&mut self, uri: &TokenUri) -> Result<PKey<Private>, KeyError> {
        let pem = uri.to_pem().unwrap_or_default();
        let loaded = PKey::private_key_from_pem_callback(pem.as_bytes(), |room| self.answer(room));
        let reasons = match loaded {
            Ok(pkey) => return Ok(pkey),
            Err(error) => Reasons::of_provider(error),
        };
        let (path, shown) = (self.path.to_owned(), uri.to_string());
        // OpenSSL 3.0 drops the provider's reasons here, so the cause shows in what the
        // provider did: whether it came to ask for the PIN, and whether it asks again.
        Err(match (self.asked, &self.password) {
            (Asked::No, _) if is_provider_absent() => KeyError::NoProvider(path, shown, reasons),
            (Asked::No, _) => KeyError::NotFound(path, shown, reasons),
            (Asked::Yes, None) => KeyError::NoPin(path, shown, reasons),
            (Asked::Yes, Some((_, source))) if asks_again(&pem) == Asked::Yes => {
                KeyError::WrongPin(path, shown, (*source).clone(), reasons)
            }
            (Asked::Yes, Some(_)) => KeyError::NotOnToken(path, shown, reasons),
        })
    }

    /// Gives OpenSSL the password; nothing, if there is none: otherwise it would ask on
    /// the terminal.
    fn answer(&mut self, room: &mut [u8]) -> Result<usize, ErrorStack> {
        self.asked = Asked::Yes;
        let password = self.password.as_ref().map(|(octets, _)| octets.as_slice());
        let (Some(password), octets) = (password, room) else { return Ok(0) };
        // One that does not fit (a token's PIN has 32 octets at most) is wrong.
        let Some(place) = octets.get_mut(..password.len()) else { return Ok(0) };
        place.copy_from_slice(password);
        Ok(password.len())
    }

    fn not_opened(&self, error: ErrorStack) -> KeyError {
        let path = self.path.to_owned();
        match (self.asked, &self.password) {
            (Asked::No, _) => KeyError::NoKey(path, error.into()),
            (Asked::Yes, None) => KeyError::Encrypted(path),
            (Asked::Yes, Some((_, source))) => {
                KeyError::WrongPassword(path, (*source).clone(), error.into())
            }
        }
    }
}

/// Whether the provider asks for the PIN of a token anew, which it does not once the
/// token has taken it. It gets none: that costs no try.
fn asks_again(pem: &str) -> Asked {
    let mut asked = Asked::No;
    let _no_key = PKey::private_key_from_pem_callback(pem.as_bytes(), |_| {
        asked = Asked::Yes;
        Ok(0)
    });
    asked
}

/// Whether pkcs11-provider is surely not loaded: there is no way to ask OpenSSL
/// without `unsafe`, but a loaded library is mapped.
fn is_provider_absent() -> bool {
    fs::read_to_string("/proc/self/maps").is_ok_and(|maps| !maps.contains("/pkcs11.so"))
}

/// The labels of the blocks in a PEM file (RFC 7468 section 2).
fn pem_labels(octets: &[u8]) -> Vec<String> {
    let lines = octets.split(|octet| *octet == b'\n').filter_map(|line| str::from_utf8(line).ok());
    let label = |line: &str| {
        Some(line.trim_end().strip_prefix("-----BEGIN ")?.strip_suffix("-----")?.to_owned())
    };
    lines.filter_map(label).collect()
}

/// The keys that OpenSSL's default provider holds.
const IN_MEMORY: [&str; 4] =
    ["PRIVATE KEY", "ENCRYPTED PRIVATE KEY", "RSA PRIVATE KEY", "EC PRIVATE KEY"];
const WAYS: &str = "itkey_password_file, itkey_password_credential or itkey_password_env (in \
                    [[issuer]]: key_password_file, key_password_credential or key_password_env)";
