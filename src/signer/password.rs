//! The password of an encrypted key, or the PIN of a token: from a file, a systemd
//! credential, or the environment. Never from a terminal.

use std::env;
use std::fmt;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use crate::signer::private_file::{self, Exposed, PrivateFileError, ReadableByOthers};

/// Where a password comes from. Read when the key is, and not kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PasswordSource {
    /// The first line of a file.
    File(PathBuf),
    /// The first line of a credential that systemd hands over (systemd.exec(5),
    /// `LoadCredential=`).
    Credential(String),
    /// An environment variable.
    Variable(String),
}

/// Why there is no password.
#[derive(Debug, thiserror::Error)]
pub enum PasswordError {
    /// Its file was not read.
    #[error(transparent)]
    File(#[from] PrivateFileError),
    /// There are no credentials at all.
    #[error(
        "credential {0}: CREDENTIALS_DIRECTORY is not set, wanted: a start by systemd, with \
         LoadCredential={0}:/path/of/its/file"
    )]
    NoCredentials(String),
    /// The environment variable is not there.
    #[error("environment variable {0}: not set")]
    NotSet(String),
    /// There is nothing.
    #[error("{0}: empty, wanted: a password in its first line")]
    Empty(PasswordSource),
    /// OpenSSL takes no longer one (`PEM_BUFSIZE`).
    #[error("{0}: longer than {LONGEST} octets")]
    TooLong(PasswordSource),
}

impl PasswordSource {
    /// The password, and whether others can read its file.
    pub(super) fn read(
        &self,
        others: ReadableByOthers,
    ) -> Result<(Zeroizing<Vec<u8>>, Option<Exposed>), PasswordError> {
        let (octets, exposed) = match self {
            Self::File(path) => private_file::read("password", path, others)?,
            Self::Credential(name) => {
                let folder = env::var_os("CREDENTIALS_DIRECTORY")
                    .ok_or_else(|| PasswordError::NoCredentials(name.clone()))?;
                private_file::read("credential", &Path::new(&folder).join(name), others)?
            }
            Self::Variable(name) => {
                let value = env::var_os(name).ok_or_else(|| PasswordError::NotSet(name.clone()))?;
                (Zeroizing::new(value.into_encoded_bytes()), None)
            }
        };
        let line = first_line(&octets);
        match line.len() {
            0 => Err(PasswordError::Empty(self.clone())),
            1..=LONGEST => Ok((Zeroizing::new(line.to_vec()), exposed)),
            _ => Err(PasswordError::TooLong(self.clone())),
        }
    }
}

impl fmt::Display for PasswordSource {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(formatter, "password {}", path.display()),
            Self::Credential(name) => write!(formatter, "credential {name}"),
            Self::Variable(name) => write!(formatter, "environment variable {name}"),
        }
    }
}

/// Editors end a file with a line break that is no part of the password.
fn first_line(octets: &[u8]) -> &[u8] {
    let line = octets.split(|octet| *octet == b'\n').next().unwrap_or_default();
    line.strip_suffix(b"\r").unwrap_or(line)
}

const LONGEST: usize = 1_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_ends_before_its_line_break() {
        for text in ["a b", "a b\n", "a b\r\n", "a b\nc\n"] {
            assert_eq!(first_line(text.as_bytes()), b"a b", "{text:?}");
        }
        assert_eq!(first_line(b"\nsecond"), b"");
    }
}
