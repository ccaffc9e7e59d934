//! The embedded default: a table in an SQLite file.
//!
//! Opened read-only, in rollback-journal or WAL mode. The file may be missing
//! at first, or be replaced by rename later: each question looks which file
//! stands under the path, and connections to another one are closed. One that does
//! not go with what lies beside it is not read: `replaced`.

use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{Connection, ErrorCode, OpenFlags, Row, ToSql, params_from_iter};
use rustix::fs::{Access, AtFlags, CWD, accessat};
use trouble::Trouble;

use crate::serial::Serial;
use crate::status::CertRecord;
use crate::store::mapping::{Dialect, Mapping, Parameter};
use crate::store::moment::Moment;
use crate::store::mounted;
use crate::store::row;
use crate::store::sqlite::replaced::{FileId, Replaced};
use crate::store::{
    Finding, Found, MOST_ROWS_COUNTED, Report, StatusStore, StoreError, Walk, WalkError, Wanted,
};

mod many;
mod replaced;

/// An SQLite file.
#[derive(Clone, Debug)]
pub struct Options {
    /// The file.
    pub path: PathBuf,
    /// The table, and how to read it.
    pub mapping: Mapping,
}

/// The table as a [`StatusStore`].
pub struct Sqlite {
    options: Options,
    statement: String,
    idle: Mutex<Idle>,
    odd_rows: Trouble,
}

/// Why a question has no answer.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("{0}: {1}")]
    File(String, std::io::Error),
    #[error("{0}: {1}")]
    Database(String, rusqlite::Error),
    /// Not a fault of the file: of its folder, or of the mode.
    #[error("{0}: {1}; in WAL mode SQLite must be able to write beside the file")]
    Beside(String, rusqlite::Error),
    /// A writer ended half-way: what it began is taken back by whoever may write.
    #[error(
        "{0}: {1}; a writer was killed half-way, wanted: any question by an account that may write, \
         such as `sqlite3 {0} 'PRAGMA user_version'`"
    )]
    HalfWritten(String, rusqlite::Error),
    /// A writer held the file a moment ago: left alone for a pause.
    #[error("{0}: not tried again yet after: database is locked")]
    Paused(String),
    #[error(transparent)]
    Replaced(#[from] Replaced),
    /// Nothing is wrong with the file, and this question fails: at a row that a view cannot
    /// show, say.
    #[error("{0}")]
    Refused(rusqlite::Error),
}

/// Connections not in use, last in, first out, all to the same file.
#[derive(Default)]
struct Idle {
    file: Option<FileId>,
    connections: Vec<Connection>,
    paused_until: Option<Instant>,
}

impl Sqlite {
    /// Does not open the file yet: each question does when it must.
    #[must_use]
    pub fn open(options: Options) -> Self {
        let statement = options.mapping.statement(Dialect::Sqlite);
        Self {
            options,
            statement,
            idle: Mutex::default(),
            odd_rows: Trouble::new(log::Level::Warn),
        }
    }

    /// Tries the file over a connection of its own.
    #[must_use]
    pub fn check(&self) -> Report {
        let findings = self.findings().unwrap_or_else(|failure| {
            // The report names the place already.
            vec![Finding::Problem(match failure {
                Failure::File(_, error) => error.to_string(),
                Failure::Database(_, error) => error.to_string(),
                failure => failure.to_string(),
            })]
        });
        Report { place: self.place(), findings }
    }

    fn ask<T>(
        &self,
        question: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T, Failure> {
        let file = FileId::of(&self.file()?);
        let kept = self.kept(file)?;
        let is_new = kept.is_none();
        let connection = kept.map_or_else(|| self.connect(), Ok)?;
        let answer = question(&connection).map_err(|error| self.failed(error))?;
        if is_new {
            replaced::note(&self.options.path, file);
        }
        self.keep(file, connection);
        Ok(answer)
    }

    fn rows(&self, statement: &str, parameters: &[Parameter]) -> Result<Vec<row::Row>, Failure> {
        self.told(|connection| query(connection, statement, parameters))
    }

    /// What a question brings that may fail alone, as [`Failure::Refused`].
    fn told<T>(&self, question: impl Fn(&Connection) -> rusqlite::Result<T>) -> Result<T, Failure> {
        let told = self.ask(|connection| match question(connection) {
            Ok(told) => Ok(Ok(told)),
            Err(error) => self.refused(connection, || question(connection), error),
        });
        told?.map_err(Failure::Refused)
    }

    /// Whether a file that a question has failed at is in order, and this one fails alone:
    /// another one is answered, and the same happens again. Were that taken for a file that
    /// is not, what is kept about the serial would be given.
    fn refused<T>(
        &self,
        connection: &Connection,
        ask: impl Fn() -> rusqlite::Result<T>,
        error: rusqlite::Error,
    ) -> rusqlite::Result<rusqlite::Result<T>> {
        let code = error.sqlite_error_code();
        // What functions fail with; and not a lock, a disk, a file that is damaged.
        let may_be = [Some(ErrorCode::Unknown), Some(ErrorCode::TooBig), None].contains(&code);
        let probe = self.options.mapping.parameters(&Serial::PROBE, Dialect::Sqlite);
        if !may_be || query(connection, &self.statement, &probe).is_err() {
            return Err(error);
        }
        match ask() {
            Err(again) if again.sqlite_error_code() == code => Ok(Err(again)),
            again => again.map(Ok),
        }
    }

    fn findings(&self) -> Result<Vec<Finding>, Failure> {
        let file = self.file()?;
        let foreign_log = replaced::foreign_log(&self.options.path)
            .map_err(|error| Failure::File(self.place(), error))?;
        let connection = self.connect()?;
        let failed = |error| self.failed(error);
        let serial = &self.options.mapping.columns.serial;
        let plan = self.plan(&connection).map_err(failed)?;
        let mode: String =
            connection.query_row("PRAGMA journal_mode", (), |row| row.get(0)).map_err(failed)?;
        let query = format!(
            "SELECT COUNT(*) FROM (SELECT 1 FROM {} LIMIT {})",
            Dialect::Sqlite.quoted_table(&self.options.mapping.table),
            MOST_ROWS_COUNTED + 1
        );
        let count: i64 = connection.query_row(&query, (), |row| row.get(0)).map_err(failed)?;
        let mut findings = vec![
            Finding::Fine(format!("SQLite {}, journal mode {mode}", rusqlite::version())),
            Finding::Fine(format!("asks {}", self.statement)),
            Finding::rows(u64::try_from(count).unwrap_or_default()),
            found_by(&plan, serial),
        ];
        if file.mode() & 0o002 != 0 {
            findings.push(Finding::Warning("everybody may write to the file".into()));
        }
        findings.extend(mounted::warning(&self.options.path));
        if let Some(log) = foreign_log {
            findings.push(Finding::Warning(format!(
                "{} is of another file, as this one is not in WAL mode; its rows count in place of \
                 those of this one, wanted: removed",
                log.display()
            )));
        }
        Ok(findings)
    }

    /// Asks for a serial as each question does; how SQLite finds its row.
    fn plan(&self, connection: &Connection) -> rusqlite::Result<String> {
        let parameters = self.options.mapping.parameters(&Serial::PROBE, Dialect::Sqlite);
        query(connection, &self.statement, &parameters)?;
        let explain = format!("EXPLAIN QUERY PLAN {}", self.statement);
        connection.query_row(&explain, params_from_iter(&parameters), |row| row.get("detail"))
    }

    fn file(&self) -> Result<Metadata, Failure> {
        fs::metadata(&self.options.path).map_err(|error| Failure::File(self.place(), error))
    }

    /// A connection to this file that is not in use.
    fn kept(&self, file: FileId) -> Result<Option<Connection>, Failure> {
        let mut idle = self.idle();
        if idle.paused_until.is_some_and(|until| Instant::now() < until) {
            return Err(Failure::Paused(self.place()));
        }
        if idle.file == Some(file) {
            return Ok(idle.connections.pop());
        }
        let closing = std::mem::take(&mut idle.connections);
        let verified = replaced::verify(&self.options.path, file);
        idle.file = verified.is_ok().then_some(file);
        drop(idle);
        drop(closing);
        verified?;
        Ok(None)
    }

    fn connect(&self) -> Result<Connection, Failure> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let opened = Connection::open_with_flags(&self.options.path, flags).and_then(|opened| {
            opened.busy_timeout(BUSY_TIMEOUT)?;
            Ok(opened)
        });
        opened.map_err(|error| self.failed(error))
    }

    fn keep(&self, file: FileId, connection: Connection) {
        let mut idle = self.idle();
        idle.paused_until = None;
        if idle.file == Some(file) && idle.connections.len() < MOST_IDLE {
            idle.connections.push(connection);
        }
    }

    /// The connection that failed is not kept: the next question opens anew.
    fn failed(&self, error: rusqlite::Error) -> Failure {
        match error.sqlite_error_code() {
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
                self.idle().paused_until = Some(Instant::now() + PAUSE);
            }
            Some(ErrorCode::ReadOnly) if is_half_written(&error) => {
                return Failure::HalfWritten(self.place(), error);
            }
            Some(ErrorCode::ReadOnly) => return Failure::Beside(self.place(), error),
            Some(ErrorCode::CannotOpen) => {
                let path = &self.options.path;
                // SQLite does not say why. Not by opening it here: to close it would release
                // the locks of all connections of this process.
                if let Err(error) = accessat(CWD, path, Access::READ_OK, AtFlags::empty()) {
                    return Failure::File(self.place(), error.into());
                }
            }
            _ => {}
        }
        Failure::Database(self.place(), error)
    }

    fn place(&self) -> String {
        self.options.path.display().to_string()
    }

    fn idle(&self) -> MutexGuard<'_, Idle> {
        // Nothing panics while it is locked.
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// At worst a question waits two seconds for a writer.
impl StatusStore for Sqlite {
    fn find(&self, serial: &Serial) -> Result<Option<CertRecord>, StoreError> {
        let mapping = &self.options.mapping;
        let parameters = mapping.parameters(serial, Dialect::Sqlite);
        let rows = self.rows(&self.statement, &parameters);
        let rows = rows.map_err(|failure| match failure {
            Failure::Refused(error) => {
                StoreError::BadRow { key: row::key(serial), problem: error.to_string() }
            }
            failure => StoreError::unavailable(failure),
        })?;
        Ok(row::read(mapping, serial, &rows)?.reported(&self.odd_rows))
    }

    fn find_many(&self, serials: &[Serial]) -> Result<Vec<Found>, StoreError> {
        self.all_of(serials)
    }

    fn walk(&self, wanted: Wanted) -> Result<Box<dyn Walk + '_>, WalkError> {
        self.parts(wanted)
    }
}

/// How long a question or a command waits for a writer to finish.
pub(super) const BUSY_TIMEOUT: Duration = Duration::from_secs(2);

impl ToSql for Parameter {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self {
            Self::Null => ValueRef::Null,
            Self::Text(text) => ValueRef::Text(text.as_bytes()),
            Self::Integer(number) => ValueRef::Integer(*number),
            Self::Real(number) => ValueRef::Real(*number),
            Self::Octets(octets) => ValueRef::Blob(octets),
            Self::OddText(text) => ValueRef::Text(text),
        }))
    }
}

/// What the words of EXPLAIN QUERY PLAN mean: `SEARCH t USING INDEX i (serial=?)`.
fn found_by(plan: &str, serial: &str) -> Finding {
    let constraints = plan.rsplit_once('(').map_or("", |(_, constraints)| constraints);
    let finds = |name: &str| {
        constraints.trim_end_matches(')').split(" AND ").any(|one| one == format!("{name}=?"))
    };
    if plan.starts_with("SEARCH") && (finds(serial) || finds("rowid")) {
        return Finding::Fine(format!("rows are found by a key: {plan}"));
    }
    Finding::Warning(format!(
        "no key begins with {serial} (and the issuer), so each question reads many rows: {plan}"
    ))
}

fn query(
    connection: &Connection,
    statement: &str,
    parameters: &[Parameter],
) -> rusqlite::Result<Vec<row::Row>> {
    let mut statement = connection.prepare_cached(statement)?;
    statement.query_map(params_from_iter(parameters), columns)?.collect()
}

fn is_half_written(error: &rusqlite::Error) -> bool {
    let extended = error.sqlite_error().map(|error| error.extended_code);
    extended == Some(rusqlite::ffi::SQLITE_READONLY_ROLLBACK)
}

fn columns(row: &Row<'_>) -> rusqlite::Result<row::Row> {
    let octets = |index| match row.get_ref(index)? {
        ValueRef::Text(text) | ValueRef::Blob(text) => Ok(Some(text.to_vec())),
        ValueRef::Integer(number) => Ok(Some(number.to_string().into_bytes())),
        // Of which no serial and no word is made.
        ValueRef::Real(number) => Ok(Some(format!("REAL {number}").into_bytes())),
        ValueRef::Null => Ok::<_, rusqlite::Error>(None),
    };
    let text = |index| {
        let octets = octets(index)?;
        Ok::<_, rusqlite::Error>(octets.map(|text| String::from_utf8_lossy(&text).into_owned()))
    };
    let has_issuer = row.as_ref().column_count() > ISSUER;
    Ok(row::Row {
        serial: octets(0)?.unwrap_or_default(),
        status: text(1)?,
        revocation_time: match row.get_ref(2)? {
            ValueRef::Null => Moment::Null,
            ValueRef::Integer(seconds) => Moment::Unix(seconds),
            ValueRef::Text(text) => Moment::Text(String::from_utf8_lossy(text).into_owned()),
            ValueRef::Real(_) => Moment::Other("REAL"),
            ValueRef::Blob(_) => Moment::Other("BLOB"),
        },
        revocation_reason: text(3)?,
        issuer: if has_issuer { text(ISSUER)? } else { None },
    })
}

/// The place of the column that not every statement has.
const ISSUER: usize = 4;
/// How long questions fail at once after a writer held the file for too long.
const PAUSE: Duration = Duration::from_secs(1);
/// More connections than this are closed after use.
const MOST_IDLE: usize = 16;
