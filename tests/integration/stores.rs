//! The contract of the status stores, against MariaDB and SQLite for real.

use ocsp_fcgi::serial::Serial;
use ocsp_fcgi::status::{CertRecord, CertStatus, RevocationReason};
use ocsp_fcgi::store::{Mapping, StatusStore, StoreError, sqlite};
use ocsp_fcgi::time::Timestamp;
use tempfile::TempDir;

use crate::support::mariadb::{Database, MariaDb};

mod checked;
mod crl;
mod files;
mod hosts;
mod index_txt;
mod many;
mod refused;
mod replaced;
mod servers;
mod session;
mod tables;

/// A table that takes any row, and the store that reads it.
trait Table {
    fn run(&self, sql: &str);
    fn store(&self) -> Box<dyn StatusStore>;

    fn insert(&self, cert_num: &str, status_time_reason: &str) {
        self.run(&format!(
            "INSERT INTO list_certs (cert, cert_num, status, revocation_time, revocation_reason) \
             VALUES ('', '{cert_num}', {status_time_reason})"
        ));
    }
}

// rule: REQ-5
#[test]
fn every_spelling_of_a_serial_in_either_case_is_found() {
    on_each_store(|table, store| {
        for (serial, spellings) in [
            ("0a1b", &["0xa1b", "0x0a1b", "0xA1B", "0x0A1B"][..]),
            ("ff01ee", &["0xff01ee", "0x00ff01ee", "0xFF01EE", "0x00FF01EE"]),
            ("00", &["0x0", "0x00"]),
            (
                "1234567890123456789012345678901234567890",
                &["0x1234567890123456789012345678901234567890"],
            ),
        ] {
            for spelling in spellings {
                table.insert(spelling, "'Valid', NULL, NULL");
                assert_eq!(status(store, serial), Some(CertStatus::Good), "{spelling}");
                table.run("DELETE FROM list_certs");
            }
        }
    });
}

// rule: ANS-1
#[test]
fn a_serial_without_a_row_was_never_issued() {
    on_each_store(|table, store| {
        table.insert("0x01", "'Valid', NULL, NULL");
        assert_eq!(status(store, "01"), Some(CertStatus::Good));
        for other in ["02", "00", "0101", "10", "0100"] {
            assert_eq!(status(store, other), None, "{other}");
        }
    });
}

// rule: ANS-2
#[test]
fn a_revoked_row_is_answered_with_its_time_and_reason() {
    on_each_store(|table, store| {
        let time = Timestamp::from_civil(2026, 11, 22, (10, 0, 59)).unwrap();
        for reason in RevocationReason::ALL {
            let name = reason.column_name();
            table.insert("0x05", &format!("'Revoked', '2026-11-22 10:00:59', '{name}'"));
            let expected = CertStatus::Revoked { time, reason: Some(reason) };
            assert_eq!(status(store, "05"), Some(expected));
            table.run("DELETE FROM list_certs");
        }
        table.insert("0x05", "'Revoked', '2026-11-22 10:00:59', 'unspecified'");
        table.insert("0x06", "'REVOKED', '2026-11-22 10:00:59', NULL");
        for serial in ["05", "06"] {
            let expected = CertStatus::Revoked { time, reason: None };
            assert_eq!(status(store, serial), Some(expected));
        }
    });
}

// rule: ANS-2
#[test]
fn a_revoked_row_without_a_usable_time_or_reason_is_still_revoked() {
    on_each_store(|table, store| {
        let expected = Some(CertStatus::Revoked { time: Timestamp::EPOCH, reason: None });
        for rest in ["NULL, NULL", "'0000-00-00 00:00:00', NULL", "NULL, 'lost'", "'', ''"] {
            table.insert("0x05", &format!("'Revoked', {rest}"));
            assert_eq!(status(store, "05"), expected, "{rest}");
            table.run("DELETE FROM list_certs");
        }
    });
}

// rule: ANS-5
#[test]
fn a_row_that_is_neither_valid_nor_revoked_is_an_error_that_names_it() {
    on_each_store(|table, store| {
        for broken in ["NULL", "''", "'expired'", "'0'"] {
            table.insert("0xa1b", &format!("{broken}, NULL, NULL"));
            match find(store, "a1b") {
                Err(StoreError::BadRow { key, .. }) => assert_eq!(key, "0xa1b"),
                other => panic!("{broken}: {other:?}"),
            }
            table.run("DELETE FROM list_certs");
        }
    });
}

// rule: ANS-1
#[test]
fn of_two_rows_for_one_serial_the_revoked_one_counts() {
    on_each_store(|table, store| {
        table.insert("0xa1b", "'Valid', NULL, NULL");
        table.insert("0x0a1b", "'Revoked', '2026-11-22 10:00:59', NULL");
        assert!(matches!(status(store, "a1b"), Some(CertStatus::Revoked { .. })));
        table.run("UPDATE list_certs SET status = '?' WHERE status = 'Revoked'");
        assert!(matches!(find(store, "a1b"), Err(StoreError::BadRow { .. })));
    });
}

// rule: ANS-1
#[test]
fn a_change_of_the_table_is_seen_by_the_next_question() {
    on_each_store(|table, store| {
        for _ in 0..20 {
            assert_eq!(status(store, "a1b"), None);
            table.insert("0xa1b", "'Valid', NULL, NULL");
            assert_eq!(status(store, "a1b"), Some(CertStatus::Good));
            table.run("UPDATE list_certs SET status = 'Revoked'");
            assert!(matches!(status(store, "a1b"), Some(CertStatus::Revoked { .. })));
            table.run("DELETE FROM list_certs");
        }
    });
}

// rule: ANS-5
#[test]
fn a_table_without_a_column_is_an_error_until_it_is_mended() {
    on_each_store(|table, store| {
        table.insert("0xa1b", "'Valid', NULL, NULL");
        assert_eq!(status(store, "a1b"), Some(CertStatus::Good));
        table.run("ALTER TABLE list_certs RENAME COLUMN status TO state");
        assert!(unavailable(store, "a1b").contains("status"));
        table.run("ALTER TABLE list_certs RENAME COLUMN state TO status");
        until(|| find(store, "a1b").is_ok_and(|record| record.is_some()));
        table.run("ALTER TABLE list_certs RENAME TO elsewhere");
        assert!(unavailable(store, "a1b").contains("list_certs"));
    });
}

#[test]
fn many_threads_get_each_their_own_row() {
    on_each_store(|table, store| {
        (1..=16).for_each(|n| table.insert(&format!("0x{n:x}"), "'Valid', NULL, NULL"));
        table.run("UPDATE list_certs SET status = 'Revoked' WHERE cert_num > '0x8'");
        std::thread::scope(|scope| {
            for n in 1..=16_u8 {
                scope.spawn(move || {
                    let serial = Serial::from_be_bytes(&[n]).unwrap();
                    let revoked = format!("0x{n:x}").as_str() > "0x8";
                    for _ in 0..50 {
                        let record = store.find(&serial).unwrap().unwrap();
                        assert_eq!(record.status != CertStatus::Good, revoked, "{n}");
                    }
                });
            }
        });
    });
}

fn on_each_store(check: impl Fn(&dyn Table, &dyn StatusStore)) {
    let database = MariaDb::shared().database();
    database.run("ALTER TABLE list_certs MODIFY status varchar(20) COLLATE utf8mb4_bin");
    database.run("ALTER TABLE list_certs MODIFY cert_num varchar(50) COLLATE utf8mb4_bin");
    database.run("ALTER TABLE list_certs MODIFY revocation_reason varchar(50)");
    check(&database, Table::store(&database).as_ref());
    let folder = tempfile::tempdir().unwrap();
    folder.run(
        "CREATE TABLE list_certs (cert_num TEXT PRIMARY KEY, revocation_time TEXT, \
         revocation_reason TEXT, cert BLOB, status TEXT)",
    );
    check(&folder, folder.store().as_ref());
}

impl Table for Database<'_> {
    fn run(&self, sql: &str) {
        self.run(sql);
    }

    fn store(&self) -> Box<dyn StatusStore> {
        Box::new(self.store())
    }
}

/// The file in a folder of its own.
impl Table for TempDir {
    fn run(&self, sql: &str) {
        let file = rusqlite::Connection::open(options(self).path).unwrap();
        file.busy_timeout(std::time::Duration::from_secs(5)).unwrap();
        file.execute_batch(sql).unwrap_or_else(|error| panic!("{sql}: {error}"));
    }

    fn store(&self) -> Box<dyn StatusStore> {
        Box::new(sqlite::Sqlite::open(options(self)))
    }
}

fn options(folder: &TempDir) -> sqlite::Options {
    sqlite::Options {
        path: folder.path().join("certs.sqlite"),
        mapping: Mapping::of_table("list_certs"),
    }
}

fn find(store: &dyn StatusStore, serial: &str) -> Result<Option<CertRecord>, StoreError> {
    store.find(&Serial::from_hex(serial).unwrap())
}

fn status(store: &dyn StatusStore, serial: &str) -> Option<CertStatus> {
    find(store, serial).unwrap().map(|record| record.status)
}

/// The cause that `find` gives for being unavailable.
fn unavailable(store: &dyn StatusStore, serial: &str) -> String {
    match find(store, serial) {
        Err(StoreError::Unavailable(cause)) => cause.to_string(),
        other => panic!("must be unavailable: {other:?}"),
    }
}

/// Waits until something is so, which it soon must be.
fn until(mut so: impl FnMut() -> bool) {
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while !so() {
        assert!(std::time::Instant::now() < deadline, "it did not become so in 20 s");
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
}
