//! Writing the status table, that of the earlier responder whatever the mapping says:
//! what the demo and the commands need, not the responder.

use rusqlite::{Connection, OpenFlags, Transaction, TransactionBehavior, params};

use crate::serial::Serial;
use crate::status::{CertRecord, CertStatus};
use crate::store::StoreError;
use crate::store::mapping::{Dialect, keys};
use crate::store::row::{Kind, key};
use crate::store::sqlite::{BUSY_TIMEOUT, Options};

/// An SQLite file, created when it is missing.
#[derive(Clone, Debug)]
pub struct SqliteLedger {
    options: Options,
}

impl SqliteLedger {
    /// Does not open the file yet.
    #[must_use]
    pub fn new(options: Options) -> Self {
        Self { options }
    }

    /// Creates the table unless there is one.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`] with the cause.
    pub fn create_table(&self) -> Result<(), StoreError> {
        let schema = SCHEMA.replace("\"list_certs\"", &self.table());
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
        record: &CertRecord,
        certificate: &str,
    ) -> Result<(), StoreError> {
        let table = self.table();
        let (kind, time, reason) = match record.status {
            CertStatus::Good => (Some(Kind::Valid), None, None),
            CertStatus::Revoked { time, reason } => (Some(Kind::Revoked), Some(time), reason),
            CertStatus::Unknown => (None, None, None),
        };
        // `2026-11-22 10:00:00`, as MySQL prints a DATETIME.
        let time = time.map(|time| time.to_string().replace('T', " ").replace('Z', ""));
        let reason = reason.map(|reason| reason.column_name());
        self.change(|transaction| {
            let remove = format!("DELETE FROM {table} WHERE cert_num IN (?,?,?,?)");
            transaction.execute(&remove, keys(serial))?;
            let Some(kind) = kind else { return Ok(()) };
            let insert = format!(
                "INSERT INTO {table} (cert_num, status, revocation_time, revocation_reason, cert) \
                 VALUES (?,?,?,?,?)"
            );
            let certificate = certificate.as_bytes();
            let row = params![key(serial), kind.column_name(), time, reason, certificate];
            transaction.execute(&insert, row).map(drop)
        })
    }

    fn table(&self) -> String {
        Dialect::Sqlite.quoted_table(&self.options.mapping.table)
    }

    fn change(
        &self,
        change: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<()>,
    ) -> Result<(), StoreError> {
        self.try_change(change).map_err(StoreError::unavailable)
    }

    fn try_change(
        &self,
        change: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<()>,
    ) -> rusqlite::Result<()> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
            | OpenFlags::SQLITE_OPEN_CREATE
            | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let mut connection = Connection::open_with_flags(&self.options.path, flags)?;
        connection.busy_timeout(BUSY_TIMEOUT)?;
        // Waits for another writer here, instead of failing half-way.
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        change(&transaction)?;
        transaction.commit()
    }
}

const SCHEMA: &str = include_str!("../../schema/sqlite.sql");
