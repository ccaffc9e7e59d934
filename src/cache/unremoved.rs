//! Files of overtaken answers that could not be removed, as on a file system that has become
//! read-only: nobody is to find them any more. Where nobody can tell whether there is one, as
//! in a folder of another user, nothing that is in that folder is to be found.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::cache::survey::{self, NameKind};

/// Of this process; no more than there are files and folders.
pub(super) struct Unremoved {
    /// While there is none, to ask costs one load.
    any: AtomicBool,
    paths: Mutex<BTreeSet<PathBuf>>,
}

/// Of the process, as a reload makes all caches anew, over the same folders.
pub(super) static UNREMOVED: Unremoved = Unremoved::new();

impl Unremoved {
    const fn new() -> Self {
        Self { any: AtomicBool::new(false), paths: Mutex::new(BTreeSet::new()) }
    }

    /// The file is there still; or it may be in this folder.
    pub(super) fn add(&self, path: PathBuf) {
        self.change(|paths| paths.insert(path));
    }

    /// The file is gone.
    pub(super) fn remove(&self, path: &Path) {
        if self.contains(path) {
            self.change(|paths| paths.remove(path));
        }
    }

    /// Whether the file should not be there.
    pub(super) fn contains(&self, path: &Path) -> bool {
        self.any.load(Ordering::Acquire) && self.change(|paths| notes_of(paths, path).is_some())
    }

    /// Whether the file should not be there, and cannot be removed now either.
    pub(super) fn holds_on_to(&self, path: &Path) -> bool {
        self.contains(path)
            && self.change(|paths| {
                settle(paths, path);
                notes_of(paths, path).is_some()
            })
    }

    /// Removes those that can be removed by now.
    pub(super) fn try_again(&self) {
        if self.any.load(Ordering::Acquire) {
            self.change(|paths| {
                let mut stuck = None;
                paths.retain(|path| {
                    // Where one cannot be, the others beside it hardly can.
                    let is_left = stuck.as_deref() == path.parent() || !is_gone(path);
                    if is_left {
                        stuck = path.parent().map(Path::to_owned);
                    }
                    is_left
                });
            });
        }
    }

    /// Has `write` put another file into its place, which nobody is to remove then.
    pub(super) fn replace<T, E>(
        &self,
        path: &Path,
        write: impl FnOnce() -> Result<T, E>,
    ) -> Result<T, E> {
        if !self.contains(path) {
            return write();
        }
        self.change(|paths| {
            // Not to be emptied with the new one in it.
            settle(paths, path);
            let written = write()?;
            paths.remove(path);
            Ok(written)
        })
    }

    #[cfg(test)]
    pub(super) fn below(&self, folder: &Path) -> usize {
        self.change(|paths| paths.iter().filter(|path| path.starts_with(folder)).count())
    }

    fn change<T>(&self, change: impl FnOnce(&mut BTreeSet<PathBuf>) -> T) -> T {
        let mut paths = self.paths.lock().unwrap_or_else(PoisonError::into_inner);
        let outcome = change(&mut paths);
        self.any.store(!paths.is_empty(), Ordering::Release);
        outcome
    }
}

/// What is noted of a file, or of its folder.
fn notes_of<'p>(paths: &BTreeSet<PathBuf>, path: &'p Path) -> Option<&'p Path> {
    [Some(path), path.parent()].into_iter().flatten().find(|path| paths.contains(*path))
}

/// Removes a file, or all of its folder, where that can be done by now.
fn settle(paths: &mut BTreeSet<PathBuf>, path: &Path) {
    while let Some(noted) = notes_of(paths, path)
        && is_gone(noted)
    {
        paths.remove(noted);
    }
}

fn is_gone(path: &Path) -> bool {
    match fs::remove_file(path) {
        Ok(()) => true,
        Err(error) if error.kind() == io::ErrorKind::IsADirectory => is_emptied(path),
        Err(error) => error.kind() == io::ErrorKind::NotFound,
    }
}

/// Whether a folder has no answers any more. Those that are being written are others.
fn is_emptied(folder: &Path) -> bool {
    survey::files(folder).is_ok_and(|files| {
        let mut answers = files.into_iter().filter(|file| file.kind == NameKind::Answer);
        answers.all(|file| file.remove().is_ok())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_not_to_be_there_until_it_is_gone() {
        let (one, other) = (Path::new("one"), Path::new("other"));
        let unremoved = Unremoved::new();
        assert!(!unremoved.contains(one));
        for path in [one, other, one] {
            unremoved.add(path.into());
        }
        assert!(unremoved.contains(one) && unremoved.contains(other));
        unremoved.remove(one);
        assert!(!unremoved.contains(one) && unremoved.contains(other));
        unremoved.remove(other);
        unremoved.add("folder".into());
        assert!(unremoved.contains(Path::new("folder/file")) && !unremoved.contains(other));
        unremoved.remove(Path::new("folder"));
        assert!(!unremoved.contains(other) && !unremoved.any.load(Ordering::Acquire));
    }
}
