//! Files of overtaken answers that could not be removed, as on a file system that has become
//! read-only: nobody is to find them any more.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Of this process; no more than there are files.
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

    /// The file is there still.
    pub(super) fn add(&self, path: PathBuf) {
        let mut paths = self.paths();
        paths.insert(path);
        self.any.store(true, Ordering::Release);
    }

    /// The file is gone.
    pub(super) fn remove(&self, path: &Path) {
        if self.any.load(Ordering::Acquire) {
            let mut paths = self.paths();
            paths.remove(path);
            self.any.store(!paths.is_empty(), Ordering::Release);
        }
    }

    /// Whether the file should not be there, and cannot be removed now either.
    pub(super) fn holds_on_to(&self, path: &Path) -> bool {
        if !self.any.load(Ordering::Acquire) {
            return false;
        }
        let mut paths = self.paths();
        if !paths.contains(path) {
            return false;
        }
        if !is_gone(path) {
            return true;
        }
        paths.remove(path);
        self.any.store(!paths.is_empty(), Ordering::Release);
        false
    }

    /// Removes those that can be removed by now.
    pub(super) fn try_again(&self) {
        if self.any.load(Ordering::Acquire) {
            let mut paths = self.paths();
            // Where one cannot be, the others hardly can.
            while let Some(path) = paths.pop_first() {
                if !is_gone(&path) {
                    paths.insert(path);
                    break;
                }
            }
            self.any.store(!paths.is_empty(), Ordering::Release);
        }
    }

    /// Has `write` put another file into its place, which nobody is to remove then.
    pub(super) fn replace<T, E>(
        &self,
        path: &Path,
        write: impl FnOnce() -> Result<T, E>,
    ) -> Result<T, E> {
        if !self.any.load(Ordering::Acquire) {
            return write();
        }
        let mut paths = self.paths();
        let written = write()?;
        paths.remove(path);
        self.any.store(!paths.is_empty(), Ordering::Release);
        Ok(written)
    }

    /// Whether the file should not be there.
    pub(super) fn contains(&self, path: &Path) -> bool {
        self.any.load(Ordering::Acquire) && self.paths().contains(path)
    }

    fn paths(&self) -> MutexGuard<'_, BTreeSet<PathBuf>> {
        self.paths.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_gone(path: &Path) -> bool {
    match fs::remove_file(path) {
        Ok(()) => true,
        Err(error) => error.kind() == io::ErrorKind::NotFound,
    }
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
        assert!(!unremoved.contains(other) && !unremoved.any.load(Ordering::Acquire));
    }
}
