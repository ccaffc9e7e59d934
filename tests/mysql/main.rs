//! What MySQL has and MariaDB has not, for real: `make mysql` runs this, and the tests of the whole
//! with MySQL in place of MariaDB; `cargo test` does not, since Debian has MySQL in unstable only.

// clippy.toml's exceptions for tests do not reach the helpers beside them.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::print_stdout, clippy::print_stderr)]

#[path = "../integration/support/mod.rs"]
#[allow(dead_code, reason = "the helpers of other tests")]
mod support;

use std::thread;
use std::time::Duration;

use mysql::prelude::Queryable;
use ocsp_fcgi::serial::Serial;
use ocsp_fcgi::status::CertStatus;
use ocsp_fcgi::store::StatusStore;
use ocsp_fcgi::store::mysql::Mysql;
use support::mariadb::{Database, MariaDb};
use support::{eventually, free_port};

/// Otherwise the member says what was true before.
// rule: ANS-1
#[test]
fn a_member_of_a_group_that_is_behind_answers_when_it_has_applied_what_all_have_written() {
    let [primary, secondary] = group();
    let database = primary.database();
    database.insert("0x05", "'Valid', NULL, NULL");
    let there = Database { server: &secondary, name: database.name.clone() };
    let store = there.store();
    let status = || store.find(&Serial::from_hex("05").unwrap()).ok().flatten().map(|it| it.status);
    eventually("the row is there", || (status() == Some(CertStatus::Good)).then_some(()));

    assert!(checked(&store).contains("wanted: GRANT SELECT ON performance_schema."));
    database.run(&permission_to_see(&database));
    eventually("the account is told of members", || {
        let told = checked(&store);
        (!told.contains("Warning") && !told.contains("Problem")).then_some(())
    });

    let mut lock = there.root();
    lock.query_drop("FLUSH TABLES WITH READ LOCK").unwrap();
    database.run("UPDATE list_certs SET status = 'Revoked'");
    let seen_by_others: Vec<String> =
        secondary.rows(&format!("SELECT status FROM {}.list_certs", database.name));
    assert_eq!(seen_by_others, ["Valid"]);
    thread::scope(|scope| {
        let found = scope.spawn(status);
        thread::sleep(Duration::from_secs(1));
        assert!(!found.is_finished());
        lock.query_drop("UNLOCK TABLES").unwrap();
        let found = found.join().unwrap();
        assert!(matches!(found, Some(CertStatus::Revoked { .. })), "{found:?}");
    });
}

#[test]
fn a_member_of_a_group_that_is_behind_gives_up_what_nobody_waits_for_any_more() {
    let [primary, secondary] = group();
    let database = primary.database();
    database.insert("0x05", "'Valid', NULL, NULL");
    let there = Database { server: &secondary, name: database.name.clone() };
    let mut options = there.options(&[secondary.unix()]);
    options.timeout = Duration::from_millis(200);
    let store = Mysql::new(options);
    let found = || store.find(&Serial::from_hex("05").unwrap());
    eventually("the row is there", || found().ok().flatten());

    let mut lock = there.root();
    lock.query_drop("FLUSH TABLES WITH READ LOCK").unwrap();
    database.run("UPDATE list_certs SET status = 'Revoked'");
    found().unwrap_err();
    assert!(!there.connections().is_empty());
    // After ten seconds.
    thread::sleep(Duration::from_secs(5));
    eventually("it has given up", || there.connections().is_empty().then_some(()));
}

/// It has the rows of when it was a member.
// rule: ANS-1
#[test]
fn a_member_that_is_out_of_its_group_is_not_asked() {
    let server = member(1, [free_port(), free_port()]);
    let database = server.database();
    database.insert("0x05", "'Valid', NULL, NULL");
    database.run(&permission_to_see(&database));
    let store = database.store();
    let found = || store.find(&Serial::from_hex("05").unwrap());
    let error = format!("{:?}", found().unwrap_err());
    assert!(error.contains("it is no member of its group at present"), "{error}");
    server.run("SET GLOBAL group_replication_bootstrap_group = ON");
    server.run("START GROUP_REPLICATION");
    eventually("it is a member", || found().ok().flatten());

    // And over a connection that it has from then.
    server.run("STOP GROUP_REPLICATION");
    thread::sleep(Duration::from_millis(1100));
    let error = format!("{:?}", found().unwrap_err());
    assert!(error.contains("it is no member of its group at present"), "{error}");
}

#[test]
fn a_server_that_could_have_a_group_and_has_none_is_asked() {
    let server = MariaDb::start_with(&["--plugin-load-add=group_replication.so"]);
    let database = server.database();
    database.insert("0x05", "'Valid', NULL, NULL");
    database.run(&permission_to_see(&database));
    let store = database.store();
    let found = store.find(&Serial::from_hex("05").unwrap()).unwrap();
    assert_eq!(found.map(|it| it.status), Some(CertStatus::Good));
    let told = checked(&store);
    assert!(!told.contains("Warning") && !told.contains("Problem"), "{told}");
}

#[test]
fn a_key_on_an_expression_has_no_column() {
    let database = MariaDb::shared().database();
    database.insert("0x05", "'Valid', NULL, NULL");
    database.run("CREATE INDEX a_first_one ON list_certs ((LOWER(status)))");
    let told = checked(&database.store());
    assert!(told.contains("rows are found by the key PRIMARY"), "{told}");
    database.run("ALTER TABLE list_certs DROP PRIMARY KEY");
    let told = checked(&database.store());
    assert!(told.contains("cert_num has no key"), "{told}");
}

fn checked(store: &Mysql) -> String {
    format!("{:?}", store.check())
}

fn permission_to_see(database: &Database<'_>) -> String {
    format!("GRANT SELECT ON performance_schema.replication_group_members TO {}", database.name)
}

/// A primary, and a secondary that has joined it.
fn group() -> [MariaDb; 2] {
    let ports = [free_port(), free_port()];
    let [primary, secondary] = [1, 2].map(|number| member(number, ports));
    primary.run("SET GLOBAL group_replication_bootstrap_group = ON");
    primary.run("START GROUP_REPLICATION");
    secondary.run("START GROUP_REPLICATION");
    eventually("both are members", || {
        let online = "SELECT COUNT(*) FROM performance_schema.replication_group_members \
                      WHERE member_state = 'ONLINE'";
        (secondary.rows::<u32>(online) == [2]).then_some(())
    });
    [primary, secondary]
}

/// A server that can be a member of a group, and has nothing to tell it yet.
fn member(number: usize, ports: [u16; 2]) -> MariaDb {
    let [one, other] = ports;
    let own = ports[number - 1];
    MariaDb::start_with(&[
        &format!("--server-id={number}"),
        "--log-bin=bin",
        "--gtid-mode=ON",
        "--enforce-gtid-consistency=ON",
        "--performance-schema=ON",
        "--report-host=127.0.0.1",
        "--plugin-load-add=group_replication.so",
        "--group-replication-start-on-boot=OFF",
        "--group-replication-ssl-mode=DISABLED",
        "--group-replication-group-name=9a1b7c1e-6f0d-4c55-8b0e-0d6a3f2b7c11",
        &format!("--group-replication-local-address=127.0.0.1:{own}"),
        &format!("--group-replication-group-seeds=127.0.0.1:{one},127.0.0.1:{other}"),
    ])
}
