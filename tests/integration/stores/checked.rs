//! What `check` tells of a database's hosts.

use ocsp_fcgi::store::mysql::{Host, Mysql};
use ocsp_fcgi::store::{Finding, StatusStore};

use crate::support::mariadb::MariaDb;

#[test]
fn check_tells_what_is_wrong_with_each_host() {
    let database = MariaDb::shared().database();
    database.insert("0x05", "'Valid', NULL, NULL");
    let refusing = Host::Tcp { host: "127.0.0.1".into(), port: 1 };
    let store = Mysql::new(database.options(&[refusing, database.server.unix()]));
    let [refused, good] = store.check().try_into().unwrap();
    assert_eq!(refused.place, "127.0.0.1:1");
    assert!(!refused.is_usable() && format!("{refused:?}").contains("refused"), "{refused:?}");
    assert!(good.is_usable(), "{good:?}");
    let fine = |text: &str| good.findings.contains(&Finding::Fine(text.into()));
    assert!(fine("rows: 1") && fine("the account may only SELECT"), "{good:?}");
    assert!(fine("rows are found by the key PRIMARY"), "{good:?}");
    let version: Vec<String> = database.server.rows("SELECT VERSION()");
    assert!(fine(&format!("server {}", version[0])), "{good:?}");

    let name = &database.name;
    database.run(&format!("GRANT INSERT ON {name}.* TO {name}"));
    database.run("ALTER TABLE list_certs DROP PRIMARY KEY");
    database.run("DELETE FROM list_certs");
    let warned = format!("{:?}", database.store().check());
    for warning in ["INSERT on `", "cert_num has no key", "the table is empty"] {
        assert!(warned.contains(warning), "{warned}");
    }
    assert!(!warned.contains("read only"), "{warned}");
    database.run("DROP TABLE list_certs");
    let missing = database.store().check();
    assert!(!missing[0].is_usable() && format!("{missing:?}").contains("doesn't exist"));
    let _: &dyn StatusStore = &store;
}

#[test]
fn check_warns_of_a_replica_which_may_be_behind() {
    let server = MariaDb::start();
    let database = server.database();
    server.run("SET GLOBAL read_only = ON");
    let [report] = &database.store().check()[..] else { panic!("one host") };
    let is_told = |finding: &Finding| match finding {
        Finding::Warning(text) => text.starts_with("read only, as a replica is: "),
        _ => false,
    };
    assert!(report.is_usable() && report.findings.iter().any(is_told), "{report:?}");
}
