//! The whole cache folder, file by file: what administrators ask about it.
//!
//! Sees only what bears a name of ours, and follows no links. Takes memory for the names
//! of one bucket at a time.

use std::fs::{self, DirEntry};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use crate::cache::disk::{
    INTERRUPTED_AFTER, MAX_FILE, SHORT_HASH_DIGITS, is_answer, is_hex, is_interrupted_write, open,
    short_hash, timestamp,
};
use crate::serial::Serial;
use crate::time::Timestamp;

/// The answers of one signer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignerFolder {
    /// Where they are.
    pub path: PathBuf,
    name: String,
}

/// A file that bears a name of ours.
#[derive(Clone, Debug)]
pub struct Named {
    /// Where it is.
    pub path: PathBuf,
    /// What its name says that it is.
    pub kind: NameKind,
}

/// What the name of a file says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameKind {
    /// It holds an answer.
    Answer,
    /// It is being written, or was left by a process that was killed.
    Unfinished,
}

/// What can be seen of a file without opening it.
#[derive(Clone, Copy, Debug)]
pub struct Outline {
    /// Its octets.
    pub size: u64,
    /// The last confirmation.
    pub confirmed: Timestamp,
}

/// The folders of signers, in the order of their names.
///
/// # Errors
///
/// The cache folder cannot be listed; one that is missing is empty.
pub fn signer_folders(folder: &Path) -> io::Result<Vec<SignerFolder>> {
    let named = |name: &str| is_hex(name, SHORT_HASH_DIGITS);
    let mut folders: Vec<_> = subfolders(folder, named)?
        .into_iter()
        .map(|(name, path)| SignerFolder { path, name })
        .collect();
    folders.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(folders)
}

impl SignerFolder {
    /// Whether its answers are signed with this certificate, in DER.
    #[must_use]
    pub fn is_of(&self, certificate: &[u8]) -> bool {
        self.name == short_hash(certificate)
    }

    /// The parts of the folder.
    ///
    /// # Errors
    ///
    /// It cannot be listed.
    pub fn buckets(&self) -> io::Result<Vec<PathBuf>> {
        let buckets = subfolders(&self.path, |name| is_hex(name, BUCKET_DIGITS))?;
        Ok(buckets.into_iter().map(|(_, path)| path).collect())
    }
}

/// The files of a bucket.
///
/// # Errors
///
/// It cannot be listed; one that is missing is empty.
pub fn files(bucket: &Path) -> io::Result<Vec<Named>> {
    let named = |entry: DirEntry| {
        let name = entry.file_name().into_string().ok()?;
        let kind = match (is_answer(&name), is_interrupted_write(&name)) {
            (true, _) => NameKind::Answer,
            (_, true) => NameKind::Unfinished,
            _ => return None,
        };
        entry.file_type().ok()?.is_file().then(|| Named { path: entry.path(), kind })
    };
    Ok(entries(bucket)?.filter_map(named).collect())
}

/// The answers about a serial that are kept below a signer's folder.
///
/// # Errors
///
/// The bucket cannot be listed.
pub fn files_of(signer: &SignerFolder, serial: &Serial) -> io::Result<Vec<Named>> {
    let digits = serial.to_hex();
    let bucket = digits.get(digits.len().saturating_sub(BUCKET_DIGITS)..).unwrap_or("00");
    let bucket = signer.path.join(bucket);
    if !fs::symlink_metadata(&bucket).is_ok_and(|metadata| metadata.is_dir()) {
        return Ok(Vec::new());
    }
    let prefix = format!("{digits}-");
    let is_of = |file: &Named| {
        let name = file.path.file_name().and_then(|name| name.to_str());
        file.kind == NameKind::Answer && name.is_some_and(|name| name.starts_with(&prefix))
    };
    Ok(files(&bucket)?.into_iter().filter(is_of).collect())
}

impl Named {
    /// Its size and its time. `None`: it is gone.
    #[must_use]
    pub fn outline(&self) -> Option<Outline> {
        let metadata = fs::symlink_metadata(&self.path).ok()?;
        let confirmed = timestamp(metadata.modified().ok()?);
        Some(Outline { size: metadata.len(), confirmed })
    }

    /// What it holds. `None`: it is gone, or cannot be read.
    #[must_use]
    pub fn read(&self) -> Option<Vec<u8>> {
        let mut octets = Vec::with_capacity(1024);
        open(&self.path).ok()?.take(MAX_FILE).read_to_end(&mut octets).ok()?;
        Some(octets)
    }

    /// Whether somebody may still be writing it.
    #[must_use]
    pub fn is_being_written(&self, now: Timestamp) -> bool {
        let age = |outline: Outline| now.saturating_since(outline.confirmed);
        self.kind == NameKind::Unfinished
            && self.outline().is_none_or(|outline| age(outline) <= INTERRUPTED_AFTER)
    }

    /// Removes it.
    ///
    /// # Errors
    ///
    /// What the system says; not that it is gone already.
    pub fn remove(&self) -> io::Result<()> {
        match fs::remove_file(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            removed => removed,
        }
    }
}

fn subfolders(folder: &Path, is_ours: impl Fn(&str) -> bool) -> io::Result<Vec<(String, PathBuf)>> {
    let ours = |entry: DirEntry| {
        let name = entry.file_name().into_string().ok()?;
        let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
        (is_folder && is_ours(&name)).then(|| (name, entry.path()))
    };
    Ok(entries(folder)?.filter_map(ours).collect())
}

fn entries(folder: &Path) -> io::Result<Box<dyn Iterator<Item = DirEntry>>> {
    match fs::read_dir(folder) {
        Ok(entries) => Ok(Box::new(entries.filter_map(Result::ok))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Box::new(std::iter::empty())),
        Err(error) => Err(error),
    }
}

const BUCKET_DIGITS: usize = 2;
