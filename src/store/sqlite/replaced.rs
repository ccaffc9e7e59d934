//! Which file stands under a path, and whether what lies beside it is its own.
//!
//! In WAL mode the latest rows stand in a log beside the file, `FILE-wal`, which SQLite
//! finds by its name alone: where the file is replaced and the log is left, the rows of
//! the old file win for good. SQLite removes the log with the last connection to the
//! file, and those that are kept here are in the way of that. So it is remembered which
//! file each log belongs to: by the process, as the stores after a reload and those of
//! other CAs in the same file must know as well.

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
}

/// Refuses a file beside which the log of another one was left.
///
/// # Errors
///
/// What was replaced, and what to do.
pub(super) fn verify(path: &Path, file: FileId) -> Result<(), Replaced> {
    let log = beside(path, "-wal");
    let seen = logs().get(&log).copied();
    if let (Some(seen), Ok(found)) = (seen, fs::metadata(&log))
        && seen.file != file.identity
        && seen.identity == Identity::of(&found)
        && found.size() > 0
    {
        let shown = |path: &Path| path.display().to_string();
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
    let Ok(found) = fs::metadata(&log) else { return };
    let identity = Identity::of(&found);
    // Looked at once more: it may have been replaced before the log was seen.
    if fs::metadata(path).is_ok_and(|now| Identity::of(&now) == file.identity) {
        logs().insert(log, Log { identity, file: file.identity });
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

/// By their paths.
static LOGS: Mutex<BTreeMap<PathBuf, Log>> = Mutex::new(BTreeMap::new());

fn logs() -> MutexGuard<'static, BTreeMap<PathBuf, Log>> {
    // Nothing panics while it is locked.
    LOGS.lock().unwrap_or_else(PoisonError::into_inner)
}

impl FileId {
    pub(super) fn of(file: &Metadata) -> Self {
        Self {
            identity: Identity::of(file),
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
