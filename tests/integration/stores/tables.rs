//! Tables of other programs: mapped columns and words, in MariaDB and SQLite.

use mysql::prelude::Queryable;
use ocsp_fcgi::serial::Serial;
use ocsp_fcgi::status::{CertStatus, RevocationReason};
use ocsp_fcgi::store::mapping::{ColumnNames, Mapping, SerialFormat, TimeZone};
use ocsp_fcgi::store::mysql::Mysql;
use ocsp_fcgi::store::sqlite::{self, Sqlite};
use ocsp_fcgi::store::{Finding, Report, StatusStore, StoreError};
use ocsp_fcgi::time::Timestamp;
use tempfile::TempDir;

use crate::stores::{Table, find, status, unavailable};
use crate::support::mariadb::{Database, MariaDb, numbers};

// rule: ANS-1
// rule: ANS-2
#[test]
fn serials_in_decimal_and_reasons_as_numbers_are_read_from_columns_of_every_type() {
    let big = "094e315fa6adb9bc3ea20564a7b22ee6ebaa55e0";
    let long = "ffffffffffffff01"; // as signed, it would be another
    for (on, kind) in [
        (On::Maria, "VARCHAR(60)"),
        (On::Maria, "DECIMAL(65,0)"),
        (On::Maria, "BIGINT UNSIGNED"),
        (On::Sqlite, "TEXT"),
        (On::Sqlite, "INTEGER"),
        (On::Sqlite, ""),
    ] {
        let world = World::new(on);
        world.run(&format!(
            "CREATE TABLE certs (number {kind} PRIMARY KEY, state INTEGER, at BIGINT, why INTEGER)"
        ));
        let mapping = Mapping {
            serial: SerialFormat::Decimal,
            good: words(&["20"]),
            revoked: words(&["40"]),
            ..mapped("number", "state", "at", "why")
        };
        let store = world.store(mapping);
        let serials: &[&str] = match kind {
            "BIGINT UNSIGNED" => &["01", "0a1b", "7fffffffffffffff", long],
            "INTEGER" | "" => &["01", "0a1b", "7fffffffffffffff"],
            _ => &["01", "0a1b", "7fffffffffffffff", long, big],
        };
        for hex in serials {
            let decimal = Serial::from_hex(hex).unwrap().to_decimal();
            let insert = |rest: &str| {
                world.run(&format!("INSERT INTO certs VALUES ({decimal}, {rest})"));
            };
            let quoted = |rest: &str| {
                world.run("DELETE FROM certs");
                world.run(&format!("INSERT INTO certs VALUES ('{decimal}', {rest})"));
            };
            let next = format!("{}9", &hex[..hex.len() - 1]);
            // SQLite has no integer for the greater ones, and would round them.
            if hex.len() < 16 || hex.starts_with('7') {
                insert("20, 0, -1");
            } else {
                quoted("20, NULL, NULL");
            }
            assert_eq!(status(&*store, hex), Some(CertStatus::Good), "{kind} {hex}");
            assert_eq!(status(&*store, &next), None, "{kind} {hex} {next}");
            quoted("40, 1782909001, 4");
            let time = Timestamp::from_unix(1_782_909_001);
            let reason = Some(RevocationReason::Superseded);
            assert_eq!(status(&*store, hex), Some(CertStatus::Revoked { time, reason }), "{kind}");
            quoted("50, NULL, NULL");
            assert!(matches!(find(&*store, hex), Err(StoreError::BadRow { .. })), "{kind} {hex}");
            world.run("DELETE FROM certs");
        }
    }
}

// rule: REQ-5
#[test]
fn serials_as_octets_and_as_bare_hexadecimal_are_found() {
    for (on, format, kind, stored) in [
        (On::Maria, SerialFormat::Binary, "VARBINARY(32)", &["x'FF01EE'", "x'00FF01EE'"][..]),
        (
            On::Maria,
            SerialFormat::Binary,
            "BINARY(20)",
            &["x'0000000000000000000000000000000000FF01EE'"],
        ),
        (On::Sqlite, SerialFormat::Binary, "BLOB", &["x'FF01EE'", "x'00FF01EE'"]),
        (
            On::Maria,
            SerialFormat::Hexadecimal,
            "VARCHAR(64)",
            &["'ff01ee'", "'00FF01EE'", "'FF01EE'"],
        ),
        (On::Maria, SerialFormat::Hexadecimal, "VARCHAR(64) COLLATE utf8mb4_bin", &["'00ff01ee'"]),
        (On::Sqlite, SerialFormat::Hexadecimal, "TEXT", &["'ff01ee'", "'00FF01EE'", "'FF01EE'"]),
    ] {
        let world = World::new(on);
        world.run(&format!(
            "CREATE TABLE certs (number {kind} PRIMARY KEY, state TEXT, at TEXT, why TEXT)"
        ));
        let mapping = Mapping { serial: format, ..mapped("number", "state", "at", "why") };
        let store = world.store(mapping);
        for stored in stored {
            world.run(&format!("INSERT INTO certs VALUES ({stored}, 'Valid', NULL, NULL)"));
            assert_eq!(status(&*store, "ff01ee"), Some(CertStatus::Good), "{kind} {stored}");
            for other in ["ff01", "01ee", "ff01ee00", "ff01ef"] {
                assert_eq!(status(&*store, other), None, "{kind} {stored} {other}");
            }
            world.run("UPDATE certs SET state = 'maybe'");
            let error = find(&*store, "ff01ee").unwrap_err().to_string().to_lowercase();
            assert!(error.contains("ff01ee of the status store: state is"), "{error}");
            world.run("DELETE FROM certs");
        }
    }
}

// rule: ANS-1
#[test]
fn several_cas_share_a_table_by_an_issuer_column() {
    for on in [On::Maria, On::Sqlite] {
        for kind in ["VARCHAR(50)", "INTEGER", ""] {
            if on == On::Maria && kind.is_empty() {
                continue;
            }
            let world = World::new(on);
            world.run(&format!(
                "CREATE TABLE certs (ca {kind}, number VARCHAR(50), state VARCHAR(20), at VARCHAR(50), \
                 why VARCHAR(50), PRIMARY KEY (ca, number))"
            ));
            let of = |issuer: &str| {
                let mut mapping = mapped("number", "state", "at", "why");
                mapping.columns.issuer = Some("ca".to_owned());
                world.store(Mapping { issuer: Some(issuer.to_owned()), ..mapping })
            };
            let [one, two] = ["1", "2"].map(of);
            world.run("INSERT INTO certs VALUES (1, '0x05', 'Valid', NULL, NULL)");
            world.run(
                "INSERT INTO certs VALUES (2, '0x05', 'Revoked', '2026-07-01 12:30:01', NULL)",
            );
            world.run("INSERT INTO certs VALUES (2, '0x06', 'Valid', NULL, NULL)");
            assert_eq!(status(&*one, "05"), Some(CertStatus::Good), "{on:?} {kind}");
            assert!(matches!(status(&*two, "05"), Some(CertStatus::Revoked { .. })));
            assert_eq!(status(&*one, "06"), None);
            assert_eq!(status(&*two, "06"), Some(CertStatus::Good));
        }
    }
}

// rule: ANS-1
#[test]
fn a_row_that_only_a_collation_takes_for_the_issuers_is_no_answer() {
    let world = World::new(On::Maria);
    world.run(
        "CREATE TABLE certs (number VARCHAR(50) PRIMARY KEY, state TEXT, at TEXT, why TEXT, \
         ca VARCHAR(50) COLLATE utf8mb4_general_ci)",
    );
    let mut mapping = mapped("number", "state", "at", "why");
    mapping.columns.issuer = Some("ca".to_owned());
    let store = world.store(Mapping { issuer: Some("Zürich".to_owned()), ..mapping });
    world.run("INSERT INTO certs VALUES ('0x05', 'Valid', NULL, NULL, 'Zurich')");
    world.run("INSERT INTO certs VALUES ('0x06', 'Valid', NULL, NULL, 'ZüRICH')");
    assert!(matches!(find(&*store, "05"), Err(StoreError::BadRow { .. })));
    assert_eq!(status(&*store, "06"), Some(CertStatus::Good));
}

#[test]
fn without_a_status_column_the_time_tells_and_without_time_and_reason_the_status() {
    for on in [On::Maria, On::Sqlite] {
        let world = World::new(on);
        world.run("CREATE TABLE certs (number VARCHAR(50) PRIMARY KEY, state BIT, at DATETIME)");
        let mut by_time = mapped("number", "state", "at", "why");
        by_time.columns.status = None;
        by_time.columns.revocation_reason = None;
        let mut by_status = mapped("number", "state", "at", "why");
        by_status.columns.revocation_time = None;
        by_status.columns.revocation_reason = None;
        let by_status = Mapping { good: words(&["0"]), revoked: words(&["1"]), ..by_status };
        let [by_time, by_status] = [by_time, by_status].map(|mapping| world.store(mapping));
        world.run("INSERT INTO certs VALUES ('0x05', 0, NULL)");
        world.run("INSERT INTO certs VALUES ('0x06', 1, '2026-07-01 12:30:01')");
        for store in [&by_time, &by_status] {
            assert_eq!(status(&**store, "05"), Some(CertStatus::Good), "{on:?}");
        }
        let time = Timestamp::from_civil(2026, 7, 1, (12, 30, 1)).unwrap();
        let revoked = |time| Some(CertStatus::Revoked { time, reason: None });
        assert_eq!(status(&*by_time, "06"), revoked(time), "{on:?}");
        assert_eq!(status(&*by_status, "06"), revoked(Timestamp::EPOCH), "{on:?}");
    }
}

#[test]
fn times_are_in_the_zone_of_the_table_but_for_those_that_say_theirs() {
    let time = Timestamp::from_civil(2026, 7, 1, (12, 30, 1)).unwrap();
    for (on, kind, value) in [
        (On::Maria, "datetime", "'2026-07-01 14:00:01'"),
        (On::Maria, "timestamp NULL", "'2026-07-01 17:30:01'"), // written in the server's zone, +05:00
        (On::Maria, "varchar(50)", "'2026-07-01 14:00:01'"),
        (On::Maria, "varchar(50)", "'2026-07-01T12:30:01Z'"),
        (On::Maria, "bigint", "1782909001"),
        (On::Sqlite, "TEXT", "'2026-07-01 14:00:01.5'"),
        (On::Sqlite, "TEXT", "'2026-07-01T12:30:01Z'"),
        (On::Sqlite, "INTEGER", "1782909001"),
    ] {
        let world = World::new(on);
        world.run(&format!(
            "CREATE TABLE certs (number VARCHAR(50) PRIMARY KEY, state TEXT, at {kind}, why TEXT)"
        ));
        let mapping = mapped("number", "state", "at", "why");
        let store = world.store(Mapping { time_zone: TimeZone { minutes: 90 }, ..mapping });
        world.run(&format!("INSERT INTO certs VALUES ('0x05', 'Revoked', {value}, NULL)"));
        let expected = Some(CertStatus::Revoked { time, reason: None });
        assert_eq!(status(&*store, "05"), expected, "{kind} {value}");
    }
}

#[test]
fn a_column_that_is_not_there_is_an_error_and_never_a_word() {
    for on in [On::Maria, On::Sqlite] {
        let world = World::new(on);
        world.run(
            "CREATE TABLE certs (number VARCHAR(50) PRIMARY KEY, state TEXT, at TEXT, why TEXT)",
        );
        world.run("INSERT INTO certs VALUES ('0x05', 'Valid', NULL, NULL)");
        // In double quotes, SQLite would take it for a text.
        let mapping = Mapping { good: words(&["Good"]), ..mapped("number", "Good", "at", "why") };
        let store = world.store(mapping.clone());
        assert!(unavailable(&*store, "05").contains("Good"));
        let [report] = &world.check(mapping)[..] else { panic!("one place") };
        let findings = format!("{:?}", report.findings);
        assert!(!report.is_usable() && findings.contains("Good"), "{findings}");
    }
}

#[test]
fn check_shows_the_question_and_whether_a_key_serves_it() {
    for (on, keys, serves) in [
        (On::Maria, "PRIMARY KEY (number)", true),
        (On::Maria, "PRIMARY KEY (ca, number)", true),
        (On::Maria, "PRIMARY KEY (number, ca)", true),
        (On::Maria, "PRIMARY KEY (why, number)", false),
        (On::Maria, "PRIMARY KEY (ca, why, number)", false),
        (On::Maria, "PRIMARY KEY (why), KEY mine (ca, number)", true),
        (On::Sqlite, "PRIMARY KEY (number)", true),
        (On::Sqlite, "PRIMARY KEY (ca, number)", true),
        (On::Sqlite, "PRIMARY KEY (why, number)", false),
        (On::Sqlite, "PRIMARY KEY (ca, why, number)", false),
    ] {
        let world = World::new(on);
        world.run(&format!(
            "CREATE TABLE certs (number VARCHAR(50), ca VARCHAR(20), state VARCHAR(20), \
             at VARCHAR(20), why VARCHAR(20), {keys})"
        ));
        let mut mapping = mapped("number", "state", "at", "why");
        mapping.columns.issuer = Some("ca".to_owned());
        let [report] = &world.check(mapping)[..] else { panic!("one place") };
        let asked = "asks SELECT `number`, `state`, `at`, `why`, `ca` FROM `certs` WHERE `ca` IN (";
        let is_asked =
            |finding: &Finding| matches!(finding, Finding::Fine(t) if t.starts_with(asked));
        assert!(report.findings.iter().any(is_asked), "{report:?}");
        let is_warned = |finding: &Finding| matches!(finding, Finding::Warning(text) if text.contains("no key begins with number"));
        assert_eq!(!report.findings.iter().any(is_warned), serves, "{on:?} {keys}: {report:?}");
    }
}

#[test]
fn the_server_reads_no_more_rows_than_there_are_keys() {
    let world = World::new(On::Maria);
    for (kind, format, make) in [
        ("VARCHAR(60)", SerialFormat::Decimal, "n + 1000"),
        ("DECIMAL(65,0)", SerialFormat::Decimal, "n + 1000"),
        ("BIGINT", SerialFormat::Decimal, "n + 1000"),
        ("VARCHAR(60)", SerialFormat::Prefixed, "CONCAT('0x', HEX(n + 1000))"),
        ("VARBINARY(20)", SerialFormat::Binary, "UNHEX(LPAD(HEX(n + 1000), 4, '0'))"),
    ] {
        world.run("DROP TABLE IF EXISTS certs");
        world.run(&format!(
            "CREATE TABLE certs (number {kind} PRIMARY KEY, state VARCHAR(9) DEFAULT 'Valid', at TEXT, why TEXT)"
        ));
        world.run(&format!(
            "INSERT INTO certs (number) SELECT {make} FROM {} AS many",
            numbers(3000)
        ));
        let mapping = Mapping { serial: format, ..mapped("number", "state", "at", "why") };
        let store = world.store(mapping.clone());
        assert_eq!(status(&*store, "0fa0"), Some(CertStatus::Good), "{kind}"); // 4000
        let [report] = &world.check(mapping)[..] else { panic!("one place") };
        let statement = report.findings.iter().find_map(|finding| match finding {
            Finding::Fine(text) => text.strip_prefix("asks "),
            _ => None,
        });
        // The same question in a session whose reads can be counted.
        let parameters: Vec<mysql::Value> = match format {
            SerialFormat::Decimal => vec!["4000".into()],
            SerialFormat::Binary => ["0fa0", "0fa0", "000fa0", "00"].map(Into::into).into(),
            _ => ["0x0FA0", "0xFA0", "0x0fa0", "0xfa0"].map(Into::into).into(),
        };
        let World::Maria(database) = &world else { panic!() };
        let mut root = database.root();
        root.query_drop("FLUSH STATUS").unwrap();
        let found: Vec<mysql::Row> = root.exec(statement.unwrap(), parameters).unwrap();
        assert_eq!(found.len(), 1, "{kind}");
        let reads: Vec<(String, u64)> =
            root.query("SHOW SESSION STATUS LIKE 'Handler_read%'").unwrap();
        let all: u64 = reads.iter().map(|(_, count)| count).sum();
        assert!((1..=9).contains(&all), "{kind} {format:?}: {reads:?}");
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum On {
    Maria,
    Sqlite,
}

/// A database without a table of ours.
pub(super) enum World {
    Maria(Database<'static>),
    Sqlite(TempDir),
}

impl World {
    pub(super) fn new(on: On) -> Self {
        match on {
            On::Maria => Self::Maria(MariaDb::shared().database()),
            On::Sqlite => Self::Sqlite(tempfile::tempdir().unwrap()),
        }
    }

    pub(super) fn run(&self, sql: &str) {
        match self {
            Self::Maria(database) => database.run(sql),
            Self::Sqlite(folder) => folder.run(sql),
        }
    }

    fn mysql(database: &Database<'_>, mapping: Mapping) -> Mysql {
        let mut options = database.options(&[database.server.unix()]);
        options.mapping = mapping;
        Mysql::new(options)
    }

    fn sqlite(folder: &TempDir, mapping: Mapping) -> Sqlite {
        Sqlite::open(sqlite::Options { path: folder.path().join("certs.sqlite"), mapping })
    }

    pub(super) fn store(&self, mapping: Mapping) -> Box<dyn StatusStore> {
        match self {
            Self::Maria(database) => Box::new(Self::mysql(database, mapping)),
            Self::Sqlite(folder) => Box::new(Self::sqlite(folder, mapping)),
        }
    }

    fn check(&self, mapping: Mapping) -> Vec<Report> {
        match self {
            Self::Maria(database) => Self::mysql(database, mapping).check(),
            Self::Sqlite(folder) => vec![Self::sqlite(folder, mapping).check()],
        }
    }
}

/// The earlier responder's words in a table `certs` with other columns.
pub(super) fn mapped(serial: &str, status: &str, time: &str, reason: &str) -> Mapping {
    let name = |text: &str| Some(text.to_owned());
    let columns = ColumnNames {
        serial: serial.to_owned(),
        status: name(status),
        revocation_time: name(time),
        revocation_reason: name(reason),
        issuer: None,
        certificate: None,
    };
    Mapping { columns, ..Mapping::of_table("certs") }
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}
