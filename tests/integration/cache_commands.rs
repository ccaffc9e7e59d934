//! `cache warm`, `stats`, `purge` and `show`: on real tables, beside a real responder,
//! with OpenSSL reading the files.

use std::fs::{self, File, FileTimes};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, SystemTime};

use ocsp_fcgi::demo::KeyKind;
use ocsp_fcgi::status::RevocationReason;

use crate::cache_folder::resigned;
use crate::support::ocsp::{Answer, TRY_LATER, tlv};
use crate::support::site::{PROGRAM, Site, revoked};
use crate::support::{answers, eventually, files, run};

mod several;
mod warm;

#[test]
fn stats_tell_what_is_kept_of_which_signer() {
    let site = Site::with_certificates(KeyKind::P256);
    let config = site.configure(LOG);
    assert!(text(&cache(&config, &["stats"]).stdout).contains(": nothing is kept\n"));
    cache(&config, &["warm", "--hash", "sha1", "--hash", "sha256"]);
    let good = answers(&site.path("cache"))
        .into_iter()
        .find(|path| name(path).starts_with("0a1b-"))
        .unwrap();
    let ended = resigned(&site, &Answer::read(&fs::read(&good).unwrap()), &[0x80, 0], -20, -1);
    fs::write(&good, ended).unwrap();
    let other = site.path("cache/0123456789abcdef/1b");
    fs::create_dir_all(&other).unwrap();
    fs::write(other.join("0a1b-0123456789abcdef.der"), "garbage").unwrap();
    fs::write(other.join("notes"), "of somebody else").unwrap();
    let output = cache(&config, &["stats"]);
    let stdout = text(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{stdout}{}", text(&output.stderr));
    for line in [
        ": CN=Test CA\n  answers              4 (good 2, revoked 2)\n",
        "0123456789abcdef: another signer\n  answers              1 (good 0, revoked 0)\n",
        "  ended                1\n  ending within a day  0\n",
        "  damaged              1\n",
    ] {
        assert!(stdout.contains(line), "wanted {line:?} in\n{stdout}");
    }
    let quick = text(&cache(&config, &["stats", "--quick"]).stdout);
    assert!(quick.contains(": CN=Test CA\n  answers              4\n"), "{quick}");
}

#[test]
fn purge_removes_answers_and_never_anything_else() {
    let site = Site::with_certificates(KeyKind::P256);
    let config = site.configure(LOG);
    cache(&config, &["warm", "--hash", "sha1", "--hash", "sha256"]);
    let signer = answers(&site.path("cache"))[0].parent().unwrap().parent().unwrap().to_owned();
    let outside = site.path("outside");
    fs::create_dir_all(outside.join("1b")).unwrap();
    let ours = "0a1b-0123456789abcdef.der";
    fs::write(outside.join("1b").join(ours), "of somebody else").unwrap();
    symlink(&outside, site.path("cache/fedcba9876543210")).unwrap();
    symlink(outside.join("1b").join(ours), signer.join("1b").join(ours)).unwrap();
    let foreign: Vec<PathBuf> = ["notes", "x.der", ".tmpabc", "0A1B-0123456789ABCDEF.DER"]
        .into_iter()
        .flat_map(|name| {
            [site.path("cache").join(name), signer.join(name), signer.join("1b").join(name)]
        })
        .collect();
    for path in &foreign {
        fs::write(path, "of somebody else").unwrap();
    }
    let [young, old] = [".tmpYOUNG.tmp", ".tmpOLD.tmp"].map(|name| signer.join("1b").join(name));
    for path in [&young, &old] {
        fs::write(path, "half an answer").unwrap();
    }
    #[expect(clippy::disallowed_methods, reason = "the time of a file is the system's")]
    let long_ago = SystemTime::now() - Duration::from_secs(7_200);
    let times = FileTimes::new().set_modified(long_ago);
    File::options().write(true).open(&old).unwrap().set_times(times).unwrap();

    let place = answers(&site.path("cache"))
        .into_iter()
        .find(|path| name(path).starts_with("ff02-"))
        .unwrap();
    let answer = Answer::read(&fs::read(&place).unwrap());
    let revoked = tlv(0xa1, &[&tlv(0x18, &[b"20260102030405Z"])]);
    fs::write(&place, resigned(&site, &answer, &revoked, -20, -1)).unwrap();
    let removed = |arguments: &[&str]| {
        let output = cache(&config, &[&["purge"], arguments].concat());
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        number(&text(&output.stdout), "removed ")
    };
    assert_eq!(removed(&["--expired"]), 2, "one answer, and what was never finished");
    assert!(!place.exists() && !old.exists() && young.exists());
    assert_eq!(removed(&["--serial", "0x0A1B"]), 2);
    assert_eq!(removed(&["--serial", "0c03"]), 0);
    assert_eq!(removed(&["--all"]), 1);
    assert_eq!(removed(&["--all"]), 0);
    assert!(foreign.iter().all(|path| path.exists()) && young.exists());
    assert_eq!(fs::read(outside.join("1b").join(ours)).unwrap(), b"of somebody else");
    assert!(signer.join("1b").join(ours).is_symlink());
}

// rule: ANS-5
#[test]
fn purge_takes_nothing_from_the_memory_of_a_responder_but_a_serial_that_is_named() {
    let site = Site::with_certificates(KeyKind::P256);
    let config = site.configure(LOG);
    let responder = site.serve_beside(0, "freshness = \"0s\"\n");
    let der = site.about("0a1b").der();
    let good = responder.post(&der);
    assert_eq!(Answer::read(&good).statuses(), ["good"]);
    let purge = |which: &[&str]| first_line(&cache(&config, &[&["purge"], which].concat()));
    let move_store = |from: &str, to: &str| fs::rename(site.path(from), site.path(to)).unwrap();
    move_store("certs.db", "away.db");
    assert_eq!(purge(&["--all"]), "removed 1");
    assert_eq!(files(&site.path("cache")), Vec::<PathBuf>::new());
    assert_eq!(responder.post(&der), good);
    move_store("away.db", "certs.db");
    eventually("the answer has its file again", || {
        assert_eq!(responder.post(&der), good);
        (answers(&site.path("cache")).len() == 1).then_some(())
    });
    // What one that met a writer, and was interrupted, has left is in nobody's way.
    let left = site.path("cache/b31c2b50e5f4fc7f/1b/.tmpLEFT.tmp");
    fs::create_dir_all(left.parent().unwrap()).unwrap();
    fs::write(&left, "half an answer").unwrap();
    move_store("certs.db", "away.db");
    assert_eq!(purge(&["--all"]), "removed 2");
    assert_eq!(responder.post(&der), good);
    assert!(!site.path("cache/b31c2b50e5f4fc7f").exists());
    move_store("away.db", "certs.db");
    eventually("the answer has its file again", || {
        assert_eq!(responder.post(&der), good);
        (answers(&site.path("cache")).len() == 1).then_some(())
    });
    // One file alone is gone: somebody may have found out a revocation.
    move_store("certs.db", "away.db");
    assert_eq!(purge(&["--serial", "0a1b"]), "removed 1");
    assert_eq!(responder.post(&der), TRY_LATER);
}

#[test]
fn show_tells_what_is_kept_beside_what_the_database_says() {
    let site = Site::with_certificates(KeyKind::P256);
    let config = site.configure(LOG);
    let show = |serial: &str| cache(&config, &["show", serial]);
    let output = show("0a1b");
    assert_eq!(output.status.code(), Some(1));
    let stdout = text(&output.stdout);
    assert!(stdout.contains("database says good\nnothing is kept\n"), "{stdout}");
    cache(&config, &["warm", "--parameters", "both"]);
    site.set_status("0a1b", revoked(RevocationReason::Superseded));
    let output = show("0A:1B");
    let stdout = text(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{stdout}");
    for line in [
        "serial 0x0a1b, decimal 2587\n",
        "issuer 0 (CN=Test CA)\n",
        "  database says revoked on 2026-01-02T03:04:05Z, superseded\n",
        "  kept for SHA-1, signer CN=Test CA\n",
        "  kept for SHA-1 without NULL, signer CN=Test CA\n",
        "    status       good (the database says something else)\n",
        "    signature    verifies with this signer\n",
    ] {
        assert!(stdout.contains(line), "wanted {line:?} in\n{stdout}");
    }
    let file = answers(&site.path("cache"))
        .into_iter()
        .find(|path| name(path).starts_with("ff02-"))
        .unwrap();
    let whole = fs::read(&file).unwrap();
    fs::write(&file, &whole[..whole.len() - 1]).unwrap();
    let stdout = text(&show("ff02").stdout);
    assert!(stdout.contains("    damaged      not an answer to this question"), "{stdout}");
    assert!(stdout.contains(&format!("    file         {}\n", file.display())), "{stdout}");
    let by_decimal = cache(&config, &["show", "--decimal", "2587"]);
    assert_eq!(by_decimal.stdout, show("0a1b").stdout);
    let output = show("ten");
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("serial number \"ten\": "), "{}", text(&output.stderr));
    assert!(text(&show("0c03").stdout).contains("database has no such certificate"));
}

pub fn cache(config: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(PROGRAM);
    run(command.arg("cache").args(arguments).arg("--config").arg(config), "ocsp-fcgi")
}

/// The line that ends a run, without its times; the run was well.
#[track_caller]
pub fn first_line(output: &Output) -> String {
    let stdout = text(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{stdout}{}", text(&output.stderr));
    let line = stdout.lines().next().unwrap_or_default();
    line.rsplitn(3, ", ").last().unwrap_or_default().to_owned()
}

/// The number behind a word.
#[track_caller]
fn number(text: &str, word: &str) -> usize {
    let (_, rest) = text.split_once(word).unwrap_or_else(|| panic!("wanted {word:?} in {text}"));
    let digits = rest.split(|it: char| !it.is_ascii_digit()).next().unwrap();
    digits.parse().unwrap()
}

fn name(path: &Path) -> &str {
    path.file_name().unwrap().to_str().unwrap()
}

fn text(octets: &[u8]) -> String {
    String::from_utf8_lossy(octets).into_owned()
}

const LOG: &str = "[log]\ntarget = \"stderr\"\n";
