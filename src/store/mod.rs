//! Where statuses come from: one trait for reading, and what its two
//! implementations share of the seed's table.

use crate::serial::Serial;
use crate::status::{CertRecord, IssuerId};

pub mod mysql;
pub mod sqlite;

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
    fn find(&self, issuer: IssuerId, serial: &Serial) -> Result<Option<CertRecord>, StoreError>;
}

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
