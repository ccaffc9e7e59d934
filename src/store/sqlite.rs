//! The embedded default: the seed's table in an SQLite file.

use std::path::PathBuf;

/// An SQLite file.
#[derive(Clone, Debug)]
pub struct Options {
    /// The file.
    pub path: PathBuf,
    /// The table.
    pub table: String,
}
