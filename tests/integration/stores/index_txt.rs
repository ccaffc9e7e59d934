//! What holds for an `index.txt` alone: as `openssl ca` and Easy-RSA write it.

use std::fs::{self, File, FileTimes};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use ocsp_fcgi::status::{CertStatus, RevocationReason};
use ocsp_fcgi::store::index_txt::IndexTxt;
use ocsp_fcgi::store::{Finding, StoreError};
use ocsp_fcgi::time::{SystemClock, Timestamp};

use crate::stores::{find, status, unavailable, until};
use crate::support::authority::{EasyRsa, OpensslCa, replace, serial};
use crate::support::{OnDrop, run};

// rule: ANS-1
// rule: ANS-2
#[test]
fn what_openssl_ca_does_is_seen_by_the_next_question() {
    use RevocationReason::{CaCompromise, CertificateHold, KeyCompromise, Superseded};
    let ca = OpensslCa::new("/CN=Test CA");
    let store = store(&ca.path("index.txt"));
    assert_eq!(status(&store, "0a1b"), None);
    let hold = ["-crl_hold", "holdInstructionReject"];
    for (name, options, reason) in [
        ("plain", &[][..], None),
        ("superseded", &["-crl_reason", "superseded"], Some(Superseded)),
        ("unspecified", &["-crl_reason", "unspecified"], None),
        ("hold", &hold, Some(CertificateHold)),
        ("compromise", &["-crl_compromise", "20250102030405Z"], Some(KeyCompromise)),
        ("authority", &["-crl_CA_compromise", "20250102030405Z"], Some(CaCompromise)),
    ] {
        let serial = serial(&ca.issue(name, &[]));
        assert_eq!(status(&store, &serial), Some(CertStatus::Good), "{name}");
        ca.revoke(name, options);
        let found = status(&store, &serial);
        let Some(CertStatus::Revoked { time, reason: found }) = found else { panic!("{found:?}") };
        assert!(time > Timestamp::from_civil(2025, 1, 1, (0, 0, 0)).unwrap(), "{name}: {time}");
        assert_eq!(found, reason, "{name}");
    }
    let old = ["-startdate", "200101000000Z", "-enddate", "210101000000Z"];
    let old = serial(&ca.issue("old", &old));
    ca.ca(&["-updatedb"]);
    assert!(fs::read_to_string(ca.path("index.txt")).unwrap().contains("E\t210101000000Z"));
    assert_eq!(status(&store, &old), Some(CertStatus::Good), "expired and never revoked");
    assert!(store.check().is_usable());
    assert_eq!(store.check().findings, [Finding::Fine("rows: 7".into())]);
}

#[test]
fn the_folder_of_easy_rsa_is_read_as_it_is() {
    let easy_rsa = EasyRsa::new();
    for name in ["one", "two"] {
        easy_rsa.easyrsa(&["build-server-full", name, "nopass"]);
    }
    easy_rsa.easyrsa(&["revoke", "two", "cessationOfOperation"]);
    let store = store(&easy_rsa.path("pki/index.txt"));
    let index = fs::read_to_string(easy_rsa.path("pki/index.txt")).unwrap();
    let of = |name: &str| {
        let line = index.lines().find(|line| line.ends_with(name)).unwrap();
        status(&store, line.split('\t').nth(3).unwrap())
    };
    assert_eq!(of("/CN=one"), Some(CertStatus::Good));
    let Some(CertStatus::Revoked { reason, .. }) = of("/CN=two") else { panic!("{index}") };
    assert_eq!(reason, Some(RevocationReason::CessationOfOperation));
}

// rule: ANS-1
#[test]
fn a_file_replaced_or_written_to_is_read_anew() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("index.txt");
    fs::write(&path, GOOD).unwrap();
    let store = store(&path);
    for _ in 0..5 {
        assert_eq!(status(&store, "0a1b"), Some(CertStatus::Good));
        replace(&path, REVOKED);
        assert!(matches!(status(&store, "0a1b"), Some(CertStatus::Revoked { .. })));
        fs::write(&path, GOOD).unwrap();
        assert_eq!(status(&store, "0a1b"), Some(CertStatus::Good));
        fs::write(&path, "").unwrap();
        assert_eq!(status(&store, "0a1b"), None);
        fs::write(&path, GOOD).unwrap();
    }
    // Neither the size nor the time of the last change tells it apart.
    let time = fs::metadata(&path).unwrap().modified().unwrap();
    let other = GOOD.replace("0A1B", "0A1C");
    fs::write(&path, other).unwrap();
    let file = File::options().write(true).open(&path).unwrap();
    file.set_times(FileTimes::new().set_modified(time)).unwrap();
    until(|| status(&store, "0a1c") == Some(CertStatus::Good));
    assert_eq!(status(&store, "0a1b"), None);
}

// rule: ANS-5
#[test]
fn a_file_that_cannot_be_used_leaves_the_old_content_for_a_while_and_then_only_revocations() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("index.txt");
    let both = format!("{GOOD}{}", REVOKED.replace("0A1B", "0B"));
    fs::write(&path, &both).unwrap();
    let store = store(&path);
    let revoked = status(&store, "0b");
    assert!(matches!(revoked, Some(CertStatus::Revoked { .. })));
    let half = &both[..both.len() - 20];
    fs::write(&path, half).unwrap();
    let since = Instant::now();
    while since.elapsed() < Duration::from_secs(8) {
        assert_eq!(status(&store, "0a1b"), Some(CertStatus::Good));
        assert_eq!(status(&store, "0b"), revoked);
        std::thread::sleep(Duration::from_millis(100));
    }
    until(|| matches!(find(&store, "0a1b"), Err(StoreError::Unavailable(_))));
    let cause = unavailable(&store, "0a1b");
    assert!(cause.ends_with("index.txt: line 2 has no end, as if it were still being written"));
    assert!(unavailable(&store, "77").contains("line 2"), "an unknown one too");
    assert_eq!(status(&store, "0b"), revoked);
    // What makes it whole is read within a second.
    fs::write(&path, &both).unwrap();
    let since = Instant::now();
    until(|| find(&store, "0a1b").is_ok());
    assert!(since.elapsed() < Duration::from_secs(2), "{:?}", since.elapsed());
}

#[test]
fn a_file_that_was_away_or_unusable_for_a_moment_is_taken_up_again_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("index.txt");
    fs::write(&path, GOOD).unwrap();
    let store = store(&path);
    assert_eq!(status(&store, "0a1b"), Some(CertStatus::Good));
    let away = folder.path().join("away");
    fs::rename(&path, &away).unwrap();
    assert_eq!(status(&store, "0a1b"), Some(CertStatus::Good));
    assert!(store.check().is_usable());
    fs::rename(&away, &path).unwrap(); // the same file as before
    for _ in 0..20 {
        replace(&path, "V\n");
        assert_eq!(status(&store, "0a1b"), Some(CertStatus::Good));
        replace(&path, REVOKED);
        assert!(matches!(status(&store, "0a1b"), Some(CertStatus::Revoked { .. })));
        replace(&path, GOOD);
        assert_eq!(status(&store, "0a1b"), Some(CertStatus::Good));
    }
    std::thread::sleep(Duration::from_secs(11));
    assert_eq!(status(&store, "0a1b"), Some(CertStatus::Good), "nothing is left of it");
}

// rule: ANS-5
#[test]
fn a_file_that_was_never_read_is_unavailable_until_it_is_there() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("index.txt");
    let store = store(&path);
    assert!(unavailable(&store, "0a1b").contains("index.txt: No such file"));
    assert!(!store.check().is_usable());
    fs::create_dir(&path).unwrap();
    assert!(unavailable(&store, "0a1b").ends_with("index.txt: not a file"));
    fs::remove_dir(&path).unwrap();
    fs::write(&path, "V\n").unwrap();
    until(|| unavailable(&store, "0a1b").contains("line 1: wanted six fields"));
    replace(&path, GOOD);
    until(|| find(&store, "0a1b").is_ok());
    assert_eq!(status(&store, "0a1b"), Some(CertStatus::Good));
}

#[test]
fn a_line_that_makes_no_sense_is_an_error_that_names_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("index.txt");
    fs::write(&path, format!("{GOOD}X\t330101000000Z\t\t0C\tunknown\t/CN=c\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
    let store = store(&path);
    let error = find(&store, "0c").unwrap_err();
    let told = "row 0c of the status store: line 2: \"X\", must be V, R or E";
    assert_eq!(error.to_string(), told);
    assert_eq!(status(&store, "0a1b"), Some(CertStatus::Good));
    let findings = store.check().findings;
    for wanted in [
        Finding::Problem("line 2: \"X\", must be V, R or E".into()),
        Finding::Warning("everybody may write to the file".into()),
    ] {
        assert!(findings.contains(&wanted), "{findings:?}");
    }
}

// rule: ANS-1
#[test]
fn a_line_that_joined_the_one_before_it_refuses_the_file_as_openssl_does() {
    let ca = OpensslCa::new("/CN=Test CA");
    for name in ["one", "two"] {
        ca.issue(name, &[]);
    }
    let base = fs::read_to_string(ca.path("index.txt")).unwrap();
    let unended = base.strip_suffix('\n').unwrap();
    let by_openssl = |serial: &str| {
        let mut command = Command::new("openssl");
        command.args(["ca", "-config", "openssl.cnf", "-status", serial]);
        let output = run(command.current_dir(ca.path("")), "openssl");
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    for joined in [format!("{unended}{REVOKED}"), format!("{unended}\r{REVOKED}")] {
        assert_eq!(status(&store(&ca.path("index.txt")), "0a1b"), Some(CertStatus::Good));
        replace(&ca.path("index.txt"), &joined);
        let said = by_openssl("0A1B");
        assert!(said.contains("could not load/parse file"), "{said}");
        let store = store(&ca.path("index.txt"));
        let cause = unavailable(&store, "0a1b");
        assert!(cause.contains("index.txt: line 2: "), "{cause}");
        assert!(cause.contains("wanted each line on its own"), "{cause}");
        assert!(!store.check().is_usable());
        replace(&ca.path("index.txt"), &base);
    }
    // A tab after a backslash, and the end of a line as Windows has it, are no mistakes.
    let escaped = base.replace("/CN=two", "/CN=t\\\two");
    let more = REVOKED.replace("0A1B", "0A1D").replace('\n', "\r\n");
    replace(&ca.path("index.txt"), format!("{escaped}{more}"));
    assert!(by_openssl("0A1D").contains("0A1D=Revoked"));
    let store = store(&ca.path("index.txt"));
    assert!(matches!(status(&store, "0a1d"), Some(CertStatus::Revoked { .. })));
    assert_eq!(status(&store, "0a1c"), Some(CertStatus::Good));
}

// rule: ANS-1
#[test]
fn a_file_replaced_under_load_is_always_one_or_the_other() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("index.txt");
    let filler: String =
        (0..20_000).map(|n| format!("V\t330101000000Z\t\t77{n:08X}\tunknown\t/CN=x\n")).collect();
    let [good, revoked] = [GOOD, REVOKED].map(|line| format!("{filler}{line}"));
    fs::write(&path, &good).unwrap();
    let store = store(&path);
    let is_revoked = AtomicBool::new(false);
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let _end = OnDrop(&is_over);
        for _ in 0..4 {
            scope.spawn(|| {
                while !is_over.load(Ordering::Relaxed) {
                    // Once it stands there, nobody is told otherwise.
                    let must_be = is_revoked.load(Ordering::Acquire);
                    let found = status(&store, "0a1b").expect("there is a line in each");
                    assert!(!must_be || found != CertStatus::Good);
                    assert_eq!(status(&store, "7700000001"), Some(CertStatus::Good));
                }
            });
        }
        for _ in 0..10 {
            for content in [&revoked, &good] {
                replace(&path, content);
                std::thread::sleep(Duration::from_millis(20));
            }
        }
        replace(&path, &revoked);
        is_revoked.store(true, Ordering::Release);
        std::thread::sleep(Duration::from_millis(300));
    });
}

fn store(path: &Path) -> IndexTxt {
    IndexTxt::new(path.to_owned(), Arc::new(SystemClock))
}

const GOOD: &str = "V\t330101000000Z\t\t0A1B\tunknown\t/CN=a\n";
const REVOKED: &str = "R\t330101000000Z\t250102030405Z,keyCompromise\t0A1B\tunknown\t/CN=a\n";
