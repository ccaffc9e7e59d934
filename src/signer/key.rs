//! Loads private keys through OpenSSL; refuses a file that others can read.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use openssl::error::ErrorStack;
use openssl::pkey::{PKey, Private};
use zeroize::Zeroizing;

/// What becomes of a key that every user of the machine can read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ReadableByOthers {
    /// It is not loaded.
    #[default]
    Refuse,
    /// It is loaded.
    Accept,
}

/// Why a key was not loaded.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The file cannot be read.
    #[error("key {0}")]
    Read(PathBuf, #[source] io::Error),
    /// Every user of the machine can read the file.
    #[error(
        "key {path}: others can read it (mode {mode:04o}), wanted: `chmod o= {path}`, or \
         permissions = \"warn\" in the configuration"
    )]
    ReadableByOthers {
        /// The file.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// It is encrypted.
    #[error("key {0}: it is encrypted, wanted: a key without a passphrase")]
    Encrypted(PathBuf),
    /// It is no key.
    #[error("key {0}: no private key in PEM or DER (PKCS#8, PKCS#1 or SEC1)")]
    NoKey(PathBuf, #[source] ErrorStack),
}

/// Whether every user of the machine can read the file: its mode, if so.
///
/// # Errors
///
/// [`KeyError::Read`].
pub fn mode_readable_by_others(path: &Path) -> Result<Option<u32>, KeyError> {
    let metadata = fs::metadata(path).map_err(|error| KeyError::Read(path.to_owned(), error))?;
    let mode = metadata.mode() & 0o7777;
    Ok((mode & 0o004 != 0).then_some(mode))
}

/// Loads a key in PEM or DER: PKCS#8, PKCS#1 or SEC1, or whatever else OpenSSL's
/// providers know how to load (a token's URI in a PEM file).
///
/// # Errors
///
/// [`KeyError`].
pub fn load(path: &Path, others: ReadableByOthers) -> Result<PKey<Private>, KeyError> {
    if others == ReadableByOthers::Refuse
        && let Some(mode) = mode_readable_by_others(path)?
    {
        return Err(KeyError::ReadableByOthers { path: path.to_owned(), mode });
    }
    let octets =
        Zeroizing::new(fs::read(path).map_err(|error| KeyError::Read(path.to_owned(), error))?);
    let mut encrypted = false;
    // Without a callback OpenSSL would ask on the terminal.
    let mut ask = |_: &mut [u8]| {
        encrypted = true;
        Ok(0)
    };
    let parsed = PKey::private_key_from_pem_callback(&octets, &mut ask).or_else(|error| {
        PKey::private_key_from_der(&octets)
            .or_else(|_| PKey::private_key_from_pkcs8_callback(&octets, &mut ask))
            .map_err(|_| error)
    });
    parsed.map_err(|error| match encrypted {
        true => KeyError::Encrypted(path.to_owned()),
        false => KeyError::NoKey(path.to_owned(), error),
    })
}
