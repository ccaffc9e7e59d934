//! Writing the status table of the earlier responder: what the demo and the tests need, not
//! the responder.

use std::path::PathBuf;

use rusqlite::{Connection, OpenFlags, Transaction, TransactionBehavior, params};

use crate::serial::Serial;
use crate::status::CertStatus;
use crate::store::StoreError;
use crate::store::mapping::{Dialect, keys};
use crate::store::row::key;
use crate::store::sqlite::BUSY_TIMEOUT;

/// A table in an SQLite file; both are created when they are missing.
#[derive(Clone, Debug)]
pub struct SqliteLedger {
    path: PathBuf,
    /// As SQL has its name.
    table: String,
}

impl SqliteLedger {
    /// Does not open the file yet.
    #[must_use]
    pub fn new(path: PathBuf, table: &str) -> Self {
        Self { path, table: Dialect::Sqlite.quoted_table(table) }
    }

    /// Creates the table unless there is one.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`] with the cause.
    pub fn create_table(&self) -> Result<(), StoreError> {
        let schema = SCHEMA.replace("\"list_certs\"", &self.table);
        self.change(|transaction| transaction.execute_batch(&schema))
    }

    /// Writes the row of a serial in place of one there may be, in whichever
    /// spelling it stands; [`CertStatus::Unknown`] removes it. `certificate` is PEM.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`] with the cause; nothing was written then.
    pub fn write(
        &self,
        serial: &Serial,
        status: CertStatus,
        certificate: &str,
    ) -> Result<(), StoreError> {
        let table = &self.table;
        let (status, time, reason) = match status {
            CertStatus::Good => (Some("Valid"), None, None),
            CertStatus::Revoked { time, reason } => (Some("Revoked"), Some(time), reason),
            CertStatus::Unknown => (None, None, None),
        };
        // `2026-11-22 10:00:00`, as MySQL prints a DATETIME.
        let time = time.map(|time| time.to_string().replace('T', " ").replace('Z', ""));
        let reason = reason.map(|reason| reason.column_name());
        self.change(|transaction| {
            let remove = format!("DELETE FROM {table} WHERE cert_num IN (?,?,?,?)");
            transaction.execute(&remove, keys(serial))?;
            let Some(status) = status else { return Ok(()) };
            let insert = format!(
                "INSERT INTO {table} (cert_num, status, revocation_time, revocation_reason, cert) \
                 VALUES (?,?,?,?,?)"
            );
            let row = params![key(serial), status, time, reason, certificate.as_bytes()];
            transaction.execute(&insert, row).map(drop)
        })
    }

    fn change(
        &self,
        change: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<()>,
    ) -> Result<(), StoreError> {
        let change = || {
            let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
                | OpenFlags::SQLITE_OPEN_CREATE
                | OpenFlags::SQLITE_OPEN_NO_MUTEX;
            let mut connection = Connection::open_with_flags(&self.path, flags)?;
            connection.busy_timeout(BUSY_TIMEOUT)?;
            // Waits for another writer here, instead of failing half-way.
            let behavior = TransactionBehavior::Immediate;
            let transaction = connection.transaction_with_behavior(behavior)?;
            change(&transaction)?;
            transaction.commit()
        };
        change().map_err(StoreError::unavailable)
    }
}

const SCHEMA: &str = include_str!("../../schema/sqlite.sql");
