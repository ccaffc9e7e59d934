//! Files that may hold a password: their octets, and who else can read them.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use crate::config::{error::Report, values};
use crate::signer::private_file::ReadableByOthers;

/// Who can read a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Readers {
    /// Its owner and its group, or nobody knows.
    Chosen,
    /// Every user of the machine.
    Everyone,
}

/// The octets of a file, `most` of them and one, and who can read it.
pub(super) fn read(path: &Path, most: u64) -> io::Result<(Vec<u8>, Readers)> {
    let file = File::open(path)?;
    // Of the open file: the one at `path` may be another by now.
    let mode = file.metadata()?.permissions().mode();
    let readers = if mode & 0o004 == 0 { Readers::Chosen } else { Readers::Everyone };
    let mut octets = Vec::new();
    file.take(most + 1).read_to_end(&mut octets)?;
    Ok((octets, readers))
}

/// Reports that everybody can read what `key` (at `offset`) holds or names.
pub(super) fn report_exposed(
    report: &Report,
    (key, offset): (&str, usize),
    path: &Path,
    permissions: ReadableByOthers,
) {
    let command = format!("chmod o= {}", values::shell_word(&path.to_string_lossy()));
    let problem = format!("{key} can be read by every user of this machine, wanted: {command}");
    match permissions {
        ReadableByOthers::Warn => report.warning(offset, problem),
        ReadableByOthers::Refuse => {
            report.error(offset, problem + " (or permissions = \"warn\")");
        }
    }
}
