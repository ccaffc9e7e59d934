//! Reads files that hold a secret; refuses one that others can read.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use zeroize::Zeroizing;

/// What becomes of a secret that every user of the machine can read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ReadableByOthers {
    /// It is not loaded.
    #[default]
    Refuse,
    /// It is loaded, and a warning says so.
    Warn,
}

/// A file that every user of the machine can read, and that was loaded all the same.
/// Prints as `key ca.key: others can read it (mode 0644)`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} {path}: others can read it (mode {mode:04o})")]
pub struct Exposed {
    what: &'static str,
    path: PathBuf,
    mode: u32,
}

/// Why a file was not read.
#[derive(Debug, thiserror::Error)]
pub enum PrivateFileError {
    /// It cannot be read.
    #[error("{0} {1}")]
    Read(&'static str, PathBuf, #[source] io::Error),
    /// It is no key and no password.
    #[error("{0} {1}: larger than {OCTETS} octets")]
    TooLarge(&'static str, PathBuf),
    /// Every user of the machine can read it.
    #[error(
        "{0}, wanted: `chmod o= {path}`, or permissions = \"warn\" in the configuration",
        path = .0.path.display()
    )]
    ReadableByOthers(Exposed),
}

/// The octets of a file that holds a secret (`what`, for messages), and whether
/// others can read it, too.
pub(super) fn read(
    what: &'static str,
    path: &Path,
    others: ReadableByOthers,
) -> Result<(Zeroizing<Vec<u8>>, Option<Exposed>), PrivateFileError> {
    let not_read = |error| PrivateFileError::Read(what, path.to_owned(), error);
    let file = File::open(path).map_err(not_read)?;
    // Of the open file: the one at `path` may be another by now.
    let metadata = file.metadata().map_err(not_read)?;
    let mode = metadata.mode() & 0o7777;
    let exposed = (mode & 0o004 != 0).then(|| Exposed { what, path: path.to_owned(), mode });
    if let (Some(exposed), ReadableByOthers::Refuse) = (&exposed, others) {
        return Err(PrivateFileError::ReadableByOthers(exposed.clone()));
    }
    // Of its full size at once: a buffer that grows leaves copies behind.
    let capacity = usize::try_from(metadata.len().min(OCTETS)).unwrap_or(0) + 1;
    let mut octets = Zeroizing::new(Vec::with_capacity(capacity));
    file.take(OCTETS + 1).read_to_end(&mut octets).map_err(not_read)?;
    if octets.len() as u64 > OCTETS {
        return Err(PrivateFileError::TooLarge(what, path.to_owned()));
    }
    Ok((octets, exposed))
}

/// Far more than any key; a device does not fill the memory.
const OCTETS: u64 = 1 << 20;
