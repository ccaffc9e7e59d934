//! What holds for an SQLite file alone, and for writing one.

use std::fs;
use std::time::{Duration, Instant};

use ocsp_fcgi::serial::Serial;
use ocsp_fcgi::status::{CertStatus, RevocationReason};
use ocsp_fcgi::store::ledger::SqliteLedger;
use ocsp_fcgi::store::sqlite::Sqlite;
use ocsp_fcgi::time::Timestamp;

use crate::stores::{Table, find, options, status, unavailable, until};

const CREATE: &str = include_str!("../../../schema/sqlite.sql");

#[test]
fn what_the_ledger_writes_the_store_reads() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = SqliteLedger::new(options(&folder).path, "list_certs");
    let store = Sqlite::open(options(&folder));
    ledger.create_table().unwrap();
    ledger.create_table().unwrap();
    // Another spelling of the first: to be replaced, not joined.
    folder.insert("0x00FF01", "'Valid', NULL, NULL");
    let time = Timestamp::from_unix(1_782_909_001);
    let reasons = RevocationReason::ALL.map(Some).into_iter().chain([None]);
    let revoked = reasons.map(|reason| CertStatus::Revoked { time, reason });
    for expected in revoked.chain([CertStatus::Good, CertStatus::Good]) {
        let serial = Serial::from_hex("ff01").unwrap();
        ledger.write(&serial, expected, "PEM").unwrap();
        assert_eq!(status(&store, "ff01"), Some(expected));
    }
    ledger.write(&Serial::from_hex("ff01").unwrap(), CertStatus::Unknown, "").unwrap();
    assert_eq!(status(&store, "ff01"), None);
}

#[test]
fn the_schema_refuses_rows_that_could_not_be_answered() {
    let folder = tempfile::tempdir().unwrap();
    folder.run(CREATE);
    folder.insert("0xa1b", "'Valid', NULL, NULL");
    let file = rusqlite::Connection::open(options(&folder).path).unwrap();
    for row in [
        "'0xA1B', 'Valid', NULL, NULL", // there is a row of this key
        "'a1b', 'Valid', NULL, NULL",
        "'0x', 'Valid', NULL, NULL",
        "'0xag', 'Valid', NULL, NULL",
        "'0x1', 'valid', NULL, NULL",
        "'0x1', NULL, NULL, NULL",
        "'0x1', 'Revoked', NULL, NULL",
        "'0x1', 'Valid', '2026-07-01 12:30:01', NULL",
        "'0x1', 'Valid', NULL, 'superseded'",
        "'0x1', 'Revoked', '2026-07-01', NULL",
        "'0x1', 'Revoked', '2026-07-01 12:30:01', 'lost'",
    ] {
        let insert = format!(
            "INSERT INTO list_certs (cert, cert_num, status, revocation_time, revocation_reason) \
             VALUES ('', {row})"
        );
        assert!(file.execute(&insert, ()).is_err(), "{row}");
    }
}

#[test]
fn rows_are_found_by_a_key() {
    let folder = tempfile::tempdir().unwrap();
    folder.run(CREATE);
    let file = rusqlite::Connection::open(options(&folder).path).unwrap();
    let plan: String = file
        .query_row(
            "EXPLAIN QUERY PLAN SELECT status FROM list_certs WHERE cert_num IN (?,?,?,?)",
            ["0xab"; 4],
            |row| row.get("detail"),
        )
        .unwrap();
    assert!(plan.starts_with("SEARCH list_certs USING INDEX"), "{plan}");
}

// rule: ANS-5
#[test]
fn a_missing_file_is_unavailable_until_it_is_there() {
    let folder = tempfile::tempdir().unwrap();
    let store = Sqlite::open(options(&folder));
    assert!(unavailable(&store, "05").contains("certs.sqlite: No such file"));
    assert!(!store.check().is_usable());
    folder.run(CREATE);
    folder.insert("0x05", "'Valid', NULL, NULL");
    assert_eq!(status(&store, "05"), Some(CertStatus::Good));
    assert!(store.check().is_usable(), "{:?}", store.check());
    fs::remove_file(options(&folder).path).unwrap();
    unavailable(&store, "05");
    fs::write(options(&folder).path, "not a database, but longer than its header ".repeat(50))
        .unwrap();
    assert!(unavailable(&store, "05").contains("not a database"));
}

// rule: ANS-1
#[test]
fn a_file_that_took_the_place_of_another_is_read_at_once() {
    let [old, new] = [(); 2].map(|()| tempfile::tempdir().unwrap());
    for folder in [&old, &new] {
        folder.run(CREATE);
        folder.insert("0x05", "'Valid', NULL, NULL");
    }
    new.run("UPDATE list_certs SET status = 'Revoked', revocation_time = '2026-07-01 12:30:01'");
    let store = Sqlite::open(options(&old));
    assert_eq!(status(&store, "05"), Some(CertStatus::Good));
    fs::rename(options(&new).path, options(&old).path).unwrap();
    assert!(matches!(status(&store, "05"), Some(CertStatus::Revoked { .. })));
}

#[test]
fn a_file_in_wal_mode_is_read_while_somebody_writes() {
    let folder = tempfile::tempdir().unwrap();
    folder.run("PRAGMA journal_mode = WAL");
    folder.run(CREATE);
    let store = Sqlite::open(options(&folder));
    assert_eq!(status(&store, "05"), None);
    let writer = rusqlite::Connection::open(options(&folder).path).unwrap();
    writer.execute_batch("BEGIN IMMEDIATE").unwrap();
    writer.execute("INSERT INTO list_certs (cert_num, cert) VALUES ('0x05', '')", ()).unwrap();
    assert_eq!(status(&store, "05"), None);
    writer.execute_batch("COMMIT").unwrap();
    assert_eq!(status(&store, "05"), Some(CertStatus::Good));
}

// rule: ANS-5
#[test]
fn a_locked_file_is_unavailable_within_the_time_out_and_then_at_once() {
    let folder = tempfile::tempdir().unwrap();
    folder.run(CREATE);
    let store = Sqlite::open(options(&folder));
    assert_eq!(status(&store, "05"), None);
    let writer = rusqlite::Connection::open(options(&folder).path).unwrap();
    writer.execute_batch("BEGIN EXCLUSIVE").unwrap();
    let start = Instant::now();
    assert!(unavailable(&store, "05").contains("locked"));
    assert!(start.elapsed() < Duration::from_secs(4), "{:?}", start.elapsed());
    let start = Instant::now();
    assert!(unavailable(&store, "05").contains("not tried again yet"));
    assert!(start.elapsed() < Duration::from_millis(500), "{:?}", start.elapsed());
    writer.execute_batch("COMMIT").unwrap();
    until(|| find(&store, "05").is_ok());
}
