//! A file whose content is kept in memory, and read anew once the file is another.
//!
//! Each question looks at the file (one system call), so that a change is seen by the
//! next one, as in a database. A content that cannot be used (half of it written,
//! damaged, gone) does not take the place of the one in memory: that answers for
//! [`GRACE`] from the change on (where the file is gone, or its mount shows an old one: from
//! the last look at it), and is then out of date.

use std::fs::{self, File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use trouble::Trouble;

use crate::digest::sha256;
use crate::logging::quoted;
use crate::status::Basis;
use crate::store::{Finding, mounted};
use crate::time::{Clock, SystemClock, Timestamp};

/// A file, and what was read of it.
pub(super) struct Watched<T> {
    path: PathBuf,
    changes: Changes,
    clock: Arc<dyn Clock>,
    parse: Box<Parse<T>>,
    state: Mutex<State<T>>,
    trouble: Trouble,
}

/// How whoever keeps the file changes it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Changes {
    /// A new one takes its place by rename: a mount of the file alone would never show it.
    ByRename,
    /// In any way.
    Anyhow,
}

/// Makes a content of octets, or says why they are none, or may not take the place of the
/// one that was read before.
type Parse<T> = dyn Fn(&[u8], Option<&T>) -> Result<T, String> + Send + Sync;

/// Something, or what is wrong with the file.
type Outcome<T> = Result<T, Arc<str>>;

/// What was read last that could be used.
pub(super) struct Content<T> {
    pub value: Arc<T>,
    pub age: Age,
}

/// Whether a content is that of the file.
#[derive(Debug)]
pub(super) enum Age {
    /// It is, or was a moment ago.
    Current,
    /// The file cannot be used, for longer than the grace: nothing is known of what has
    /// changed since.
    OutOfDate(Unusable),
}

impl Age {
    /// What a revocation rests on that such a content tells.
    pub(super) fn basis(&self) -> Basis {
        match self {
            Self::Current => Basis::Listed,
            Self::OutOfDate(_) => Basis::Remembered,
        }
    }
}

/// Why a file cannot be used.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{path}: {problem}")]
pub(super) struct Unusable {
    path: Arc<str>,
    pub problem: Arc<str>,
}

struct State<T> {
    content: Option<Arc<T>>,
    /// Of the octets that it was made of.
    digest: [u8; 32],
    /// The file that was read last, and why it could not be used, if so.
    read: Option<(Version, Outcome<()>)>,
    /// Before this, a file that could not be used, and is still being written to, is not
    /// read again.
    retry: Instant,
    /// When the content was last that of the file.
    current: Instant,
    /// The file that was last seen with a name somewhere, by device and inode.
    named: Option<(u64, u64)>,
    failure: Option<Failure>,
}

struct Failure {
    since: Instant,
    unusable: Unusable,
}

/// What tells a file from the one that takes its place, and from itself once written.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Version {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
    settled: Settled,
}

/// Whether a later change must show in the times of the file.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Settled {
    Yes,
    /// It was changed in the second in which it was looked at.
    No,
}

impl<T> Watched<T> {
    /// Does not read the file yet.
    pub(super) fn new(
        path: &Path,
        changes: Changes,
        clock: Arc<dyn Clock>,
        parse: impl Fn(&[u8], Option<&T>) -> Result<T, String> + Send + Sync + 'static,
    ) -> Self {
        let now = Instant::now();
        let state = State {
            content: None,
            digest: [0; 32],
            read: None,
            retry: now,
            current: now,
            named: None,
            failure: None,
        };
        Self {
            path: path.to_owned(),
            changes,
            clock,
            parse: Box::new(parse),
            state: Mutex::new(state),
            trouble: Trouble::new(log::Level::Error),
        }
    }

    /// Reads the file; what is wrong is logged, as the file may come later.
    pub(super) fn read_ahead(&self) {
        let _is_logged = self.get();
    }

    /// The content, as of now. Whoever asks while the file is being read waits for it.
    pub(super) fn get(&self) -> Result<Content<T>, Unusable> {
        let now = Instant::now();
        // Nothing panics while it is locked, and half a state does no harm.
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        match self.look(&mut state, now) {
            Ok(()) => {
                (state.current, state.failure) = (now, None);
                let file = quoted(self.path.display());
                self.trouble.end(format_args!("status file is read again: file={file}"));
            }
            Err(problem) => self.note(&mut state, now, &problem),
        }
        let unusable = || Unusable { path: self.shown(), problem: "not read".into() };
        match (&state.content, &state.failure) {
            (None, failure) => {
                Err(failure.as_ref().map_or_else(unusable, |failure| failure.unusable.clone()))
            }
            (Some(value), failure) => {
                let age = match failure {
                    Some(failure) if now.saturating_duration_since(failure.since) >= GRACE => {
                        Age::OutOfDate(failure.unusable.clone())
                    }
                    _ => Age::Current,
                };
                Ok(Content { value: Arc::clone(value), age })
            }
        }
    }

    /// Where it is, for messages.
    pub(super) fn shown(&self) -> Arc<str> {
        self.path.display().to_string().into()
    }

    /// What the file holds now, whatever it is.
    pub(super) fn octets(&self) -> Result<Vec<u8>, Unusable> {
        let unusable = |problem| Unusable { path: self.shown(), problem };
        let (_, octets) = self.read().map_err(unusable)?;
        octets.map_err(unusable)
    }

    /// What is to be said of a mount of the file alone.
    pub(super) fn mount_warning(&self) -> Option<Finding> {
        mounted::warning(&self.path)
    }

    /// The mode of the file.
    pub(super) fn mode(&self) -> Option<u32> {
        fs::metadata(&self.path).map(|metadata| metadata.mode()).ok()
    }

    /// Reads the file if it is not the one that was read last.
    fn look(&self, state: &mut State<T>, now: Instant) -> Outcome<()> {
        let mut metadata = fs::metadata(&self.path).map_err(problem)?;
        if state.has_lost_its_name(&metadata) {
            // Perhaps between the look at the path and the look at the file.
            metadata = fs::metadata(&self.path).map_err(problem)?;
        }
        if !metadata.is_file() {
            return Err("not a file".into());
        }
        if state.has_lost_its_name(&metadata) {
            return Err(STALE_MOUNT.into());
        }
        if metadata.nlink() > 0 {
            state.named = Some((metadata.dev(), metadata.ino()));
        }
        let version = Version::of(&metadata, self.clock.now());
        match &state.read {
            Some((read, outcome)) if *read == version => return outcome.clone(),
            Some((read, Err(problem))) if read.is_same_file(&version) && now < state.retry => {
                return Err(Arc::clone(problem));
            }
            _ => {}
        }
        state.read = None;
        let (version, octets) = self.read()?;
        let outcome = octets.and_then(|octets| self.take(state, &octets));
        state.retry = Instant::now() + (now.elapsed() * 10).clamp(SHORTEST_PAUSE, LONGEST_PAUSE);
        state.read = Some((version, outcome.clone()));
        log::debug!("status file read: file={}", quoted(self.path.display()));
        outcome
    }

    /// Makes a content of the octets, unless they are those of before: a file that has changed
    /// is read twice, and of a million lines only the first time shall take long.
    fn take(&self, state: &mut State<T>, octets: &[u8]) -> Outcome<()> {
        let digest = sha256(octets);
        if state.content.is_none() || state.digest != digest {
            let content = (self.parse)(octets, state.content.as_deref())?;
            (state.content, state.digest) = (Some(Arc::new(content)), digest);
        }
        Ok(())
    }

    /// The octets of the file, or why they are of no use; and which file that was.
    fn read(&self) -> Outcome<(Version, Outcome<Vec<u8>>)> {
        let mut file = File::open(&self.path).map_err(problem)?;
        // Of the open file: the one at the path may be another by now.
        let before = Version::of(&file.metadata().map_err(problem)?, self.clock.now());
        if self.changes == Changes::ByRename && mounted::is_by_itself(&self.path) {
            return Ok((before, Err(MOUNTED.into())));
        }
        let mut octets = Vec::with_capacity(usize::try_from(before.size.min(MOST)).unwrap_or(0));
        (&mut file).take(MOST + 1).read_to_end(&mut octets).map_err(problem)?;
        let after = Version::of(&file.metadata().map_err(problem)?, self.clock.now());
        if octets.len() as u64 > MOST {
            return Ok((before, Err("larger than 1GiB".into())));
        }
        // Another may have taken its place meanwhile: the next look sees that.
        if (after.size, after.modified) != (before.size, before.modified) {
            return Ok((before, Err("written to while it was read".into())));
        }
        Ok((before, Ok(octets)))
    }

    fn note(&self, state: &mut State<T>, now: Instant, problem: &Arc<str>) {
        let unusable = Unusable { path: self.shown(), problem: Arc::clone(problem) };
        let (file, error) = (quoted(self.path.display()), quoted(problem));
        match &state.content {
            Some(_) => self.trouble.begin(format_args!(
                "status file cannot be used, what was read before answers for {} s: \
                 file={file} error={error}",
                GRACE.as_secs()
            )),
            None => self
                .trouble
                .begin(format_args!("status file cannot be used: file={file} error={error}")),
        }
        match &mut state.failure {
            Some(failure) => failure.unusable = unusable,
            None => {
                let since = state.changed(now);
                state.failure = Some(Failure { since, unusable });
            }
        }
    }
}

impl<T> State<T> {
    /// Whether a file that had a name has none any more, and is at the path nevertheless: it
    /// is mounted there by itself, and what took its place stays unseen. Some file systems
    /// never count the names.
    fn has_lost_its_name(&self, metadata: &Metadata) -> bool {
        metadata.nlink() == 0 && self.named == Some((metadata.dev(), metadata.ino()))
    }

    /// Since when the content may no longer be that of the file, which cannot be used: the
    /// first question may come long after the change.
    fn changed(&self, now: Instant) -> Instant {
        let Some((version, Err(_))) = &self.read else { return self.current };
        // Not by its modification time, which is what whoever wrote it says.
        let changed = Timestamp::from_unix(version.changed.0);
        let ago = now.checked_sub(SystemClock.now().saturating_since(changed));
        ago.map_or(self.current, |changed| changed.max(self.current))
    }
}

impl Version {
    fn is_same_file(&self, other: &Self) -> bool {
        (self.device, self.inode) == (other.device, other.inode)
    }

    fn of(metadata: &Metadata, now: Timestamp) -> Self {
        let changed = metadata.ctime().max(metadata.mtime());
        // Times of files have steps of some milliseconds, or of two seconds.
        let is_settled = now.unix().saturating_sub(changed) > 2;
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
            settled: if is_settled { Settled::Yes } else { Settled::No },
        }
    }
}

fn problem(error: io::Error) -> Arc<str> {
    error.to_string().into()
}

/// How long the content in memory answers for a file that cannot be used: longer than
/// it takes to copy one, shorter than a revocation may stay unseen.
pub(super) const GRACE: Duration = Duration::from_secs(10);
const MOUNTED: &str = "mounted by itself, so that one that takes its place is not seen, as at the \
                       next revocation by openssl or Easy-RSA, wanted: a mount of its folder";
const STALE_MOUNT: &str = "replaced or removed, but mounted by itself, so that the old one is \
                           still seen, wanted: a mount of its folder";
/// A file that is being written to is left alone for ten times as long as reading it
/// took, since it is read while others wait; within these bounds.
const SHORTEST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// More than any CA has; a device does not fill the memory.
const MOST: u64 = 1 << 30;

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
    use std::{iter, thread};

    use super::*;
    use crate::time::FixedClock;

    fn watched(path: &Path) -> Watched<()> {
        let parse = |octets: &[u8], _: Option<&()>| match octets {
            b"whole" => Ok(()),
            _ => Err("broken".to_owned()),
        };
        Watched::new(path, Changes::Anyhow, Arc::new(SystemClock), parse)
    }

    fn is_current(watched: &Watched<()>) -> bool {
        matches!(watched.get().unwrap().age, Age::Current)
    }

    #[test]
    fn what_has_not_changed_is_not_made_anew() {
        let made = Arc::new(AtomicUsize::new(0));
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let write_at = |octets: &str, seconds_ago| {
            fs::write(&path, octets).unwrap();
            let time = fs::FileTimes::new().set_modified(
                fs::metadata(&path).unwrap().modified().unwrap() - Duration::from_secs(seconds_ago),
            );
            File::options().write(true).open(&path).unwrap().set_times(time).unwrap();
        };
        write_at("one", 20);
        let counted = Arc::clone(&made);
        let watched =
            Watched::new(&path, Changes::Anyhow, Arc::new(SystemClock), move |octets, _| {
                counted.fetch_add(1, Ordering::Relaxed);
                Ok(octets.to_vec())
            });
        for (octets, seconds_ago, wanted) in [("one", 10, 1), ("two", 10, 2), ("one", 0, 3)] {
            write_at(octets, seconds_ago);
            assert_eq!(*watched.get().unwrap().value, octets.as_bytes());
            assert_eq!(made.load(Ordering::Relaxed), wanted);
        }
    }

    #[test]
    fn the_grace_of_a_file_that_cannot_be_used_begins_at_its_change_not_at_the_first_question() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let minute = Duration::from_secs(60);
        fs::write(&path, "whole").unwrap();
        let watched = watched(&path);
        assert!(is_current(&watched));
        watched.state.lock().unwrap().current -= minute; // nobody has asked since
        fs::write(&path, "half").unwrap();
        assert!(is_current(&watched), "it has just been changed");
        {
            let state = &mut *watched.state.lock().unwrap();
            // So that it is not read again.
            state.retry += minute;
            state.failure = None;
            let (version, _) = state.read.as_mut().unwrap();
            version.changed.0 -= 60;
            version.modified.0 += 86_400; // by a clock that is ahead
        }
        assert!(!is_current(&watched), "it was changed a minute ago");
        fs::write(&path, "whole").unwrap();
        watched.state.lock().unwrap().retry = Instant::now();
        assert!(is_current(&watched));
        fs::remove_file(&path).unwrap();
        assert!(is_current(&watched), "it was there a moment ago");
        {
            let state = &mut *watched.state.lock().unwrap();
            state.failure = None;
            state.current -= minute;
        }
        assert!(!is_current(&watched), "nobody knows since when it is gone");
    }

    fn echoing(path: &Path) -> Watched<Vec<u8>> {
        Watched::new(path, Changes::Anyhow, Arc::new(SystemClock), |octets, _| Ok(octets.to_vec()))
    }

    // rule: ANS-1
    #[test]
    fn a_second_change_that_the_times_of_the_file_do_not_tell_is_read_a_moment_later() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        fs::write(&path, "first").unwrap();
        let mut watched = echoing(&path);
        assert_eq!(*watched.get().unwrap().value, b"first");
        fs::write(&path, "again").unwrap();
        {
            // As if both had come in one tick of the kernel's clock.
            let state = &mut *watched.state.lock().unwrap();
            let (version, _) = state.read.as_mut().unwrap();
            *version = Version::of(&fs::metadata(&path).unwrap(), SystemClock.now());
        }
        let later = SystemClock.now().saturating_add(Duration::from_secs(4));
        watched.clock = Arc::new(FixedClock(later));
        assert_eq!(*watched.get().unwrap().value, b"again");
    }

    // rule: ANS-1
    #[test]
    fn a_file_that_is_written_to_while_it_is_read_is_not_taken() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        fs::write(&path, vec![b'x'; 16 << 20]).unwrap();
        let watched = echoing(&path);
        let begun = Instant::now();
        let done = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| {
                let mut file = File::options().append(true).open(&path).unwrap();
                while !done.load(Ordering::Relaxed) {
                    file.write_all(b"x").unwrap();
                }
            });
            // Whoever writes need not have had a turn during the first reading.
            let torn = || {
                watched
                    .octets()
                    .is_err_and(|unusable| &*unusable.problem == "written to while it was read")
            };
            let found = iter::repeat_with(torn)
                .take_while(|_| begun.elapsed() < GRACE)
                .any(|is_torn| is_torn);
            done.store(true, Ordering::Relaxed);
            assert!(found);
        });
    }
}
