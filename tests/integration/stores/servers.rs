//! What holds for a MySQL or MariaDB server alone.

use std::time::{Duration, Instant};

use ocsp_fcgi::status::CertStatus;
use ocsp_fcgi::store::mysql::{Host, Mysql, Tls};
use ocsp_fcgi::time::Timestamp;

use crate::stores::{find, status, unavailable, until};
use crate::support::mariadb::{Database, MariaDb, make_certificate, numbers};

#[test]
fn rows_are_found_by_the_primary_key_whatever_its_collation() {
    let database = MariaDb::shared().database();
    database.run(&format!(
        "INSERT INTO list_certs (cert_num, cert) SELECT CONCAT('0x', HEX(n)), '' FROM {} AS many",
        numbers(3000)
    ));
    let name = &database.name;
    let globals = |time: u32| {
        database.run(&format!("SET GLOBAL log_output = 'TABLE', long_query_time = {time}"));
        database.run(&format!("SET GLOBAL slow_query_log = {}", u32::from(time == 0)));
    };
    globals(0);
    let store = database.store();
    // The most rows that the server read for one statement of the store.
    let examined = || -> i32 {
        let rows: Vec<Option<i32>> = database.server.rows(&format!(
            "SELECT MAX(rows_examined) FROM mysql.slow_log WHERE user_host LIKE '{name}[%' \
             AND sql_text LIKE '%list_certs%'"
        ));
        rows[0].unwrap_or(-1)
    };
    for collation in ["utf8mb4_general_ci", "utf8mb4_bin", "latin1_swedish_ci"] {
        let (charset, _) = collation.split_once('_').unwrap();
        database.run(&format!(
            "ALTER TABLE list_certs MODIFY cert_num varchar(50) CHARACTER SET {charset} \
             COLLATE {collation} NOT NULL"
        ));
        assert_eq!(status(&store, "ab0ab0"), None);
        assert_eq!(status(&store, "0ab"), Some(CertStatus::Good), "{collation}");
        let plan: Vec<mysql::Row> = database.server.rows(&format!(
            "EXPLAIN FORMAT=TRADITIONAL SELECT cert_num, status, revocation_time, revocation_reason \
             FROM {name}.list_certs WHERE cert_num IN ('0x0AB','0xAB','0x0ab','0xab')"
        ));
        let key: Option<String> = plan[0].get("key");
        let kind: Option<String> = plan[0].get("type");
        assert_eq!((key.as_deref(), kind.as_deref()), (Some("PRIMARY"), Some("range")));
        assert!((0..=4).contains(&examined()), "{collation}: rows read: {}", examined());
    }
    // The server does count what it reads.
    database.run("ALTER TABLE list_certs DROP PRIMARY KEY");
    assert_eq!(status(&store, "0ab"), Some(CertStatus::Good));
    globals(10);
    assert_eq!(examined(), 3000);
}

#[test]
fn a_server_is_reached_over_tcp_by_name_or_address_and_over_its_socket_as_configured() {
    let database = MariaDb::shared().database();
    database.insert("0x05", "'Valid', NULL, NULL");
    let server = database.server;
    for (host, client) in [
        (server.tcp(), "127.0.0.1:"),
        (server.localhost(), "127.0.0.1:"),
        (server.unix(), "localhost"),
    ] {
        let store = Mysql::new(database.options(std::slice::from_ref(&host)));
        assert_eq!(status(&store, "05"), Some(CertStatus::Good), "{host}");
        let name = &database.name;
        let clients: Vec<String> = server.rows(&format!(
            "SELECT host FROM information_schema.processlist WHERE user = '{name}'"
        ));
        assert!(clients.iter().any(|from| from.starts_with(client)), "{host}: {clients:?}");
        drop(store);
        until(|| database.connections().is_empty());
    }
}

#[test]
fn a_node_of_a_galera_cluster_is_asked_for_what_all_nodes_have_written() {
    let database = MariaDb::shared().database();
    // A table that tells what the session of its reader is set to.
    for sql in [
        "RENAME TABLE list_certs TO rows_of_certs",
        "CREATE FUNCTION waits() RETURNS INT RETURN @@SESSION.wsrep_sync_wait",
        "CREATE VIEW list_certs AS SELECT cert_num, revocation_time, revocation_reason, cert, \
         IF(waits() = 1, status, 'stale') AS status FROM rows_of_certs",
        "INSERT INTO rows_of_certs (cert_num, cert) VALUES ('0x05', '')",
        "SET GLOBAL wsrep_sync_wait = 0",
    ] {
        database.run(sql);
    }
    assert_eq!(status(&database.store(), "05"), Some(CertStatus::Good));
}

/// Has the table refuse its readers, as a node of a Galera cluster does while its members
/// change, until the row of `gate` is gone.
fn refusing<'s>() -> Database<'s> {
    let database = MariaDb::shared().database();
    for sql in [
        "RENAME TABLE list_certs TO rows_of_certs",
        "INSERT INTO rows_of_certs (cert_num, cert) VALUES ('0x05', '')",
        "CREATE TABLE gate (id INT PRIMARY KEY)",
        "INSERT INTO gate VALUES (1)",
        "CREATE FUNCTION refused() RETURNS INT NOT DETERMINISTIC READS SQL DATA BEGIN \
         IF (SELECT COUNT(*) FROM gate) > 0 THEN SIGNAL SQLSTATE 'HY000' SET MYSQL_ERRNO = 1205; \
         END IF; RETURN 0; END",
        "CREATE VIEW list_certs AS SELECT cert_num, revocation_time, revocation_reason, cert, \
         IF(refused() = 0, status, 'never') AS status FROM rows_of_certs",
    ] {
        database.run(sql);
    }
    database
}

#[test]
fn a_server_that_cannot_tell_for_a_moment_is_asked_again() {
    let database = refusing();
    let store = database.store();
    // Over a new connection, then over that one.
    for _ in 0..2 {
        database.run("INSERT IGNORE INTO gate VALUES (1)");
        std::thread::scope(|scope| {
            let found = scope.spawn(|| status(&store, "05"));
            std::thread::sleep(Duration::from_millis(200));
            assert!(!found.is_finished());
            database.run("DELETE FROM gate");
            assert_eq!(found.join().unwrap(), Some(CertStatus::Good));
        });
        assert_eq!(database.connections().len(), 1);
    }
}

#[test]
fn a_server_that_never_can_tell_is_unavailable() {
    let database = refusing();
    let mut options = database.options(&[database.server.unix()]);
    options.timeout = Duration::from_secs(1);
    let store = Mysql::new(options);
    let start = Instant::now();
    let cause = unavailable(&store, "05");
    assert!(cause.contains("(error 1205)"), "{cause}");
    assert!(start.elapsed() >= Duration::from_secs(1));
    database.run("DELETE FROM gate");
    until(|| find(&store, "05").is_ok());
}

// rule: ANS-5
#[test]
fn a_wrong_password_is_unavailable_and_named() {
    let database = MariaDb::shared().database();
    let mut options = database.options(&[database.server.unix()]);
    options.password = "wrong".into();
    let store = Mysql::new(options);
    let cause = unavailable(&store, "05");
    assert!(cause.contains("Access denied for user") && cause.contains(&database.name), "{cause}");
    assert!(cause.contains(&database.server.unix().to_string()), "{cause}");
    assert!(unavailable(&store, "05").starts_with("not tried again yet after: "));
}

// rule: ANS-5
#[test]
fn an_account_that_may_not_read_the_table_is_unavailable() {
    let database = MariaDb::shared().database();
    let store = database.store();
    assert_eq!(status(&store, "05"), None);
    let name = &database.name;
    database.run(&format!("REVOKE ALL ON {name}.* FROM {name}"));
    database.run(&format!("GRANT SELECT (cert_num) ON {name}.list_certs TO {name}"));
    // A kept connection may keep the rights it had; a new one may not.
    database.connections().iter().for_each(|id| database.run(&format!("KILL {id}")));
    assert!(unavailable(&store, "05").contains("denied"));
    database.run(&format!("GRANT SELECT ON {name}.list_certs TO {name}"));
    until(|| find(&store, "05").is_ok());
}

#[test]
fn odd_values_of_the_enum_columns_are_told_apart() {
    let database = MariaDb::shared().database();
    let store = database.store();
    let revoked = |reason| CertStatus::Revoked { time: Timestamp::EPOCH, reason };
    // Not strict: the server stores the empty string in place of what it does not know.
    database.insert("0x05", "'Revoked', '0000-00-00', 'lost'");
    assert_eq!(status(&store, "05"), Some(revoked(None)));
    database.insert("0x06", "'Expired', NULL, NULL");
    assert!(find(&store, "06").is_err());
}

#[test]
fn times_are_utc_as_stored_whatever_the_type_of_the_column_and_the_zone_of_the_server() {
    let database = MariaDb::shared().database();
    let time = Timestamp::from_civil(2026, 7, 1, (12, 30, 1)).unwrap();
    for (kind, value) in [
        ("datetime", "'2026-07-01 12:30:01'"),
        ("datetime(6)", "'2026-07-01 12:30:01.999999'"),
        ("timestamp NULL", "'2026-07-01 17:30:01'"), // written in the server's zone, +05:00
        ("varchar(50)", "'2026-07-01T12:30:01Z'"),
        ("bigint", "1782909001"),
    ] {
        database.run("DELETE FROM list_certs");
        database.run("ALTER TABLE list_certs DROP COLUMN revocation_time");
        database.run(&format!("ALTER TABLE list_certs ADD COLUMN revocation_time {kind}"));
        database.insert("0x05", &format!("'Revoked', {value}, NULL"));
        let expected = Some(CertStatus::Revoked { time, reason: None });
        assert_eq!(status(&database.store(), "05"), expected, "{kind}");
    }
}

#[test]
fn a_kept_connection_survives_a_change_of_the_column_types() {
    let database = MariaDb::shared().database();
    let store = database.store();
    database.insert("0x05", "'Revoked', '2026-07-01 12:30:01', 'superseded'");
    let before = status(&store, "05");
    database.run("ALTER TABLE list_certs MODIFY revocation_time varchar(50)");
    assert_eq!(status(&store, "05"), before);
    database.run("ALTER TABLE list_certs MODIFY revocation_reason varchar(50) FIRST");
    assert_eq!(status(&store, "05"), before);
    assert_eq!(database.connections().len(), 1);
}

#[test]
fn a_connection_that_has_answered_much_is_made_anew() {
    let database = MariaDb::shared().database();
    database.insert("0x05", "'Valid', NULL, NULL");
    let mut options = database.options(&[database.server.tcp()]);
    (options.connections, options.renew_after) = (1, 5);
    let store = Mysql::new(options);
    // The first question comes with the connection.
    (0..5).for_each(|_| assert_eq!(status(&store, "05"), Some(CertStatus::Good)));
    let before = database.connections();
    std::thread::sleep(Duration::from_millis(100));
    assert_eq!(database.connections(), before);
    assert_eq!(status(&store, "05"), Some(CertStatus::Good));
    until(|| matches!(&database.connections()[..], [id] if *id != before[0]));
    assert_eq!(status(&store, "05"), Some(CertStatus::Good));
}

#[test]
fn a_connection_is_used_on_while_no_other_can_be_made() {
    let database = MariaDb::shared().database();
    database.insert("0x05", "'Valid', NULL, NULL");
    let mut options = database.options(&[database.server.tcp()]);
    (options.connections, options.renew_after) = (1, 2);
    let store = Mysql::new(options);
    assert_eq!(status(&store, "05"), Some(CertStatus::Good));
    let before = database.connections();
    database.run(&format!("ALTER USER {} ACCOUNT LOCK", database.name));
    (0..20).for_each(|_| assert_eq!(status(&store, "05"), Some(CertStatus::Good)));
    // One that the server is about to turn away is listed for a moment, too.
    until(|| database.connections() == before);
    database.run(&format!("ALTER USER {} ACCOUNT UNLOCK", database.name));
    until(|| {
        assert_eq!(status(&store, "05"), Some(CertStatus::Good));
        database.connections() != before
    });
}

#[test]
fn questions_wait_for_the_connections_there_are_while_no_further_one_can_be_made() {
    let database = MariaDb::shared().database();
    database.insert("0x05", "'Valid', NULL, NULL");
    let mut options = database.options(&[database.server.unix()]);
    options.retry_pause = Duration::from_millis(20);
    let store = Mysql::new(options);
    assert_eq!(status(&store, "05"), Some(CertStatus::Good));
    let before = database.connections();
    database.run(&format!("ALTER USER {} ACCOUNT LOCK", database.name));
    let good = Some(CertStatus::Good);
    let ask_at_once = || {
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| (0..100).for_each(|_| assert_eq!(status(&store, "05"), good)));
            }
        });
    };
    ask_at_once();
    // One that the server is about to turn away is listed for a moment, too.
    until(|| database.connections() == before);
    database.run(&format!("ALTER USER {} ACCOUNT UNLOCK", database.name));
    until(|| {
        ask_at_once();
        database.connections().len() > 1
    });
}

#[test]
fn a_killed_connection_costs_no_answer() {
    let database = MariaDb::shared().database();
    let store = database.store();
    database.insert("0x05", "'Valid', NULL, NULL");
    for _ in 0..5 {
        assert_eq!(status(&store, "05"), Some(CertStatus::Good));
        let before = database.connections();
        before.iter().for_each(|id| database.run(&format!("KILL {id}")));
        assert_eq!(status(&store, "05"), Some(CertStatus::Good));
        assert_ne!(database.connections(), before);
    }
}

#[test]
fn a_connection_that_the_server_closes_as_it_is_idle_costs_no_answer() {
    let server = MariaDb::start();
    server.run("SET GLOBAL wait_timeout = 1");
    let database = server.database();
    database.insert("0x05", "'Valid', NULL, NULL");
    let store = database.store();
    assert_eq!(status(&store, "05"), Some(CertStatus::Good));
    until(|| database.connections().is_empty());
    // MySQL has left a word of farewell, which is no answer.
    assert_eq!(status(&store, "05"), Some(CertStatus::Good));
}

#[test]
fn no_more_connections_are_made_than_configured() {
    let database = MariaDb::shared().database();
    let store = database.store();
    std::thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| (0..100).for_each(|_| assert_eq!(status(&store, "05"), None)));
        }
    });
    let connections = database.connections();
    assert!((1..=4).contains(&connections.len()), "{connections:?}");
    // Kept: one caller asks over the same one again and again.
    (0..50).for_each(|_| assert_eq!(status(&store, "05"), None));
    assert_eq!(database.connections(), connections);
}

#[test]
fn a_locked_table_is_unavailable_within_the_time_out() {
    let database = MariaDb::shared().database();
    let mut options = database.options(&[database.server.unix()]);
    options.timeout = Duration::from_millis(200);
    let store = Mysql::new(options);
    assert_eq!(status(&store, "05"), None);
    let mut writer = database.root();
    mysql::prelude::Queryable::query_drop(&mut writer, "LOCK TABLES list_certs WRITE").unwrap();
    let start = Instant::now();
    unavailable(&store, "05");
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
    drop(writer);
    until(|| find(&store, "05").is_ok());
}

#[test]
fn a_locked_table_gathers_no_connections() {
    let database = MariaDb::shared().database();
    let mut options = database.options(&[database.server.unix()]);
    options.timeout = Duration::from_millis(300);
    options.retry_pause = Duration::from_millis(1);
    let store = Mysql::new(options);
    assert_eq!(status(&store, "05"), None);
    let mut writer = database.root();
    mysql::prelude::Queryable::query_drop(&mut writer, "LOCK TABLES list_certs WRITE").unwrap();
    for _ in 0..3 {
        unavailable(&store, "05");
    }
    // Still locked, and nobody asks: the server has given up what waited for it.
    until(|| database.connections().is_empty());
    drop(writer);
    until(|| find(&store, "05").is_ok());
}

#[test]
fn a_server_that_cannot_tell_only_late_is_not_asked_over_and_over() {
    let database = refusing();
    database.run("DROP FUNCTION refused");
    database.run(
        "CREATE FUNCTION refused() RETURNS INT NOT DETERMINISTIC READS SQL DATA BEGIN \
         DECLARE slept INT; IF (SELECT COUNT(*) FROM gate) > 0 THEN SET slept = SLEEP(1.5); \
         SIGNAL SQLSTATE 'HY000' SET MYSQL_ERRNO = 1205; END IF; RETURN 0; END",
    );
    let mut options = database.options(&[database.server.unix()]);
    options.timeout = Duration::from_secs(2);
    let store = Mysql::new(options);
    let start = Instant::now();
    assert!(unavailable(&store, "05").contains("(error 1205)"));
    // Twice: the time-out was not over after the first time.
    assert!(start.elapsed() < Duration::from_secs(4), "{:?}", start.elapsed());
}

#[test]
fn required_tls_is_used_and_only_with_a_certificate_that_is_good_for_the_name() {
    let database = MariaDb::shared().database();
    let server = database.server;
    let name = &database.name;
    database.run(&format!("ALTER USER {name} REQUIRE SSL"));
    let folder = tempfile::tempdir().unwrap();
    let [foreign, key, empty] = ["ca.pem", "key.pem", "empty.pem"].map(|f| folder.path().join(f));
    make_certificate(&foreign, &key);
    std::fs::write(&empty, "").unwrap();
    let store = |host: Host, tls| {
        let mut options = database.options(&[host]);
        options.tls = tls;
        Mysql::new(options)
    };
    let required = |ca: &std::path::Path| Tls::Required { ca: Some(ca.into()) };

    let encrypted = store(server.localhost(), required(&server.certificate()));
    assert_eq!(status(&encrypted, "05"), None);
    let reports = encrypted.check();
    assert!(format!("{reports:?}").contains("encrypted with TLS"), "{reports:?}");
    for (host, tls, problem) in [
        (server.localhost(), Tls::Off, "Access denied"),
        (server.localhost(), required(&foreign), "certificate"),
        (server.localhost(), Tls::Required { ca: None }, "certificate"),
        (server.tcp(), required(&server.certificate()), "IP address mismatch"),
        (server.localhost(), required(&empty), "empty.pem: no certificate"),
        (server.localhost(), required(&folder.path().join("none")), "none: No such file"),
    ] {
        let cause = unavailable(&store(host, tls), "05");
        assert!(cause.contains(problem), "{problem}: {cause}");
    }
}
