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

    /// Removes the file of an answer, or notes that it is there still.
    ///
    /// # Errors
    ///
    /// What the system says where it is, or nobody can tell.
    pub(super) fn remove_file(&self, path: PathBuf) -> io::Result<()> {
        if let Err(error) = fs::remove_file(&path)
            && error.kind() != io::ErrorKind::NotFound
        {
            let left = match is_there(&path) {
                Ok(false) => None,
                Ok(true) => Some(path.as_path()),
                // Anybody may ask about serials that they make up: the folder counts as a whole.
                Err(_) => Some(path.parent().unwrap_or(&path)),
            };
            if let Some(left) = left {
                self.add(left.to_owned());
                return Err(error);
            }
        }
        self.remove(&path);
        Ok(())
    }

    /// The file is there still; or it may be in this folder.
    fn add(&self, path: PathBuf) {
        self.change(|paths| paths.insert(path));
    }

    /// The file is gone.
    fn remove(&self, path: &Path) {
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
    fn below(&self, folder: &Path) -> usize {
        self.change(|paths| paths.iter().filter(|path| path.starts_with(folder)).count())
    }

    fn change<T>(&self, change: impl FnOnce(&mut BTreeSet<PathBuf>) -> T) -> T {
        let mut paths = self.paths.lock().unwrap_or_else(PoisonError::into_inner);
        let outcome = change(&mut paths);
        self.any.store(!paths.is_empty(), Ordering::Release);
        outcome
    }
}

/// A read-only file system refuses to remove what there is not, too.
fn is_there(path: &Path) -> io::Result<bool> {
    use io::ErrorKind::{NotADirectory, NotFound};
    match fs::symlink_metadata(path) {
        Ok(_) => Ok(true),
        Err(error) if matches!(error.kind(), NotFound | NotADirectory) => Ok(false),
        Err(error) => Err(error),
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
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::cache::disk::{Disk, Written};
    use crate::ocsp::{CertId, IssuerHashes};
    use crate::serial::Serial;
    use crate::time::Timestamp;

    fn spellings() -> Vec<Vec<u8>> {
        IssuerHashes::new(b"name", b"key").cert_ids(&Serial::PROBE)
    }

    /// Two spellings of one question.
    fn two(spellings: &[Vec<u8>]) -> [CertId<'_>; 2] {
        [0, 1].map(|at| CertId::from_der(&spellings[at]).unwrap())
    }

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

    // rule: ANS-6
    #[test]
    fn what_could_not_be_removed_is_removed_when_it_is_asked_for_or_anything_can_be_written() {
        let folder = tempfile::tempdir().unwrap();
        let disk = Disk::at(folder.path().join("d"));
        let spellings = spellings();
        let [overtaken, other] = two(&spellings);
        let path = disk.path(&overtaken);
        let is_overtaken = || {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, b"good").unwrap();
            UNREMOVED.add(path.clone());
            assert!(disk.is_removed(&overtaken));
        };
        is_overtaken();
        assert!(disk.read(&overtaken).is_none() && !path.exists());
        is_overtaken();
        assert_eq!(disk.write(&other, b"another", Timestamp::EPOCH), Written::Yes);
        assert!(!path.exists());
        // One that is written later is another one.
        is_overtaken();
        assert_eq!(disk.write(&overtaken, b"revoked", Timestamp::EPOCH), Written::Yes);
        assert_eq!(disk.read(&overtaken).map(|file| file.der), Some(b"revoked".to_vec()));
    }

    // rule: ANS-6
    #[test]
    fn serials_that_are_made_up_leave_nothing_behind_where_no_file_can_be_removed() {
        let folder = tempfile::tempdir().unwrap();
        let signer = folder.path().join("d");
        let disk = Disk::at(signer.clone());
        let forget = |number: u32| {
            let serial = Serial::from_hex(&format!("0e{number:06x}69")).unwrap();
            let spellings = IssuerHashes::new(b"name", b"key").cert_ids(&serial);
            let cert_id = CertId::from_der(&spellings[0]).unwrap();
            disk.remove(&cert_id);
            disk.remove_unreported(&cert_id);
            disk.is_removed(&cert_id)
        };
        // What is there in place of the folder of the signer holds no files.
        fs::write(&signer, b"").unwrap();
        assert!(!(0..100).any(forget));
        assert_eq!(UNREMOVED.below(folder.path()), 0);
        fs::remove_file(&signer).unwrap();
        // Nobody can tell what does: as in one of another user.
        symlink("itself", folder.path().join("itself")).unwrap();
        symlink("itself", &signer).unwrap();
        assert!((0..100).all(forget));
        assert_eq!(UNREMOVED.below(folder.path()), 1);
    }

    // rule: ANS-6
    #[test]
    fn what_is_in_a_folder_that_nobody_could_look_into_is_found_by_nobody_later() {
        let folder = tempfile::tempdir().unwrap();
        let signer = folder.path().join("d");
        let disk = Disk::at(signer.clone());
        let spellings = spellings();
        let [overtaken, other] = two(&spellings);
        let away = folder.path().join("away");
        assert_eq!(disk.write(&overtaken, b"good", Timestamp::EPOCH), Written::Yes);
        fs::rename(&signer, &away).unwrap();
        symlink("itself", folder.path().join("itself")).unwrap();
        symlink("itself", &signer).unwrap();
        disk.remove(&overtaken);
        assert!(disk.read(&overtaken).is_none() && disk.is_removed(&overtaken));
        fs::remove_file(&signer).unwrap();
        fs::rename(&away, &signer).unwrap();
        assert!(disk.is_removed(&overtaken));
        assert!(disk.read(&overtaken).is_none() && !disk.path(&overtaken).exists());
        assert_eq!(disk.write(&other, b"another", Timestamp::EPOCH), Written::Yes);
        assert_eq!(disk.read(&other).map(|file| file.der), Some(b"another".to_vec()));
        assert_eq!(UNREMOVED.below(folder.path()), 0);
    }

    // rule: ANS-6
    #[test]
    fn what_can_be_removed_again_is_although_something_else_cannot() {
        let folder = tempfile::tempdir().unwrap();
        let signer = folder.path().join("d");
        let disk = Disk::at(signer.clone());
        let spellings = spellings();
        let [overtaken, other] = two(&spellings);
        assert_eq!(disk.write(&overtaken, b"good", Timestamp::EPOCH), Written::Yes);
        UNREMOVED.add(disk.path(&overtaken));
        // Of signers before and behind this one.
        for name in ["0", "g"] {
            let stuck = folder.path().join(name);
            symlink(name, &stuck).unwrap();
            Disk::at(stuck).remove_unreported(&overtaken);
        }
        assert_eq!(disk.write(&other, b"another", Timestamp::EPOCH), Written::Yes);
        assert!(!disk.path(&overtaken).exists());
        assert_eq!(UNREMOVED.below(folder.path()), 2);
    }
}
