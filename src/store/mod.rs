//! Where statuses come from: a trait, and its implementations; and a writer.

use crate::serial::Serial;
use crate::status::CertRecord;

pub mod crl;
pub mod index_txt;
pub mod ledger;
mod listing;
mod many;
pub mod mapping;
mod moment;
mod mounted;
pub mod mysql;
mod row;
pub mod sqlite;
pub mod walk;
mod watched;

pub use mapping::Mapping;
pub use walk::{Dates, Listed, Page, Walk, WalkError, Wanted};

/// Where statuses come from. The contract is `tests/integration/stores.rs`.
pub trait StatusStore: Send + Sync {
    /// Looks one serial up; `None`: the CA never issued it.
    ///
    /// Blocks for as long as the store's time-outs allow.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`] passes; [`StoreError::BadRow`] stays until
    /// somebody mends the row.
    fn find(&self, serial: &Serial) -> Result<Option<CertRecord>, StoreError>;

    /// Looks several serials up, each as [`StatusStore::find`] does, and tells in their
    /// order what it found. A database is asked once for all of them.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`], for all of them; a row that somebody must mend stands
    /// in the place of its serial.
    fn find_many(&self, serials: &[Serial]) -> Result<Vec<Found>, StoreError> {
        let each = serials.iter().map(|serial| match self.find(serial) {
            Err(unavailable @ StoreError::Unavailable(_)) => Err(unavailable),
            found => Ok(found),
        });
        each.collect()
    }

    /// Reads what it keeps in memory now, and not for the first question; what is wrong is
    /// logged, as it may come later.
    fn read_ahead(&self) {}

    /// Goes through all certificates that it has.
    ///
    /// # Errors
    ///
    /// [`WalkError::NoDates`] where it does not have the dates that are wanted;
    /// [`WalkError::Store`] where it cannot be read.
    fn walk(&self, wanted: Wanted) -> Result<Box<dyn Walk + '_>, WalkError>;
}

/// What [`StatusStore::find`] says of one of several serials.
pub type Found = Result<Option<CertRecord>, StoreError>;

/// Why the status store gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// It passes, so the answer is `tryLater` (RFC 6960 section 2.3).
    #[error("status store unavailable")]
    Unavailable(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// It stays, so the answer is `internalError`.
    #[error("row {key} of the status store: {problem}")]
    BadRow {
        /// The row's primary key.
        key: String,
        /// What is wrong with it.
        problem: String,
    },
}

impl StoreError {
    fn unavailable(cause: impl std::error::Error + Send + Sync + 'static) -> Self {
        Self::Unavailable(Box::new(cause))
    }
}

/// What the command `check` tells of one place that should hold the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// `127.0.0.1:3306`, or the path of a socket or file.
    pub place: String,
    /// In the order they were found out; after a problem there may be no more.
    pub findings: Vec<Finding>,
}

/// One thing found out about a place, as a message to the operator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// As it should be.
    Fine(String),
    /// It works, but should be different.
    Warning(String),
    /// It cannot work.
    Problem(String),
}

impl Report {
    /// Whether questions asked there get an answer.
    #[must_use]
    pub fn is_usable(&self) -> bool {
        !self.findings.iter().any(|finding| matches!(finding, Finding::Problem(_)))
    }
}

impl Finding {
    /// The number of rows, counted up to one more than [`MOST_ROWS_COUNTED`].
    pub(crate) fn rows(count: u64) -> Self {
        match count {
            0 => Self::Warning("the table is empty".into()),
            1..=MOST_ROWS_COUNTED => Self::Fine(format!("rows: {count}")),
            _ => Self::Fine(format!("rows: more than {MOST_ROWS_COUNTED}")),
        }
    }
}

/// Counting more rows than this would load the database for a curiosity.
const MOST_ROWS_COUNTED: u64 = 100_000;
