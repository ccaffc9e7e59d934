//! The whole cache folder, file by file: what administrators ask about it, and what is
//! swept out of it.
//!
//! Sees only what bears a name of ours, and follows no links. Takes memory for the names
//! of one bucket at a time.

use std::fs::{self, DirEntry};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::cache::disk::{
    BUCKET_DIGITS, MAX_FILE, SHORT_HASH_DIGITS, TEMPORARY_SUFFIX, bucket, create_folder, open,
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
    /// That of the answers which are signed with this certificate, in DER, below the cache folder.
    #[must_use]
    pub fn of(folder: &Path, certificate: &[u8]) -> Self {
        let name = short_hash(certificate);
        Self { path: folder.join(&name), name }
    }

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
    let bucket = signer.path.join(bucket(&digits));
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

/// Takes a bucket away with all that is in it, to be emptied where it is now: responders
/// that find the file of an answer gone from a bucket that is there take it that somebody
/// has found out a revocation (`Disk::is_removed`). `None`: it stays, as it holds what is
/// not ours or is being written.
///
/// # Errors
///
/// It cannot be listed.
pub fn put_aside(folder: &Path, bucket: &Path, now: Timestamp) -> io::Result<Option<PathBuf>> {
    let ours = files(bucket)?;
    if ours.len() < entries(bucket)?.count() || ours.iter().any(|file| file.is_being_written(now)) {
        return Ok(None);
    }
    let Some(name) = bucket.file_name() else { return Ok(None) };
    let aside = aside(folder).path.join(name);
    let moved =
        create_folder(aside.parent().unwrap_or(folder)).and_then(|()| fs::rename(bucket, &aside));
    Ok(moved.is_ok().then_some(aside))
}

/// Ends what [`put_aside`] has begun, once all is removed.
pub fn end_aside(folder: &Path) {
    let _none_or_something_is_left = fs::remove_dir(aside(folder).path);
}

/// Where [`put_aside`] moves them: as the folder of a signer that there is not, so that the
/// sweep removes what a purge that was interrupted has left.
#[must_use]
pub fn aside(folder: &Path) -> SignerFolder {
    SignerFolder::of(folder, b"put aside")
}

/// Removes what no configured signer will give again: folders of other signers,
/// files whose last confirmation is older than `longest_validity`, and remains of
/// interrupted writes. Touches nothing that does not bear a name of ours.
///
/// # Errors
///
/// The first folder that cannot be listed.
pub fn sweep(
    folder: &Path,
    signers: &[&[u8]],
    longest_validity: Duration,
    now: Timestamp,
) -> io::Result<usize> {
    let mut removed = 0;
    for signer in signer_folders(folder)? {
        let is_current = signers.iter().any(|certificate| signer.is_of(certificate));
        let is_over = |file: &Named| match file.kind {
            NameKind::Answer => !is_current || file.age(now) > longest_validity,
            NameKind::Unfinished => !file.is_being_written(now),
        };
        for bucket in signer.buckets()? {
            let over = files(&bucket)?.into_iter().filter(is_over);
            removed += over.filter(|file| file.remove().is_ok()).count();
            if !is_current {
                let _still_in_use = fs::remove_dir(&bucket);
            }
        }
        if !is_current {
            let _still_in_use = fs::remove_dir(&signer.path);
        }
    }
    Ok(removed)
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
        self.kind == NameKind::Unfinished && self.age(now) <= INTERRUPTED_AFTER
    }

    /// The time since its last confirmation; none where that cannot be told.
    fn age(&self, now: Timestamp) -> Duration {
        let since = |outline: Outline| now.saturating_since(outline.confirmed);
        self.outline().map(since).unwrap_or_default()
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

/// `<serial>-<CertID>.der`
fn is_answer(name: &str) -> bool {
    let parts = name.strip_suffix(".der").and_then(|stem| stem.split_once('-'));
    parts.is_some_and(|(serial, cert_id)| {
        is_hex(serial, serial.len()) && is_hex(cert_id, SHORT_HASH_DIGITS)
    })
}

/// As `tempfile` names them, with our suffix.
fn is_interrupted_write(name: &str) -> bool {
    name.starts_with(".tmp") && name.ends_with(TEMPORARY_SUFFIX)
}

fn is_hex(name: &str, digits: usize) -> bool {
    name.len() == digits
        && name.bytes().all(|octet| octet.is_ascii_digit() || (b'a'..=b'f').contains(&octet))
}

/// No write takes this long.
const INTERRUPTED_AFTER: Duration = Duration::from_secs(3_600);
