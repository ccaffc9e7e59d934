//! Files that are mounted by themselves, as by `docker -v FILE:FILE`.
//!
//! Such a mount stays with its file: one that takes the place of it by rename is not seen.

use std::path::Path;

use rustix::fs::{AtFlags, CWD, StatxAttributes, StatxFlags, statx};

use crate::store::Finding;

/// Whether what is mounted at the path is this file, and not a folder above it. `false` where
/// the kernel does not tell (Linux before 5.8).
pub(super) fn is_by_itself(path: &Path) -> bool {
    statx(CWD, path, AtFlags::empty(), StatxFlags::empty()).is_ok_and(|found| {
        (found.stx_attributes & found.stx_attributes_mask).contains(StatxAttributes::MOUNT_ROOT)
    })
}

/// What `check` tells of a file that is changed in its place as a rule.
pub(super) fn warning(path: &Path) -> Option<Finding> {
    is_by_itself(path).then(|| {
        Finding::Warning(
            "mounted by itself, so that one that takes its place by rename would not be seen, \
             wanted: its folder mounted"
                .into(),
        )
    })
}
