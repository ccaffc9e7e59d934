//! Which file stands under a path, whether it is still the one that is meant, and whether
//! what lies beside it is its own.
//!
//! In WAL mode the latest rows stand in a log beside the file, `FILE-wal`, which SQLite
//! finds by its name alone: where the file is replaced and the log is left, the rows of
//! the old file win for good. SQLite removes the log with the last connection to the
//! file, and those that are kept here are in the way of that. So it is remembered which
//! file each log belongs to.
//!
//! A file that is mounted by itself stays the old one when it is replaced by rename. What
//! tells is that it has no name left where it comes from. Some file systems never tell of
//! one, so it is remembered which files had a name.
//!
//! The process remembers, as the stores after a reload and those of other CAs in the same
//! file must know as well.

use std::collections::BTreeMap;
use std::fs::{self, File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

/// What tells a file from the one that takes its place, and from itself once it is written
/// to: SQLite tells that, too, but not where another file was copied over it whose counter
/// of changes is the same, as that of one made anew by the same statements.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct FileId {
    identity: Identity,
    /// The names that it has.
    links: u64,
    size: u64,
    changed: (i64, i64),
}

/// What a file keeps for as long as it is there.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Identity {
    device: u64,
    inode: u64,
    /// The number of a file that is gone is given to another one.
    created: Option<SystemTime>,
}

/// A log and the file that it was seen beside.
#[derive(Clone, Copy)]
struct Log {
    identity: Identity,
    file: Identity,
}

/// A file must not be read as it is now.
#[derive(Debug, thiserror::Error)]
pub(super) enum Replaced {
    #[error(
        "{0} was replaced, but {1} is still that of the old file, whose rows would count in place \
         of the new ones; wanted, before any restart and with all that write to it stopped: \
         rm {1} {2} (the next time: sqlite3 {0} '.restore NEW')"
    )]
    LogLeft(String, String, String),
    #[error(
        "{0} was replaced or removed where it comes from, and what is mounted here is the old one; \
         wanted: its folder mounted, in place of the file alone"
    )]
    NameLost(String),
}

/// What the process has seen.
struct Seen {
    /// By their paths.
    logs: BTreeMap<PathBuf, Log>,
    /// The last file under each path that had a name.
    named: BTreeMap<PathBuf, Identity>,
}

/// Refuses a file that has lost its name, or beside which the log of another one was left.
///
/// # Errors
///
/// What was replaced, and what to do.
pub(super) fn verify(path: &Path, file: FileId) -> Result<(), Replaced> {
    verify_name(path, file)?;
    verify_log(path, file)
}

fn verify_name(path: &Path, file: FileId) -> Result<(), Replaced> {
    if file.links > 0 {
        seen().named.insert(path.to_owned(), file.identity);
        return Ok(());
    }
    let had_name = seen().named.get(path) == Some(&file.identity);
    // Looked at once more: a rename at this moment leaves none to the old file either.
    if had_name && is_still(path, file) {
        return Err(Replaced::NameLost(shown(path)));
    }
    Ok(())
}

fn verify_log(path: &Path, file: FileId) -> Result<(), Replaced> {
    let log = beside(path, "-wal");
    let seen = seen().logs.get(&log).copied();
    if let (Some(seen), Ok(found)) = (seen, fs::metadata(&log))
        && seen.file != file.identity
        && seen.identity == Identity::of(&found)
        && found.size() > 0
    {
        return Err(Replaced::LogLeft(shown(path), shown(&log), shown(&beside(path, "-shm"))));
    }
    remember(log, path, file);
    Ok(())
}

/// Remembers which log lies beside a file that was opened: that may make one.
pub(super) fn note(path: &Path, file: FileId) {
    remember(beside(path, "-wal"), path, file);
}

fn remember(log: PathBuf, path: &Path, file: FileId) {
    let Ok(found) = fs::metadata(&log) else {
        seen().logs.remove(&log);
        return;
    };
    let identity = Identity::of(&found);
    // The file may have been replaced before the log was looked at.
    if is_still(path, file) {
        seen().logs.insert(log, Log { identity, file: file.identity });
    }
}

/// A log with rows in it beside a file that is in no need of one: it is of another file.
///
/// Opens the file, which takes away the locks that a connection of this process has on
/// it: for `check` alone.
pub(super) fn foreign_log(path: &Path) -> io::Result<Option<PathBuf>> {
    let log = beside(path, "-wal");
    if !fs::metadata(&log).is_ok_and(|log| log.size() > 0) {
        return Ok(None);
    }
    let mut header = Vec::new();
    File::open(path)?.take(HEADER_OCTETS).read_to_end(&mut header)?;
    Ok(header.ends_with(&ROLLBACK_JOURNAL).then_some(log))
}

/// What SQLite keeps beside the file, where a link points to.
fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned()).into_os_string();
    name.push(ending);
    name.into()
}

fn is_still(path: &Path, file: FileId) -> bool {
    fs::metadata(path).is_ok_and(|now| Identity::of(&now) == file.identity)
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}

static SEEN: Mutex<Seen> = Mutex::new(Seen { logs: BTreeMap::new(), named: BTreeMap::new() });

fn seen() -> MutexGuard<'static, Seen> {
    // Nothing panics while it is locked.
    SEEN.lock().unwrap_or_else(PoisonError::into_inner)
}

impl FileId {
    pub(super) fn of(file: &Metadata) -> Self {
        Self {
            identity: Identity::of(file),
            links: file.nlink(),
            size: file.size(),
            changed: (file.ctime(), file.ctime_nsec()),
        }
    }
}

impl Identity {
    fn of(file: &Metadata) -> Self {
        Self { device: file.dev(), inode: file.ino(), created: file.created().ok() }
    }
}

/// As far as the versions of the format that are needed to write to the file and to read
/// it, its last two: 2 and 2 in WAL mode.
const HEADER_OCTETS: u64 = 20;
const ROLLBACK_JOURNAL: [u8; 2] = [1, 1];
