//! One DER file per answer, replaced by rename; safe between processes.
//!
//! `FOLDER/<signer>/<last octet of the serial>/<serial>-<CertID>.der`, where
//! `<signer>` and `<CertID>` are the first 8 octets of SHA-256 in hexadecimal. A
//! file holds exactly the OCSPResponse; its modification time is the last
//! confirmation. Files are never written in place, so what a reader has opened
//! never changes under it.

use std::fs::{self, File, FileTimes};
use std::io::{self, Read, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::fs::{Access, AtFlags, CWD, Mode, OFlags};
use tempfile::{NamedTempFile, PersistError};
use trouble::Trouble;

use crate::cache::unremoved::UNREMOVED;
use crate::digest::sha256;
use crate::hex;
use crate::logging::quoted;
use crate::ocsp::CertId;
use crate::time::{Clock, SystemClock, Timestamp};

/// The answers of one signer, below a folder of its own: a new signer never
/// meets the answers of an old one.
pub struct Disk {
    folder: PathBuf,
    trouble: Trouble,
}

/// An answer as it was found.
pub struct CacheFile {
    /// What should be an OCSPResponse.
    pub der: Vec<u8>,
    /// The last confirmation.
    pub modified: Timestamp,
    /// Where it was found.
    pub path: PathBuf,
}

impl CacheFile {
    /// Whether it could be removed. Where it could not, it may be there although it is
    /// overtaken.
    #[must_use]
    pub fn is_removable(&self) -> bool {
        let folder = self.path.parent().unwrap_or(&self.path);
        rustix::fs::accessat(CWD, folder, Access::WRITE_OK, AtFlags::empty()).is_ok()
    }
}

/// A file that cannot be read now: no descriptor is left, say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unreadable;

/// What became of an answer that was to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Written {
    /// It has its file.
    Yes,
    /// Another one stays in its place.
    Not,
    /// It cannot be written, which is reported.
    Failed,
}

/// What became of a confirmation.
pub enum Confirmed {
    /// The file has its time; or cannot have it, which is reported.
    Yes,
    /// There is no file.
    Missing,
    /// The file holds another answer, and keeps its time.
    Other(CacheFile),
}

impl Disk {
    /// Below `folder`, in a folder named after the signer's certificate. Nothing
    /// is created before the first answer is kept.
    #[must_use]
    pub fn new(folder: &Path, signer_certificate: &[u8]) -> Self {
        Self::at(folder.join(short_hash(signer_certificate)))
    }

    /// In this folder of a signer.
    #[must_use]
    pub fn at(folder: PathBuf) -> Self {
        Self { folder, trouble: Trouble::new(log::Level::Warn) }
    }

    /// Reads the answer to a question, whatever it may be, but for one that should have been
    /// removed.
    pub fn read(&self, cert_id: &CertId<'_>) -> Option<CacheFile> {
        self.try_read(cert_id).ok().flatten()
    }

    /// The same, where it matters whether there is none.
    ///
    /// # Errors
    ///
    /// There may be one, and it cannot be read now, which is reported.
    pub fn try_read(&self, cert_id: &CertId<'_>) -> Result<Option<CacheFile>, Unreadable> {
        let path = self.path(cert_id);
        if UNREMOVED.holds_on_to(&path) {
            return Ok(None);
        }
        let read = || -> io::Result<CacheFile> {
            let mut file = open(&path)?;
            let metadata = file.metadata()?;
            let mut der = Vec::with_capacity(1024);
            (&mut file).take(MAX_FILE).read_to_end(&mut der)?;
            Ok(CacheFile { der, modified: timestamp(metadata.modified()?), path })
        };
        match read() {
            Ok(file) => Ok(Some(file)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => {
                self.report("reading", &error);
                Err(Unreadable)
            }
        }
    }

    /// Writes an answer beside its place and moves it there. A disk that is full
    /// or read-only costs a log line, not an answer.
    pub fn write(&self, cert_id: &CertId<'_>, der: &[u8], confirmed: Timestamp) -> Written {
        let written = self.try_write(cert_id, der, confirmed).map(|()| true);
        self.note(written)
    }

    /// As [`Disk::write`] where nothing is kept yet; what is stays.
    pub fn write_new(&self, cert_id: &CertId<'_>, der: &[u8], confirmed: Timestamp) -> Written {
        self.note(self.try_write_new(cert_id, der, confirmed))
    }

    fn note(&self, written: io::Result<bool>) -> Written {
        match written {
            Ok(written) => {
                self.trouble.end(format_args!(
                    "cache folder can be written again: folder={}",
                    self.quoted_folder()
                ));
                // Nobody may ask for those, and other processes would find them.
                UNREMOVED.try_again();
                if written { Written::Yes } else { Written::Not }
            }
            Err(error) => {
                self.report("writing", &error);
                Written::Failed
            }
        }
    }

    /// As [`Disk::write`], for those who cannot go on without.
    ///
    /// # Errors
    ///
    /// What the system says; the place holds what it held before.
    pub fn try_write(
        &self,
        cert_id: &CertId<'_>,
        der: &[u8],
        confirmed: Timestamp,
    ) -> io::Result<()> {
        self.put(cert_id, (der, confirmed), |file, path| file.persist(path))
    }

    /// As [`Disk::try_write`] where nothing is kept yet; `false`, something is, and stays.
    ///
    /// # Errors
    ///
    /// As for [`Disk::try_write`].
    pub fn try_write_new(
        &self,
        cert_id: &CertId<'_>,
        der: &[u8],
        confirmed: Timestamp,
    ) -> io::Result<bool> {
        let written =
            self.put(cert_id, (der, confirmed), |file, path| file.persist_noclobber(path));
        match written {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Once more where the bucket is gone when the file is to get its name: `cache purge --all`
    /// has moved it away.
    fn put(
        &self,
        cert_id: &CertId<'_>,
        (der, confirmed): (&[u8], Timestamp),
        persist: impl Fn(NamedTempFile, &Path) -> Result<File, PersistError>,
    ) -> io::Result<()> {
        let path = self.path(cert_id);
        let write = || {
            let file = write_beside(&path, der, confirmed)?;
            UNREMOVED.replace(&path, || persist(file, &path)).map_err(|error| error.error)
        };
        let is_gone = |error: &io::Error| error.kind() == io::ErrorKind::NotFound;
        write().or_else(|error| if is_gone(&error) { write() } else { Err(error) }).map(drop)
    }

    /// Moves the modification time of an answer forward to `confirmed`, if the file still
    /// holds `der`: another process may have put another answer there.
    pub fn confirm(&self, cert_id: &CertId<'_>, der: &[u8], confirmed: Timestamp) -> Confirmed {
        let confirm = || -> io::Result<Confirmed> {
            let path = self.path(cert_id);
            let mut file = open(&path)?;
            let mut found = Vec::with_capacity(der.len() + 1);
            (&mut file).take(MAX_FILE).read_to_end(&mut found)?;
            let modified = timestamp(file.metadata()?.modified()?);
            if found != der {
                return Ok(Confirmed::Other(CacheFile { der: found, modified, path }));
            }
            // One in the future is a clock that was ahead; it would count once that is past.
            if modified < confirmed || modified > SystemClock.now() {
                file.set_times(FileTimes::new().set_modified(system_time(confirmed)))?;
            }
            Ok(Confirmed::Yes)
        };
        confirm().unwrap_or_else(|error| {
            if error.kind() == io::ErrorKind::NotFound {
                return Confirmed::Missing;
            }
            self.report("confirming", &error);
            Confirmed::Yes
        })
    }

    /// Whether somebody has removed the file of an answer; not where its whole bucket is gone,
    /// as by `cache purge --all`, or nobody can tell.
    #[must_use]
    pub fn is_removed(&self, cert_id: &CertId<'_>) -> bool {
        let path = self.path(cert_id);
        let is_gone = |error: io::Error| error.kind() == io::ErrorKind::NotFound;
        UNREMOVED.contains(&path)
            || (fs::symlink_metadata(&path).is_err_and(is_gone)
                && path.parent().is_some_and(Path::is_dir))
    }

    /// Whether the file of an answer holds another one, or somebody has removed it; or nobody
    /// can tell.
    pub fn is_replaced(&self, cert_id: &CertId<'_>, der: &[u8]) -> bool {
        self.differs(cert_id, der).unwrap_or_else(|| self.is_removed(cert_id))
    }

    /// The same where it was to have no file: one that is there holds another one.
    pub fn holds_another(&self, cert_id: &CertId<'_>, der: &[u8]) -> bool {
        self.differs(cert_id, der).unwrap_or(false)
    }

    /// Whether the file holds another answer, or nobody can tell. `None`: there is none.
    fn differs(&self, cert_id: &CertId<'_>, der: &[u8]) -> Option<bool> {
        match self.try_read(cert_id) {
            Ok(file) => file.map(|file| file.der != der),
            Err(Unreadable) => Some(true),
        }
    }

    /// Removes an answer. One that cannot be removed is reported, and found no more by this
    /// process.
    pub fn remove(&self, cert_id: &CertId<'_>) {
        if let Err(error) = UNREMOVED.remove_file(self.path(cert_id)) {
            self.report("removing from", &error);
        }
    }

    /// The same where those to whom the folder belongs report what is wrong with it.
    pub fn remove_unreported(&self, cert_id: &CertId<'_>) {
        let _noted = UNREMOVED.remove_file(self.path(cert_id));
    }

    /// Where the answer to a question is kept.
    #[must_use]
    pub fn path(&self, cert_id: &CertId<'_>) -> PathBuf {
        let serial = cert_id.serial().to_hex();
        let mut place = String::with_capacity(serial.len() + BESIDE_SERIAL);
        for part in [bucket(&serial), "/", &serial, "-"] {
            place.push_str(part);
        }
        push_short_hash(&mut place, cert_id.der());
        place.push_str(".der");
        let folder = self.folder.as_path();
        let mut path = PathBuf::with_capacity(folder.as_os_str().len() + 1 + place.len());
        path.push(folder);
        path.push(place);
        path
    }

    fn report(&self, doing: &str, error: &io::Error) {
        self.trouble.begin(format_args!(
            "cache folder out of order, answers are not kept: {doing}={} error={}",
            self.quoted_folder(),
            quoted(error),
        ));
    }

    /// The folder of the signer, for messages.
    pub(super) fn quoted_folder(&self) -> impl std::fmt::Display {
        quoted(self.folder.display())
    }
}

/// Opens what should be a file of ours; does not wait for what is none, as a pipe.
pub(super) fn open(path: &Path) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
    Ok(rustix::fs::open(path, flags, Mode::empty())?.into())
}

fn write_beside(path: &Path, der: &[u8], confirmed: Timestamp) -> io::Result<NamedTempFile> {
    let folder = path.parent().unwrap_or(path);
    match temporary_in(folder, der, confirmed) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            create_folder(folder).and_then(|()| temporary_in(folder, der, confirmed))
        }
        written => written,
    }
}

fn temporary_in(folder: &Path, der: &[u8], confirmed: Timestamp) -> io::Result<NamedTempFile> {
    let mut file = tempfile::Builder::new().suffix(TEMPORARY_SUFFIX).tempfile_in(folder)?;
    file.write_all(der)?;
    // Written in the second of the confirmation: the file has that time already, or a
    // tick of the kernel's clock less, which is on the safe side.
    if SystemClock.now() != confirmed {
        file.as_file().set_times(FileTimes::new().set_modified(system_time(confirmed)))?;
    }
    Ok(file)
}

pub(super) fn create_folder(path: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}

pub(super) fn short_hash(octets: &[u8]) -> String {
    let mut text = String::with_capacity(SHORT_HASH_DIGITS);
    push_short_hash(&mut text, octets);
    text
}

fn push_short_hash(text: &mut String, octets: &[u8]) {
    hex::push(text, sha256(octets).get(..SHORT_HASH_DIGITS / 2).unwrap_or_default());
}

/// The part of the folder that a serial, in hexadecimal, belongs to.
pub(super) fn bucket(serial: &str) -> &str {
    serial.get(serial.len().saturating_sub(BUCKET_DIGITS)..).unwrap_or("00")
}

pub(super) fn timestamp(time: SystemTime) -> Timestamp {
    let seconds = time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    Timestamp::from_unix(i64::try_from(seconds).unwrap_or(i64::MAX))
}

fn system_time(instant: Timestamp) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(u64::try_from(instant.unix()).unwrap_or(0))
}

pub(super) const SHORT_HASH_DIGITS: usize = 16;
pub(super) const BUCKET_DIGITS: usize = 2;
/// What the place of an answer has beside the digits of its serial.
const BESIDE_SERIAL: usize = BUCKET_DIGITS + "/-.der".len() + SHORT_HASH_DIGITS;
pub(super) const TEMPORARY_SUFFIX: &str = ".tmp";
/// Far more than an answer about one certificate takes.
pub(super) const MAX_FILE: u64 = 64 * 1024;

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;
    use crate::ocsp::IssuerHashes;
    use crate::serial::Serial;

    #[test]
    fn an_answer_whose_bucket_is_moved_away_while_it_is_written_is_written_once_more() {
        let folder = tempfile::tempdir().unwrap();
        let disk = Disk::new(folder.path(), b"signer");
        let spellings = IssuerHashes::new(b"name", b"key").cert_ids(&Serial::PROBE);
        let cert_id = CertId::from_der(&spellings[0]).unwrap();
        let purges = |most| {
            let purged = Cell::new(0);
            let put = disk.put(&cert_id, (b"good", Timestamp::EPOCH), |file, path| {
                if purged.replace(purged.get() + 1) < most {
                    let away = folder.path().join(format!("away-{most}-{}", purged.get()));
                    fs::rename(path.parent().unwrap(), away).unwrap();
                }
                file.persist(path)
            });
            put.map_err(|error| error.kind())
        };
        assert_eq!(purges(2), Err(io::ErrorKind::NotFound));
        assert_eq!(purges(1), Ok(()));
        assert_eq!(disk.read(&cert_id).map(|file| file.der), Some(b"good".to_vec()));
    }

    // rule: ANS-6
    #[test]
    fn what_cannot_be_read_may_be_anything() {
        let folder = tempfile::tempdir().unwrap();
        let disk = Disk::new(folder.path(), b"signer");
        let spellings = IssuerHashes::new(b"name", b"key").cert_ids(&Serial::PROBE);
        let cert_id = CertId::from_der(&spellings[0]).unwrap();
        assert!(matches!(disk.try_read(&cert_id), Ok(None)));
        // Opened, and not read.
        fs::create_dir_all(disk.path(&cert_id)).unwrap();
        assert!(matches!(disk.try_read(&cert_id), Err(Unreadable)));
        assert!(disk.is_replaced(&cert_id, b"good"));
    }
}
