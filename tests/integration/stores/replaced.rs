//! An SQLite file that another one takes the place of, with what may go wrong in it.

use std::fs;
use std::path::{Path, PathBuf};

use nix::sys::signal::Signal;
use ocsp_fcgi::demo::KeyKind;
use ocsp_fcgi::status::{CertStatus, RevocationReason};
use ocsp_fcgi::store::sqlite::Sqlite;
use ocsp_fcgi::store::{Finding, StatusStore};
use tempfile::TempDir;

use crate::stores::{Table, find, options, status, unavailable};
use crate::support::ocsp::{Answer, TRY_LATER};
use crate::support::site::{Running, Site, revoked};
use crate::support::{free_port, logged};

// rule: ANS-1
// rule: ANS-5
#[test]
fn the_log_of_the_old_file_is_not_read_with_the_new_one() {
    for mode in ["WAL", "DELETE"] {
        let (old, new) = (table("WAL", "Valid"), table(mode, "Revoked"));
        let store = old.store();
        assert_eq!(status(&*store, "05"), Some(CertStatus::Good));
        // What is kept of the store keeps the writer from removing the log at its end.
        old.insert("0x06", "'Valid', NULL, NULL");
        assert!(fs::metadata(beside(&old, "wal")).unwrap().len() > 0);
        replace(&old, &new);
        // Also of one that has not been asked before: after a reload, or for another CA.
        for store in [store.as_ref(), old.store().as_ref(), store.as_ref()] {
            let said = unavailable(store, "05");
            assert!(said.contains("certs.sqlite-wal") && said.contains(".restore"), "{said}");
        }
        assert_eq!(open_files(old.path()), Vec::<PathBuf>::new());
        for name in ["wal", "shm"] {
            fs::remove_file(beside(&old, name)).unwrap();
        }
        assert!(is_revoked(&*store, "05"));
        assert_eq!(status(&*store, "06"), None);
        // And goes on so, with the log of its own that the new file has.
        for serial in ["07", "08"] {
            old.insert(&format!("0x{serial}"), "'Valid', NULL, NULL");
            assert_eq!(status(&*store, serial), Some(CertStatus::Good));
            assert!(is_revoked(&*old.store(), "05"));
        }
    }
}

#[test]
fn a_new_file_without_the_log_of_the_old_one_is_read_at_once() {
    let (old, new) = (table("WAL", "Valid"), table("WAL", "Revoked"));
    let store = old.store();
    for round in 0..3 {
        assert_eq!(status(&*store, "05"), Some(CertStatus::Good), "round {round}");
        old.insert(&format!("0x1{round}"), "'Valid', NULL, NULL");
        // Away and back with its log: it is the same file.
        fs::rename(options(&old).path, old.path().join("away")).unwrap();
        assert!(unavailable(&*store, "05").contains("No such file"));
        fs::rename(old.path().join("away"), options(&old).path).unwrap();
    }
    assert_eq!(status(&*store, "12"), Some(CertStatus::Good));
    for name in ["wal", "shm"] {
        fs::remove_file(beside(&old, name)).unwrap();
    }
    replace(&old, &new);
    assert!(is_revoked(&*store, "05"));
}

#[test]
fn an_empty_log_is_in_nobodys_way() {
    let (old, new) = (table("WAL", "Valid"), table("WAL", "Revoked"));
    let store = old.store();
    assert_eq!(status(&*store, "05"), Some(CertStatus::Good));
    assert_eq!(fs::metadata(beside(&old, "wal")).unwrap().len(), 0);
    replace(&old, &new);
    assert!(is_revoked(&*store, "05"));
}

#[test]
fn a_link_that_points_to_another_file_is_followed() {
    let [old, new] = ["Valid", "Revoked"].map(|status| table("WAL", status));
    let folder = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink(options(&old).path, options(&folder).path).unwrap();
    let store = folder.store();
    assert_eq!(status(&*store, "05"), Some(CertStatus::Good));
    old.insert("0x06", "'Valid', NULL, NULL");
    std::os::unix::fs::symlink(options(&new).path, folder.path().join("link")).unwrap();
    fs::rename(folder.path().join("link"), options(&folder).path).unwrap();
    assert!(is_revoked(&*store, "05"));
    // Where the link points to, the log lies.
    new.insert("0x06", "'Valid', NULL, NULL");
    replace(&new, &table("WAL", "Valid"));
    assert!(unavailable(&*store, "05").contains("certs.sqlite-wal"));
}

#[test]
fn check_warns_of_a_log_beside_a_file_that_has_none() {
    let (old, new) = (table("WAL", "Valid"), table("DELETE", "Revoked"));
    let warned = || {
        let findings = Sqlite::open(options(&old)).check().findings;
        let is_warning = |finding: &Finding| match finding {
            Finding::Warning(text) => text.contains("certs.sqlite-wal"),
            _ => false,
        };
        findings.iter().any(is_warning)
    };
    let kept = old.store();
    assert_eq!(status(&*kept, "05"), Some(CertStatus::Good));
    old.insert("0x06", "'Valid', NULL, NULL");
    assert!(!warned());
    drop(kept);
    replace(&old, &new);
    assert!(warned());
    fs::remove_file(beside(&old, "wal")).unwrap();
    assert!(!warned());
}

// rule: ANS-5
#[test]
fn a_mounted_file_that_was_replaced_is_not_the_one_to_read() {
    let site = Site::with_certificates(KeyKind::P256);
    let responder = serve_mounted(&site, "true");
    let ask = || responder.post(&site.about("0a1b").der());
    assert_eq!(Answer::read(&ask()).statuses(), ["good"]);
    fs::copy(site.path("certs.db"), site.path("new.db")).unwrap();
    fs::rename(site.path("new.db"), site.path("certs.db")).unwrap();
    site.set_status("0a1b", revoked(RevocationReason::KeyCompromise));
    assert_eq!(ask(), TRY_LATER);
    logged(&site.path("serve.log"), "mounted.db was replaced");
    responder.signal(Signal::SIGHUP);
    logged(&site.path("serve.log"), "reloaded");
    assert_eq!(ask(), TRY_LATER);
}

/// As on file systems that tell no numbers of links.
#[test]
fn a_file_that_has_had_no_name_from_the_start_is_read() {
    let site = Site::with_certificates(KeyKind::P256);
    let responder = serve_mounted(&site, "rm certs.db");
    let answer = responder.post(&site.about("0a1b").der());
    assert_eq!(Answer::read(&answer).statuses(), ["good"]);
}

/// Serves the table mounted under another name, after what `then`, a line of the shell, does.
fn serve_mounted(site: &Site, then: &str) -> Running {
    fs::write(site.path("mounted.db"), "").unwrap();
    let port = free_port();
    let config = site.write_config(&format!(
        "port = {port}\nitcert = \"ca.crt\"\nitkey = \"ca.key\"\n\
         [database]\nsqlite = \"mounted.db\"\n\
         [cache]\nfreshness = \"0s\"\nstore_down = \"try-later\"\n"
    ));
    let mount = format!("mount --bind certs.db mounted.db && {then}");
    Running::start_mounted(&config, port, &mount)
}

fn table(mode: &str, status: &str) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    folder.run(&format!("PRAGMA journal_mode = {mode}"));
    folder.run(include_str!("../../../schema/sqlite.sql"));
    folder.insert("0x05", "'Valid', NULL, NULL");
    if status == "Revoked" {
        folder.run(
            "UPDATE list_certs SET status = 'Revoked', revocation_time = '2026-07-01 12:30:01'",
        );
    }
    folder
}

fn replace(old: &TempDir, new: &TempDir) {
    fs::rename(options(new).path, options(old).path).unwrap();
}

fn is_revoked(store: &dyn StatusStore, serial: &str) -> bool {
    matches!(find(store, serial).unwrap().unwrap().status, CertStatus::Revoked { .. })
}

/// The `-wal` or the `-shm` of the table.
fn beside(folder: &TempDir, name: &str) -> PathBuf {
    folder.path().join(format!("certs.sqlite-{name}"))
}

/// The files below a folder that this process has open.
fn open_files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir("/proc/self/fd").unwrap();
    let open = entries.filter_map(|entry| fs::read_link(entry.unwrap().path()).ok());
    open.filter(|path| path.starts_with(folder)).collect()
}
