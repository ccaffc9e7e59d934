//! What a server does to connections by its settings, and what is set against it.

use std::time::Duration;

use mysql::prelude::Queryable;
use ocsp_fcgi::status::CertStatus;
use ocsp_fcgi::store::mysql::Mysql;

use crate::stores::{status, unavailable, until};
use crate::support::mariadb::{MariaDb, numbers};

// rule: ANS-6
#[test]
fn a_transaction_that_the_server_begins_for_each_connection_hides_no_revocation() {
    for begin in ["START TRANSACTION", "SET autocommit = 0", "SET completion_type = CHAIN"] {
        let server = MariaDb::start_with(&[&format!("--init-connect={begin}")]);
        let database = server.database();
        database.insert("0x05", "'Valid', NULL, NULL");
        let store = database.store();
        assert_eq!(status(&store, "05"), Some(CertStatus::Good));
        database.run("UPDATE list_certs SET status = 'Revoked'");
        let found = status(&store, "05");
        assert!(matches!(found, Some(CertStatus::Revoked { .. })), "{begin}: {found:?}");
    }
}

// rule: ANS-1
#[test]
fn what_others_may_yet_take_back_counts_for_nothing() {
    let server = MariaDb::start_with(&["--transaction-isolation=READ-UNCOMMITTED"]);
    let database = server.database();
    database.insert("0x05", "'Revoked', '2026-07-01 12:30:01', NULL");
    let store = database.store();
    let mut other = database.root();
    for change in ["UPDATE list_certs SET status = 'Valid'", "DELETE FROM list_certs"] {
        other.query_drop("START TRANSACTION").unwrap();
        other.query_drop(change).unwrap();
        let found = status(&store, "05");
        assert!(matches!(found, Some(CertStatus::Revoked { .. })), "{change}: {found:?}");
        other.query_drop("ROLLBACK").unwrap();
    }
}

// rule: ANS-1
#[test]
fn a_time_that_is_set_for_all_of_mariadb_hides_no_revocation_since() {
    let server = MariaDb::start();
    let database = server.database();
    database.run("ALTER TABLE list_certs ADD SYSTEM VERSIONING");
    database.insert("0x05", "'Valid', NULL, NULL");
    let before: Vec<String> = server.rows("SELECT CAST(NOW(6) AS CHAR) FROM (SELECT SLEEP(0.1)) s");
    std::thread::sleep(Duration::from_millis(100));
    database.run("UPDATE list_certs SET status = 'Revoked'");
    server.run(&format!("SET GLOBAL system_versioning_asof = '{}'", before[0]));
    let seen_by_others: Vec<String> =
        server.rows(&format!("SELECT status FROM {}.list_certs", database.name));
    assert_eq!(seen_by_others, ["Valid"]);
    let found = status(&database.store(), "05");
    assert!(matches!(found, Some(CertStatus::Revoked { .. })), "{found:?}");
}

// rule: ANS-1
#[test]
fn a_limit_of_the_server_hides_no_row_that_says_revoked() {
    let server = MariaDb::start();
    server.run("SET GLOBAL sql_select_limit = 1");
    let database = server.database();
    database.insert("0x0a1b", "'Valid', NULL, NULL");
    database.insert("0xa1b", "'Revoked', '2026-07-01 12:30:01', NULL");
    let found = status(&database.store(), "0a1b");
    assert!(matches!(found, Some(CertStatus::Revoked { .. })), "{found:?}");
}

#[test]
fn what_nobody_waits_for_any_more_is_given_up_by_the_server() {
    let database = MariaDb::shared().database();
    let many = numbers(99_999);
    // Not SLEEP, which ends early without an error.
    for sql in [
        "RENAME TABLE list_certs TO rows_of_certs",
        "INSERT INTO rows_of_certs (cert_num, cert) VALUES ('0x05', '')",
        &format!(
            "CREATE FUNCTION takes_long() RETURNS INT NOT DETERMINISTIC READS SQL DATA BEGIN \
             DECLARE pairs BIGINT; SELECT COUNT(*) INTO pairs FROM {many} a, {many} b \
             WHERE a.n * b.n + b.n <> -1; RETURN pairs; END"
        ),
        "CREATE VIEW list_certs AS SELECT cert_num, revocation_time, revocation_reason, cert, \
         IF(takes_long() > 0, status, 'never') AS status FROM rows_of_certs",
    ] {
        database.run(sql);
    }
    let mut options = database.options(&[database.server.unix()]);
    options.timeout = Duration::from_millis(200);
    let store = Mysql::new(options);
    // As the account that the function runs for.
    let running = || -> u32 {
        let rows: Vec<u32> = database.server.rows(
            "SELECT COUNT(*) FROM information_schema.processlist \
             WHERE id <> CONNECTION_ID() AND info LIKE '%99999%'",
        );
        rows[0]
    };
    for _ in 0..3 {
        unavailable(&store, "05");
    }
    assert!(running() > 0, "nothing takes long");
    // By itself the server sees that a connection is closed when the statement is over.
    until(|| running() == 0);
}
