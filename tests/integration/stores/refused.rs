//! Rows that a database cannot show, as a view fails at them, though it is well.

use std::collections::BTreeMap;
use std::fs;

use ocsp_fcgi::serial::Serial;
use ocsp_fcgi::status::CertStatus;
use ocsp_fcgi::store::mysql::Mysql;
use ocsp_fcgi::store::{Dates, StoreError, Wanted};

use crate::stores::tables::{On, World, mapped};
use crate::stores::{find, status, unavailable};
use crate::support::mariadb::{Database, MariaDb};

// rule: ANS-1, ANS-5
#[test]
fn a_row_that_a_view_fails_at_is_told_by_itself_and_every_other_one_is_found() {
    for on in [On::Maria, On::Sqlite] {
        let world = failing_at_6(on);
        let store = world.store(mapped("number", "state", "at", "why"));
        for _ in 0..2 {
            let found = find(&*store, "06");
            let Err(StoreError::BadRow { key, problem }) = &found else { panic!("{found:?}") };
            assert_eq!(key, "0x06");
            let says = ["more than 1 row (error 1242)", "malformed JSON"];
            assert!(says.iter().any(|said| problem.contains(said)), "{problem}");
            // Nobody has to wait for a pause.
            assert_eq!(status(&*store, "05"), Some(CertStatus::Good));
        }
        let serials = ["05", "06", "07", "08"].map(|hex| Serial::from_hex(hex).unwrap());
        let found = store.find_many(&serials).unwrap();
        let alone = serials.map(|serial| find(&*store, &serial.to_hex()));
        assert_eq!(format!("{found:?}"), format!("{alone:?}"));
        assert_eq!(found.iter().map(Result::is_ok).collect::<Vec<_>>(), [true, false, true, true]);
    }
}

/// MySQL makes the whole of such a view before it shows the first row.
#[test]
fn a_certificate_that_a_view_of_mariadb_fails_at_is_left_out_and_every_other_one_is_met() {
    for on in [On::Maria, On::Sqlite] {
        let world = failing_at_6(on);
        let rows: Vec<_> =
            (0..600).map(|row| format!("('0x{:05x}', 'Valid', NULL, '{{}}')", row * 100)).collect();
        world.run(&format!("INSERT INTO rows_of_certs VALUES {}", rows.join(",")));
        world.run("INSERT INTO reasons VALUES ('0x05', 'PEM')");
        world.run("UPDATE rows_of_certs SET why = '{\"reason\": \"PEM\"}' WHERE number = '0x05'");
        let mut mapping = mapped("number", "state", "at", "why");
        mapping.columns.certificate = Some("why".to_owned());
        let store = world.store(mapping);
        let mut pages = store.walk(Wanted::End).unwrap();
        let mut met = BTreeMap::new();
        while let Some(page) = pages.next_page().unwrap() {
            for listed in page.listed {
                assert_eq!(met.insert(listed.serial.to_hex(), listed.dates), None, "met twice");
            }
        }
        assert_eq!(met.len(), 603, "{on:?}");
        assert_eq!(met["05"], Dates::Certificate(b"PEM".to_vec()), "{on:?}");
        assert_eq!(met["06"], Dates::Untold, "{on:?}");
    }
}

#[test]
fn a_row_that_a_view_fails_at_costs_no_connection() {
    let database = MariaDb::shared().database();
    signalling(&database, "'45000' SET MYSQL_ERRNO = 1644");
    let store = database.store();
    assert_eq!(status(&store, "05"), Some(CertStatus::Good));
    let before = database.connections();
    assert!(matches!(find(&store, "06"), Err(StoreError::BadRow { .. })));
    assert_eq!(database.connections(), before);
}

// rule: ANS-5
#[test]
fn what_takes_too_long_or_stops_everything_is_a_database_that_is_away() {
    for timely in [1969, 3024, 1317, 1213] {
        let database = MariaDb::shared().database();
        signalling(&database, &format!("'HY000' SET MYSQL_ERRNO = {timely}"));
        assert!(unavailable(&database.store(), "06").contains(&format!("(error {timely})")));
    }
    for on in [On::Maria, On::Sqlite] {
        let world = failing_at_6(on);
        let store = world.store(mapped("number", "state", "at", "why"));
        world.run("DROP VIEW certs");
        unavailable(&*store, "06");
    }
}

// rule: ANS-5
#[test]
fn where_the_server_can_show_no_row_the_rows_are_not_to_blame() {
    let server = MariaDb::start();
    let database = server.database();
    let name = &database.name;
    server.run("CREATE USER author");
    server.run(&format!("GRANT SELECT, EXECUTE ON {name}.* TO author"));
    signalling(&database, "'45000'");
    for sql in [
        "DROP FUNCTION fails",
        "CREATE DEFINER = author FUNCTION fails(num VARCHAR(50)) RETURNS INT READS SQL DATA BEGIN \
         DECLARE n INT; SELECT COUNT(*) INTO n FROM rows_of_certs WHERE cert_num = num; \
         RETURN n - 1; END",
    ] {
        database.run(sql);
    }
    let store = database.store();
    assert_eq!(status(&store, "06"), Some(CertStatus::Good));
    server.run(&format!("REVOKE SELECT ON {name}.* FROM author"));
    for _ in 0..2 {
        // At once, without a pause in which nobody is asked.
        assert!(unavailable(&store, "06").contains("(error 1356)"));
        assert_eq!(status(&store, "07"), None);
    }
    server.run(&format!("GRANT SELECT ON {name}.* TO author"));
    assert_eq!(status(&store, "06"), Some(CertStatus::Good));
}

// rule: ANS-5
#[test]
fn what_a_damaged_host_cannot_show_another_one_tells() {
    let first = MariaDb::shared().database();
    let second = MariaDb::start();
    let copy = second.database_named(&first.name);
    copy.insert("0x06", "'Revoked', '2026-07-01 12:30:01', NULL");
    signalling(&first, "'HY000' SET MYSQL_ERRNO = 1712");
    let store = Mysql::new(first.options(&[first.server.unix(), second.unix()]));
    let found = status(&store, "06");
    assert!(matches!(found, Some(CertStatus::Revoked { .. })), "{found:?}");
}

// rule: ANS-5
#[test]
fn a_file_of_which_some_pages_are_damaged_is_one_that_is_away() {
    let world = World::new(On::Sqlite);
    world.run(
        "CREATE TABLE certs (number TEXT PRIMARY KEY, state TEXT, at TEXT, why TEXT, cert TEXT)",
    );
    world.run(
        "WITH RECURSIVE c(n) AS (SELECT 16 UNION ALL SELECT n + 1 FROM c WHERE n < 5000) \
         INSERT INTO certs SELECT printf('0x1%05x', n), 'Valid', NULL, NULL, printf('%0300d', 1) FROM c",
    );
    let World::Sqlite(folder) = &world else { panic!("a file") };
    let path = folder.path().join("certs.sqlite");
    let mut octets = fs::read(&path).unwrap();
    let rest = octets.len() * 3 / 4 / 4096 * 4096;
    octets[rest..].fill(0);
    fs::write(&path, octets).unwrap();
    let store = world.store(mapped("number", "state", "at", "why"));
    assert_eq!(status(&*store, "100010"), Some(CertStatus::Good));
    assert!(unavailable(&*store, "101380").contains("malformed"));
}

// rule: ANS-5
#[test]
fn a_failure_that_does_not_come_again_is_none_of_the_row() {
    let database = MariaDb::shared().database();
    signalling(&database, "'45000' SET MYSQL_ERRNO = 1644");
    database.run("DROP FUNCTION fails");
    // The first time only. What a statement that fails has done is undone, but for this.
    database.run("CREATE TABLE asked (id INT) ENGINE = MyISAM");
    database.run(
        "CREATE FUNCTION fails(cert_num VARCHAR(50)) RETURNS INT NOT DETERMINISTIC \
         MODIFIES SQL DATA BEGIN IF cert_num = '0x06' THEN INSERT INTO asked VALUES (1); \
         IF (SELECT COUNT(*) FROM asked) = 1 THEN SIGNAL SQLSTATE '45000'; END IF; END IF; \
         RETURN 0; END",
    );
    assert_eq!(status(&database.store(), "06"), Some(CertStatus::Good));
}

/// A table in which the row of 06 cannot be shown, since it was revoked.
fn failing_at_6(on: On) -> World {
    let world = World::new(on);
    let why = match on {
        On::Maria => "(SELECT reason FROM reasons WHERE reasons.number = rows_of_certs.number)",
        On::Sqlite => "json_extract(why, '$.reason')",
    };
    for sql in [
        "CREATE TABLE reasons (number VARCHAR(50), reason VARCHAR(50))",
        "INSERT INTO reasons VALUES ('0x06', 'certificateHold'), ('0x06', 'keyCompromise')",
        "CREATE TABLE rows_of_certs (number VARCHAR(50) PRIMARY KEY, state VARCHAR(20), at TEXT, why TEXT)",
        "INSERT INTO rows_of_certs VALUES ('0x05', 'Valid', NULL, NULL), \
         ('0x06', 'Revoked', '2026-07-01 12:30:01', '{'), ('0x07', 'Valid', NULL, NULL)",
        &format!("CREATE VIEW certs AS SELECT number, state, at, {why} AS why FROM rows_of_certs"),
    ] {
        world.run(sql);
    }
    world
}

/// The table has 05 and 06, and the server says this of the latter.
fn signalling(database: &Database<'_>, error: &str) {
    for sql in [
        "RENAME TABLE list_certs TO rows_of_certs",
        "INSERT INTO rows_of_certs (cert_num, cert) VALUES ('0x05', ''), ('0x06', '')",
        &format!(
            "CREATE FUNCTION fails(cert_num VARCHAR(50)) RETURNS INT NOT DETERMINISTIC \
             READS SQL DATA BEGIN IF cert_num = '0x06' THEN SIGNAL SQLSTATE {error}; END IF; \
             RETURN 0; END"
        ),
        "CREATE VIEW list_certs AS SELECT cert_num, revocation_time, revocation_reason, cert, \
         IF(fails(cert_num) = 0, status, 'never') AS status FROM rows_of_certs",
    ] {
        database.run(sql);
    }
}
