//! Many rows at once: all that a store has, and many serials looked up together.

use std::collections::BTreeSet;

use ocsp_fcgi::serial::Serial;
use ocsp_fcgi::status::CertStatus;
use ocsp_fcgi::store::mapping::{Mapping, SerialFormat};
use ocsp_fcgi::store::{Dates, StatusStore, StoreError, WalkError, Wanted};

use crate::stores::tables::{On, World, mapped};
use crate::stores::{find, on_each_store, status};
use crate::support::mariadb::numbers;

// rule: ANS-1, REQ-5
#[test]
fn many_serials_are_looked_up_at_once_and_each_as_if_it_were_alone() {
    on_each_store(|table, store| {
        let mut serials = Vec::new();
        for number in 0..700 {
            let key = match number % 4 {
                0 => format!("0x{:x}", number + 1),
                1 => format!("0x{:04x}", number + 1),
                2 => format!("0x{:X}", number + 1),
                _ => format!("0x00ff{number:04x}"),
            };
            let rest = match number % 5 {
                0 => "'Revoked', '2026-01-02 03:04:05', 'superseded'",
                1 => "'lost', NULL, NULL",
                _ => "'Valid', NULL, NULL",
            };
            serials.push(Serial::from_hex(&key).unwrap());
            table.insert(&key, rest);
        }
        // In two spellings: revoked counts, whichever page each row is in.
        for (key, rest) in [
            ("0xa1b", "'Valid', NULL, NULL"),
            ("0x0a1b", "'Revoked', '2026-01-02 03:04:05', NULL"),
            ("0x00FF0002", "'Revoked', '2026-01-02 03:04:05', NULL"),
            ("0xff0002", "'Valid', NULL, NULL"),
        ] {
            serials.push(Serial::from_hex(key).unwrap());
            table.insert(key, rest);
        }
        serials.extend(["0e01", "0e02"].map(|hex| Serial::from_hex(hex).unwrap()));
        let found = store.find_many(&serials).unwrap();
        assert_eq!(found.len(), serials.len());
        let mut kinds = [0; 4];
        for (serial, found) in serials.iter().zip(found) {
            let alone = find(store, &serial.to_hex());
            kinds[match &alone {
                Ok(None) => 0,
                Ok(Some(record)) if record.status == ocsp_fcgi::status::CertStatus::Good => 1,
                Ok(Some(_)) => 2,
                Err(_) => 3,
            }] += 1;
            assert_eq!(format!("{found:?}"), format!("{alone:?}"), "{serial}");
        }
        assert!(kinds.iter().all(|count| *count >= 2), "{kinds:?}");
        assert!(store.find_many(&[]).unwrap().is_empty());
        table.run("DROP TABLE list_certs");
        let gone = store.find_many(&serials);
        assert!(matches!(gone, Err(StoreError::Unavailable(_))), "{gone:?}");
    });
}

#[test]
fn every_row_is_met_once_page_by_page() {
    on_each_store(|table, store| {
        assert!(walk(store).is_empty());
        let values: Vec<_> =
            (0..1_000).map(|number| format!("('0x{:x}', 'Valid', 'PEM')", number * 7)).collect();
        table.run(&format!(
            "INSERT INTO list_certs (cert_num, status, cert) VALUES {}",
            values.join(",")
        ));
        let wanted = (0..1_000).map(|number: u32| serial(&(number * 7).to_be_bytes())).collect();
        assert_eq!(walk(store), wanted);
        table.insert("nonsense", "'Valid', NULL, NULL");
        let mut pages = store.walk(Wanted::Serials).unwrap();
        let mut unreadable = Vec::new();
        while let Some(page) = pages.next_page().unwrap() {
            unreadable.extend(page.unreadable);
        }
        assert_eq!(unreadable, ["nonsense"]);
    });
}

#[test]
fn a_serial_that_was_stored_as_a_floating_point_number_is_none_and_ends_nothing() {
    let world = World::new(On::Sqlite);
    world.run("CREATE TABLE certs (number NUMERIC, state TEXT, at TEXT, why TEXT)");
    world.run(
        "INSERT INTO certs VALUES (17, 'Valid', NULL, NULL), (NULL, 'Valid', NULL, NULL), \
         ('53124676113289339881255524899894931150852478432', 'Valid', NULL, NULL), \
         ('0x0a1b', 'Valid', NULL, NULL), (18.5, 'Valid', NULL, NULL)",
    );
    let mapping = mapped("number", "state", "at", "why");
    let store = world.store(Mapping { serial: SerialFormat::Decimal, ..mapping });
    let mut pages = store.walk(Wanted::Serials).unwrap();
    let page = pages.next_page().unwrap().unwrap();
    assert_eq!(page.listed.len(), 1);
    assert_eq!(
        page.unreadable,
        ["REAL 18.5", "REAL 53124676113289340000000000000000000000000000000", "0x0a1b"]
    );
    assert!(pages.next_page().unwrap().is_none());
    // The number that it was.
    let found = find(&*store, "094e315fa6adb9bc3ea20564a7b22ee6ebaa55e0");
    let said = format!("{found:?}");
    assert!(
        matches!(found, Err(StoreError::BadRow { .. })) && said.contains("REAL 5312"),
        "{said}"
    );
    // Behind so many that they fill a page.
    world.run(
        "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < 1000) \
         INSERT INTO certs SELECT n + 0.5, 'Valid', NULL, NULL FROM c",
    );
    world.run("INSERT INTO certs VALUES (2000, 'Valid', NULL, NULL)");
    let mut pages = store.walk(Wanted::Serials).unwrap();
    let (mut listed, mut unreadable) = (0, 0);
    while let Some(page) = pages.next_page().unwrap() {
        listed += page.listed.len();
        unreadable += page.unreadable.len();
    }
    assert_eq!((listed, unreadable), (2, 1003));
}

#[test]
fn a_serial_that_is_no_text_though_it_says_so_ends_nothing() {
    let world = World::new(On::Sqlite);
    world.run("CREATE TABLE certs (number TEXT, state TEXT, at TEXT, why TEXT)");
    world.run(
        "INSERT INTO certs VALUES ('0x01', 'Valid', NULL, NULL), ('0xff', 'Valid', NULL, NULL), \
         (CAST(x'3078300fff' AS TEXT), 'Valid', NULL, NULL)",
    );
    // As many as fill a page, so that the way goes on behind one of them.
    world.run(
        "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < 300) \
         INSERT INTO certs SELECT CAST(x'307831ff' || n AS TEXT), 'Valid', NULL, NULL FROM c",
    );
    let store = world.store(mapped("number", "state", "at", "why"));
    let mut pages = store.walk(Wanted::Serials).unwrap();
    let (mut listed, mut unreadable) = (0, 0);
    while let Some(page) = pages.next_page().unwrap() {
        listed += page.listed.len();
        unreadable += page.unreadable.len();
    }
    assert_eq!((listed, unreadable), (2, 301));
}

#[test]
fn a_value_of_any_length_is_read_and_keeps_nobody_from_the_other_rows() {
    for on in [On::Maria, On::Sqlite] {
        let world = World::new(on);
        world.run(
            "CREATE TABLE certs (number VARCHAR(60) PRIMARY KEY, state LONGTEXT, at TEXT, \
             why TEXT, pem LONGBLOB)",
        );
        let long = "x".repeat(2 << 20);
        world.run(&format!(
            "INSERT INTO certs VALUES ('0x01', '{long}', NULL, NULL, 'PEM'), \
             ('0x02', 'Valid', NULL, NULL, '{long}')"
        ));
        let mut mapping = mapped("number", "state", "at", "why");
        mapping.columns.certificate = Some("pem".to_owned());
        let store = world.store(mapping);
        let found = find(&*store, "01");
        assert!(matches!(found, Err(StoreError::BadRow { .. })), "{on:?} {found:?}");
        assert_eq!(status(&*store, "02"), Some(CertStatus::Good), "{on:?}");
        let page = store.walk(Wanted::End).unwrap().next_page().unwrap().unwrap();
        assert_eq!(page.listed[1].dates, Dates::Certificate(long.into_bytes()), "{on:?}");
    }
}

#[test]
fn columns_of_every_type_are_gone_through_and_looked_up() {
    for (on, format, kind, make) in [
        (On::Maria, SerialFormat::Decimal, "VARCHAR(60)", "CONCAT(n * 1000003, '')"),
        (On::Maria, SerialFormat::Decimal, "DECIMAL(65,0)", "n + 987654321098765432109876543210"),
        (On::Maria, SerialFormat::Decimal, "BIGINT", "n * 1000003"),
        (On::Maria, SerialFormat::Decimal, "BIGINT UNSIGNED", "18446744073709550000 + n"),
        (On::Maria, SerialFormat::Decimal, "BIT(64)", "18446744073709550000 + n"),
        (On::Maria, SerialFormat::Decimal, "BIT(40)", "n * 1000003"),
        (
            On::Maria,
            SerialFormat::Binary,
            "VARBINARY(32)",
            "UNHEX(LPAD(HEX(n * 1000003), 40, '7'))",
        ),
        (On::Maria, SerialFormat::Binary, "BINARY(20)", "UNHEX(LPAD(HEX(n * 1000003), 40, '0'))"),
        (On::Maria, SerialFormat::Hexadecimal, "CHAR(64) CHARACTER SET latin1", "HEX(n * 1000003)"),
        (On::Sqlite, SerialFormat::Decimal, "INTEGER", "n * 1000003"),
        (On::Sqlite, SerialFormat::Decimal, "", "n * 1000003"),
        (On::Sqlite, SerialFormat::Decimal, "TEXT", "n || '987654321098765432109876543210'"),
        (On::Sqlite, SerialFormat::Binary, "BLOB", "CAST('octets' || n AS BLOB)"),
    ] {
        let world = World::new(on);
        world.run(&format!(
            "CREATE TABLE certs (number {kind}, ca VARCHAR(9), state VARCHAR(9), at TEXT, why TEXT)"
        ));
        let numbers = match on {
            On::Maria => numbers(700) + " AS numbers",
            On::Sqlite => {
                "(WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < 700) \
                 SELECT n FROM c)"
                    .to_owned()
            }
        };
        for ca in ["one", "two"] {
            world.run(&format!(
                "INSERT INTO certs SELECT {make}, '{ca}', 'Valid', NULL, NULL FROM {numbers}"
            ));
        }
        let mut mapping = Mapping { serial: format, ..mapped("number", "state", "at", "why") };
        mapping.columns.issuer = Some("ca".to_owned());
        mapping.issuer = Some("two".to_owned());
        let store = world.store(mapping);
        let all = walk(&*store);
        assert_eq!(all.len(), 700, "{on:?} {kind}");
        let all: Vec<_> = all.into_iter().collect();
        let found = store.find_many(&all).unwrap();
        assert!(found.iter().all(|found| matches!(found, Ok(Some(_)))), "{on:?} {kind}");
        // Only the row asked for, however near the others are.
        world.run("DELETE FROM certs WHERE state = 'Valid'");
        let found = store.find_many(&all).unwrap();
        assert!(found.iter().all(|found| matches!(found, Ok(None))), "{on:?} {kind}");
    }
}

#[test]
fn certificates_are_told_where_their_dates_are_wanted() {
    on_each_store(|table, store| {
        table
            .run("INSERT INTO list_certs (cert_num, status, cert) VALUES ('0x01', 'Valid', 'PEM')");
        for (wanted, dates) in [
            (Wanted::Serials, Dates::Untold),
            (Wanted::End, Dates::Certificate(b"PEM".to_vec())),
            (Wanted::BothEnds, Dates::Certificate(b"PEM".to_vec())),
        ] {
            let mut pages = store.walk(wanted).unwrap();
            let page = pages.next_page().unwrap().unwrap();
            assert_eq!(page.listed[0].dates, dates);
            assert!(pages.next_page().unwrap().is_none());
        }
    });
    let world = World::new(On::Sqlite);
    let store = world.store(mapped("number", "state", "at", "why"));
    let refused = store.walk(Wanted::End);
    assert!(matches!(refused, Err(WalkError::NoDates(_))));
}

/// All serials; each row was met once, and as many were counted.
#[track_caller]
fn walk(store: &dyn StatusStore) -> BTreeSet<Serial> {
    let mut pages = store.walk(Wanted::Serials).unwrap();
    let (mut all, mut rows) = (BTreeSet::new(), 0);
    while let Some(page) = pages.next_page().unwrap() {
        rows += page.listed.len();
        all.extend(page.listed.into_iter().map(|listed| listed.serial));
    }
    assert_eq!(rows, all.len(), "rows met twice");
    let mut counting = store.walk(Wanted::Serials).unwrap();
    let mut counted = 0;
    while let Some(more) = counting.skip().unwrap() {
        counted += more;
    }
    assert_eq!(counted, rows as u64);
    all
}

fn serial(octets: &[u8]) -> Serial {
    Serial::from_be_bytes(octets).unwrap()
}
