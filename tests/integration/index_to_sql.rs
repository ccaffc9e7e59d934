//! examples/index-to-sql.awk: what an `index.txt` says, the table says then.

use std::fs;
use std::process::{Command, Output};
use std::sync::Arc;

use mysql::prelude::Queryable;
use ocsp_fcgi::serial::Serial;
use ocsp_fcgi::status::CertRecord;
use ocsp_fcgi::store::index_txt::IndexTxt;
use ocsp_fcgi::store::sqlite::{Options, Sqlite};
use ocsp_fcgi::store::{Mapping, StatusStore};
use ocsp_fcgi::time::SystemClock;

use crate::support::authority::{OpensslCa, serial};
use crate::support::mariadb::MariaDb;
use crate::support::run;
use crate::support::site::PROGRAM;

#[test]
fn a_table_made_of_an_index_txt_says_the_same() {
    let ca = OpensslCa::new("/CN=Test CA");
    let mut serials = vec![serial(&ca.issue("valid", &[]))];
    for (number, options) in REVOCATIONS.iter().enumerate() {
        let name = format!("revoked{number}");
        serials.push(serial(&ca.issue(&name, &[])));
        ca.revoke(&name, options);
    }
    let old = ["-startdate", "200101000000Z", "-enddate", "210101000000Z"];
    serials.push(serial(&ca.issue("old", &old)));
    ca.ca(&["-updatedb"]);
    // What `openssl ca` writes for the last century and for 2050, and a tab within a name.
    let index = fs::read_to_string(ca.path("index.txt")).unwrap();
    let more = "R\t20600101000000Z\t991231235959Z\t0000FF03\tunknown\t/CN=a\\\tb\r\n\
                R\t20600101000000Z\t20260102030405Z,AACompromise\t0F04\tunknown\t/O=O'Brien\n\
                # a comment\n\n";
    fs::write(ca.path("index.txt"), index + more).unwrap();
    serials.extend(["ff03", "0f04"].map(str::to_owned));

    let [sql, by_mawk] = ["awk", "mawk"].map(|awk| converted(&ca, awk));
    assert!(sql.status.success(), "{}", String::from_utf8_lossy(&sql.stderr));
    assert_eq!(sql, by_mawk);
    let sql = String::from_utf8(sql.stdout).unwrap();
    let embedded = rusqlite::Connection::open(ca.path("certs.db")).unwrap();
    embedded.execute_batch(include_str!("../../schema/sqlite.sql")).unwrap();
    embedded.execute_batch(&sql).unwrap();
    let database = MariaDb::shared().database();
    let mut root = database.root();
    root.query_drop("SET sql_mode = 'STRICT_ALL_TABLES'").unwrap();
    for statement in sql.lines() {
        root.query_drop(statement).unwrap_or_else(|error| panic!("{statement}: {error}"));
    }

    let wanted = format!("rows: {}\n", serials.len());
    for source in [
        "[database]\nindex = \"index.txt\"\n",
        "[database]\nsqlite = \"certs.db\"\n",
        &database.keys(),
    ] {
        let said = check(&ca, source);
        assert!(said.contains(&wanted), "{source}: {said}");
    }
    let options = Options { path: ca.path("certs.db"), mapping: Mapping::of_table("list_certs") };
    let stores: [&dyn StatusStore; 2] = [&Sqlite::open(options), &database.store()];
    let index = IndexTxt::new(ca.path("index.txt"), Arc::new(SystemClock));
    for serial in &serials {
        let of_index = find(&index, serial);
        assert!(of_index.is_some(), "{serial}");
        for store in stores {
            assert_eq!(find(store, serial), of_index, "{serial}");
        }
    }
}

#[test]
fn an_index_txt_with_a_line_that_cannot_be_understood_becomes_no_rows() {
    let ca = OpensslCa::new("/CN=Test CA");
    for (line, problem) in [
        ("V\t330101000000Z\t\t02\tunknown", "wanted six fields with a tab between"),
        ("V\t330101000000Z\t\t02\tunknown\t/CN=b\tc", "wanted six fields with a tab between"),
        ("V\t330101000000Z\t\t02\tunknown\t/CN=b\rc", "wanted six fields with a tab between"),
        ("V\t330101000000Z\t\t0x2\tunknown\t/CN=b", "0x2 is no serial number"),
        ("V\t330101000000Z\t\t001\tunknown\t/CN=b", "serial number 001 stands on line 1 too"),
        ("R\t330101000000Z\tsoon\t02\tunknown\t/CN=b", "soon is no time"),
        ("R\t330101000000Z\t\t02\tunknown\t/CN=b", " is no time"),
        ("R\t330101000000Z\t250102030405Z,lost\t02\tunknown\t/CN=b", "lost is no reason"),
        ("V\t330101000000Z\t250102030405Z\t02\tunknown\t/CN=b", WANTED),
        ("X\t330101000000Z\t\t02\tunknown\t/CN=b", WANTED),
    ] {
        let text = format!(
            "V\t330101000000Z\t\t01\tunknown\t/CN=a\n{line}\nV\t330101000000Z\t\t03\tunknown\t/CN=c\n"
        );
        fs::write(ca.path("index.txt"), text).unwrap();
        for awk in ["awk", "mawk"] {
            let output = converted(&ca, awk);
            let said = String::from_utf8(output.stderr).unwrap();
            assert_eq!(said, format!("index.txt:2: {problem}\n"), "{awk}");
            assert_eq!(output.status.code(), Some(1), "{awk}: {line}");
            assert!(!String::from_utf8(output.stdout).unwrap().contains("COMMIT"), "{line}");
        }
    }
}

fn converted(ca: &OpensslCa, awk: &str) -> Output {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/index-to-sql.awk");
    let mut command = Command::new(awk);
    run(command.current_dir(ca.folder.path()).args(["-f", script, "index.txt"]), "mawk")
}

/// What `check` says of this source.
fn check(ca: &OpensslCa, source: &str) -> String {
    let text = format!("itcert = \"ca.crt\"\nitkey = \"ca.key\"\n{source}");
    let config = ca.path("config.toml");
    ocsp_fcgi::demo::write_private(&config, text.as_bytes()).unwrap();
    let output = run(Command::new(PROGRAM).args(["check", "--config"]).arg(config), "ocsp-fcgi");
    String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
}

fn find(store: &dyn StatusStore, serial: &str) -> Option<CertRecord> {
    store.find(&Serial::from_hex(serial).unwrap()).unwrap()
}

const REVOCATIONS: [&[&str]; 10] = [
    &[],
    &["-crl_reason", "unspecified"],
    &["-crl_reason", "keyCompromise"],
    &["-crl_reason", "CACompromise"],
    &["-crl_reason", "affiliationChanged"],
    &["-crl_reason", "superseded"],
    &["-crl_reason", "cessationOfOperation"],
    &["-crl_hold", "holdInstructionReject"],
    &["-crl_compromise", "20250102030405Z"],
    &["-crl_CA_compromise", "20250102030405Z"],
];
const WANTED: &str = "wanted V or E without the time of a revocation, or R with one";
