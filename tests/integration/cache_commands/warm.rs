//! `cache warm`.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use ocsp_fcgi::demo::{KeyKind, Purpose};
use ocsp_fcgi::serial::Serial;
use ocsp_fcgi::status::{CertStatus, RevocationReason};

use super::{LOG, cache, first_line, name, number, text};
use crate::cache_folder::resigned;
use crate::cache_processes::file_of;
use crate::support::authority::OpensslCa;
use crate::support::mariadb::{Database, MariaDb, numbers};
use crate::support::ocsp::{Answer, CertId, Request, SHA256};
use crate::support::site::{PROGRAM, Site, revoked};
use crate::support::{answers, eventually, files, is_answer, run};

// rule: ANS-6
#[test]
fn what_is_warmed_is_read_by_openssl_and_given_by_the_responder() {
    let site = Site::with_certificates(KeyKind::P256);
    let config = site.configure(LOG);
    let output = cache(&config, &["warm"]);
    assert_eq!(first_line(&output), "signed 2, already there 0, revoked among them 1, failed 0");
    assert_eq!(answers(&site.path("cache")).len(), 2, "none about the certificate without a row");
    for (name, serial, wanted) in
        [("good", "0a1b", "good.crt: good"), ("revoked", "ff02", "Reason: keyCompromise")]
    {
        let file = file_of(&site, serial);
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        let der = fs::read(&file).unwrap();
        let said = site.read_answer(name, &der);
        assert!(said.contains(wanted) && said.contains("Response verify OK"), "{said}");
        let responder = site.serve_beside(0, "freshness = \"1h\"\n");
        assert_eq!(responder.post(&site.about(serial).der()), der, "it is found, and believed");
    }
    let output = cache(&config, &["warm"]);
    assert_eq!(first_line(&output), "signed 0, already there 2, revoked among them 1, failed 0");
}

// rule: RSP-2
#[test]
fn a_warmed_answer_is_octet_by_octet_what_the_responder_signs() {
    let site = Site::with_certificates(KeyKind::Rsa2048);
    site.delegate(Purpose::OcspSigner);
    let more = "[answers]\nresponder_id = \"name\"\narchive = \"30d\"\nback_date = \"5m\"\n";
    let text = |folder: &str| {
        format!(
            "itcert = \"ca.crt\"\nitkey = \"signer.key\"\nitsigner = \"signer.crt\"\n\
             cachefolder = \"{folder}\"\n{more}[database]\nsqlite = \"certs.db\"\n{LOG}"
        )
    };
    // In the same second, which the two need not be in at the first try.
    let same = (0..20).any(|number| {
        let config = site.write_config(&text(&format!("warm-{number}")));
        first_line(&cache(&config, &["warm", "--threads", "1"]));
        let config = site.write_config(&text(&format!("asked-{number}")));
        let mut respond = Command::new(PROGRAM);
        let request = site.path("request.der");
        fs::write(&request, site.about("ff02").der()).unwrap();
        respond.args(["respond", "--config"]).arg(&config).arg("--in").arg(&request);
        let answer = Answer::read(&run(&mut respond, "ocsp-fcgi").stdout);
        let warmed = files(&site.path(&format!("warm-{number}")));
        let warmed = warmed.iter().find(|path| name(path).starts_with("ff02-")).unwrap();
        let warmed = Answer::read(&fs::read(warmed).unwrap());
        if warmed.times() != answer.times() {
            return false;
        }
        assert_eq!(warmed.der, answer.der);
        true
    });
    assert!(same, "never in the same second");
}

// rule: ANS-1, REQ-5
#[test]
fn of_two_rows_for_one_serial_the_revoked_one_is_signed_and_a_broken_one_never() {
    let site = Site::new(KeyKind::P256);
    let database = MariaDb::shared().database();
    fill(&database, 1_000);
    // Far apart in the order of the rows.
    for (key, rest) in [
        ("0x0a1b", "'Valid', NULL, NULL"),
        ("0xa1b", "'Revoked', '2026-01-02 03:04:05', 'superseded'"),
        ("0x00ff02", "'Revoked', '2026-01-02 03:04:05', NULL"),
        ("0xff02", "'Valid', NULL, NULL"),
    ] {
        database.insert(key, rest);
    }
    let config = on_database(&site, &database);
    let output = cache(&config, &["warm"]);
    let line = first_line(&output);
    assert!(line.starts_with("signed 1002, already there 2, revoked among them 4, failed 0"));
    for serial in ["0a1b", "ff02"] {
        let answer = Answer::read(&fs::read(file_of(&site, serial)).unwrap());
        assert!(answer.statuses()[0].starts_with("revoked 1767323045"), "{serial}");
        assert!(answer.is_signed_by(&site.ca.identity.certificate));
    }
    database.run("UPDATE list_certs SET status = '' WHERE cert_num = '0x500001'");
    database.insert("nonsense", "'Valid', NULL, NULL");
    database.insert("0x000001", "'Valid', NULL, NULL"); // no client is told of it either
    assert_eq!(cache(&config, &["purge", "--all"]).status.code(), Some(0));
    let output = cache(&config, &["warm"]);
    assert_eq!(output.status.code(), Some(1));
    let stdout = text(&output.stdout);
    assert!(stdout.contains(", failed 2,"), "{stdout}");
    assert!(stdout.ends_with("not found by their serial number: 1\n"), "{stdout}");
    assert!(text(&output.stderr).contains("key=\"nonsense\""), "{}", text(&output.stderr));
    assert_eq!(answers(&site.path("cache")).len(), 1_001);
    assert!(answers(&site.path("cache")).iter().all(|path| !name(path).starts_with("500001-")));
}

#[test]
fn an_interrupted_run_goes_on_where_it_stopped() {
    let site = Site::new(KeyKind::P256);
    let database = MariaDb::shared().database();
    fill(&database, 700);
    let config = on_database(&site, &database);
    let mut command = warm(&config, &["--rate", "200"]);
    let mut child = command.spawn().unwrap();
    eventually("it signs", || (answers(&site.path("cache")).len() > 50).then_some(()));
    kill(Pid::from_raw(child.id().try_into().unwrap()), Signal::SIGINT).unwrap();
    eventually("it ends", || child.try_wait().unwrap());
    let output = child.wait_with_output().unwrap();
    let stdout = text(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{stdout}");
    assert!(stdout.contains("interrupted; the same command goes on from there\n"), "{stdout}");
    let signed = number(&stdout, "signed ");
    assert!(
        (50..700).contains(&signed) && signed == answers(&site.path("cache")).len(),
        "{stdout}"
    );
    assert!(files(&site.path("cache")).iter().all(|path| is_answer(path)), "a half of one");
    let output = cache(&config, &["warm"]);
    let stdout = text(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{stdout}");
    assert_eq!(number(&stdout, "already there "), signed);
    assert_eq!(number(&stdout, "signed "), 700 - signed);
}

// rule: ANS-1
#[test]
fn what_another_process_has_seen_later_is_not_overwritten() {
    let site = Site::new(KeyKind::P256);
    for number in 1..=8 {
        site.set_status(&format!("0{number}"), CertStatus::Good);
    }
    let config = site.configure(LOG);
    let responder = site.serve_beside(0, "freshness = \"0s\"\n");
    // Reads all rows at once, then signs.
    let child = warm(&config, &["--rate", "8", "--threads", "1"]).spawn().unwrap();
    eventually("it signs", || answers(&site.path("cache")).first().cloned());
    // Before the last one's turn; `renewing` has what is seen in the course of that.
    site.set_status("08", revoked(RevocationReason::Superseded));
    let told = responder.post(&site.about("08").der());
    assert!(Answer::read(&told).statuses()[0].starts_with("revoked"));
    let output = child.wait_with_output().unwrap();
    // Overtaken; or, where a machine is slow, read once more, and signed as revoked.
    assert!(first_line(&output).ends_with(", failed 0"), "{}", first_line(&output));
    let left = Answer::read(&fs::read(file_of(&site, "08")).unwrap());
    assert_eq!(left.statuses(), Answer::read(&told).statuses());
}

// rule: ANS-1
#[test]
fn a_revocation_that_is_met_removes_what_is_kept_in_other_spellings() {
    let site = Site::with_certificates(KeyKind::P256);
    let config = site.configure(LOG);
    let every = ["sha1", "sha256", "sha384", "sha512"].map(|hash| ["--hash", hash]).concat();
    let all = [&["warm", "--parameters", "both"], &every[..]].concat();
    assert!(first_line(&cache(&config, &all)).starts_with("signed 16, already there 0"));
    site.set_status("0a1b", revoked(RevocationReason::Superseded));
    let line = first_line(&cache(&config, &["warm"]));
    assert_eq!(line, "signed 1, already there 1, revoked among them 2, failed 0");
    let left = Answer::read(&fs::read(file_of(&site, "0a1b")).unwrap());
    assert!(left.statuses()[0].starts_with("revoked"));
    let line = first_line(&cache(&config, &["warm", "--hash", "sha256", "--parameters", "null"]));
    assert_eq!(line, "signed 1, already there 1, revoked among them 2, failed 0");
    let responder = site.serve_beside(0, "freshness = \"1h\"\n");
    let cert_id = CertId::hashed(SHA256, &site.ca.identity.certificate, "0a1b");
    let told = responder.post(&Request::about(&cert_id).der());
    assert!(answers(&site.path("cache")).iter().any(|path| fs::read(path).unwrap() == told));
}

// rule: ANS-6
#[test]
fn what_is_not_ours_or_falls_due_is_signed_anew() {
    let site = Site::with_certificates(KeyKind::P256);
    let config = site.configure(LOG);
    first_line(&cache(&config, &["warm"]));
    let place = file_of(&site, "0a1b");
    let good = Answer::read(&fs::read(&place).unwrap());
    let half_over = resigned(&site, &good, &[0x80, 0], -20, 19);
    let over = resigned(&site, &good, &[0x80, 0], -20, -1);
    for octets in [b"garbage".to_vec(), Vec::new(), half_over, over] {
        fs::write(&place, octets).unwrap();
        let line = first_line(&cache(&config, &["warm"]));
        assert_eq!(line, "signed 1, already there 1, revoked among them 1, failed 0");
        let answer = Answer::read(&fs::read(&place).unwrap());
        assert!(answer.is_signed_by(&site.ca.identity.certificate));
    }
    // With a longer validity there is something to gain.
    let config = site.configure("[answers]\nback_date = \"0s\"\n[log]\ntarget = \"stderr\"\n");
    let longer = fs::read_to_string(&config).unwrap().replace("cachedays = 3", "cachedays = 4");
    let config = site.write_config(&longer);
    assert!(first_line(&cache(&config, &["warm", "--left", "2d"])).starts_with("signed 0,"));
    assert!(first_line(&cache(&config, &["warm", "--left", "80h"])).starts_with("signed 2,"));
    // With a shorter one no answer is to outlast it.
    let shorter = longer.replace("cachedays = 4", "cachedays = 3");
    let config = site.write_config(&shorter);
    assert!(first_line(&cache(&config, &["warm"])).starts_with("signed 2,"));
    assert!(first_line(&cache(&config, &["warm"])).starts_with("signed 0,"));
}

#[test]
fn certificates_are_chosen_by_their_dates_and_those_without_are_counted() {
    let site = Site::new(KeyKind::P256);
    for (serial, days) in [("01", 3), ("02", 200)] {
        let serial = Serial::from_hex(serial).unwrap();
        let kind = (Purpose::Leaf, KeyKind::P256);
        let identity = site.ca.issue("leaf.test", &serial, kind, days).unwrap();
        let pem = String::from_utf8(identity.certificate.to_pem().unwrap()).unwrap();
        site.ledger.write(&serial, CertStatus::Good, &pem).unwrap();
    }
    site.set_status("03", CertStatus::Good); // its certificate is no PEM
    let config = site.configure(LOG);
    let left_out = "certificates left out, as their dates cannot be read: 1\n";
    for (arguments, signed) in [
        (&["--ends-within", "1d"][..], 0),
        (&["--ends-within", "7d"], 1),
        (&["--unexpired", "--ends-within", "300d"], 1),
        (&["--issued-within", "2d"], 0),
    ] {
        let output = cache(&config, &[&["warm"], arguments].concat());
        assert_eq!(number(&text(&output.stdout), "signed "), signed, "{arguments:?}");
        assert!(text(&output.stdout).contains(left_out), "{arguments:?}");
    }
    let output = cache(&config, &["warm"]);
    assert_eq!(first_line(&output), "signed 1, already there 2, revoked among them 0, failed 0");
}

#[test]
fn a_source_that_cannot_tell_dates_says_so() {
    let ca = OpensslCa::new("/CN=Test CA");
    ca.issue("soon", &["-days", "3"]);
    ca.issue("later", &["-days", "300"]);
    ca.issue("gone", &[]);
    ca.revoke("gone", &["-crl_reason", "superseded"]);
    ca.write_crl("ca.crl", &[]);
    let config = |source: &str| {
        let path = ca.path("config.toml");
        let text = format!(
            "itcert = \"ca.crt\"\nitkey = \"ca.key\"\ncachefolder = \"cache\"\n{LOG}\
             [database]\n{source}\n"
        );
        ocsp_fcgi::demo::write_private(&path, text.as_bytes()).unwrap();
        path
    };
    let index = config("index = \"index.txt\"");
    for (arguments, signed) in [(&["--ends-within", "7d"][..], 1), (&["--unexpired"], 2), (&[], 0)]
    {
        let output = cache(&index, &[&["warm"], arguments].concat());
        assert_eq!(number(&text(&output.stdout), "signed "), signed, "{arguments:?}");
    }
    let output = cache(&index, &["warm", "--issued-within", "7d"]);
    assert_eq!(output.status.code(), Some(1));
    let wanted = "an index.txt does not tell when certificates were issued";
    assert!(text(&output.stderr).contains(wanted), "{}", text(&output.stderr));
    let crl = config("crl = \"ca.crl\"");
    let output = cache(&crl, &["warm", "--unexpired"]);
    assert_eq!(output.status.code(), Some(1));
    let wanted = "a CRL does not tell the dates of certificates";
    assert!(text(&output.stderr).contains(wanted), "{}", text(&output.stderr));
    let line = first_line(&cache(&crl, &["warm"]));
    assert_eq!(line, "signed 0, already there 1, revoked among them 1, failed 0");

    let site = Site::with_certificates(KeyKind::P256);
    let config = site.configure(LOG);
    let text_of = fs::read_to_string(&config).unwrap();
    let config = site.write_config(&format!("{text_of}columns = {{ certificate = \"\" }}\n"));
    let output = cache(&config, &["warm", "--unexpired"]);
    assert_eq!(output.status.code(), Some(1));
    let wanted = "the table has no column of certificates";
    assert!(text(&output.stderr).contains(wanted), "{}", text(&output.stderr));
}

#[test]
fn a_database_that_dies_ends_it_with_an_error_and_what_was_signed_stays() {
    let site = Site::new(KeyKind::P256);
    let server = MariaDb::start();
    let database = server.database();
    fill(&database, 3_000);
    let config = on_database(&site, &database);
    let mut child = warm(&config, &["--rate", "500"]).spawn().unwrap();
    eventually("it signs", || (answers(&site.path("cache")).len() > 50).then_some(()));
    server.stop();
    eventually("it ends", || child.try_wait().unwrap());
    let output = child.wait_with_output().unwrap();
    let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(1), "{stdout}{stderr}");
    // While it reads a page of rows; or, on a slow machine, one of them once more.
    assert!(stderr.contains("stopped, what was signed stays: "), "{stderr}");
    assert!(stderr.contains("status store unavailable: "), "{stderr}");
    let signed = number(&stdout, "signed ");
    assert!((50..3_000).contains(&signed), "{stdout}");
    assert_eq!(answers(&site.path("cache")).len(), signed);
    server.start_again();
    let output = cache(&config, &["warm"]);
    assert_eq!(number(&text(&output.stdout), "signed "), 3_000 - signed);
}

#[test]
fn a_spoilt_place_costs_its_own_answer_alone() {
    let site = Site::new(KeyKind::P256);
    let database = MariaDb::shared().database();
    fill(&database, 40);
    let config = on_database(&site, &database);
    assert_eq!(cache(&config, &["warm"]).status.code(), Some(0));
    let kept = answers(&site.path("cache"));
    let spoilt = kept.iter().find(|path| name(path).starts_with("500003-")).unwrap();
    kept.iter().for_each(|path| fs::remove_file(path).unwrap());
    fs::create_dir(spoilt).unwrap();
    for line in ["signed 39, already there 0, ", "signed 0, already there 39, "] {
        let (told, log) = failing(&config);
        assert!(told.starts_with(line) && told.contains(", failed 1, "), "{told}");
        assert!(log.contains("answer cannot be kept, going on with the next: path="), "{log}");
        assert!(log.contains(spoilt.to_str().unwrap()), "{log}");
    }
    // All of them: the folder is no good.
    for path in kept.iter().filter(|path| *path != spoilt) {
        fs::remove_file(path).unwrap();
        fs::create_dir(path).unwrap();
    }
    let (told, log) = failing(&config);
    assert!(told.contains(", failed 10, "), "{told}");
    assert!(log.contains("the cache folder cannot be written"), "{log}");
}

/// What a run that ends with 1 says, and its log.
fn failing(config: &Path) -> (String, String) {
    let output = cache(config, &["warm", "--threads", "1"]);
    assert_eq!(output.status.code(), Some(1));
    (text(&output.stdout), text(&output.stderr))
}

#[test]
fn what_cannot_be_warmed_is_told() {
    let site = Site::with_certificates(KeyKind::P256);
    let config = site.configure(LOG);
    for (arguments, reason) in [
        (
            &["--issuer", "CN=Nobody"][..],
            "no issuer CN=Nobody, wanted a number from 0 or one of: CN=Test CA",
        ),
        (&["--next"], "no successor that has not taken over yet"),
    ] {
        let output = cache(&config, &[&["warm"], arguments].concat());
        assert_eq!(output.status.code(), Some(1));
        assert!(text(&output.stderr).contains(reason), "{}", text(&output.stderr));
    }
    for issuer in ["0", "CN=Test CA"] {
        assert_eq!(cache(&config, &["warm", "--issuer", issuer]).status.code(), Some(0));
    }
    cache(&config, &["purge", "--all"]);
    fs::remove_dir_all(site.path("cache")).unwrap();
    fs::write(site.path("cache"), "in the way").unwrap();
    let output = cache(&config, &["warm"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("the cache folder cannot be written"));
    let without = fs::read_to_string(&config).unwrap().replace("cachefolder = \"cache\"\n", "");
    let config = site.write_config(&without);
    for command in [&["warm"][..], &["stats"], &["purge", "--all"], &["show", "0a1b"]] {
        let output = cache(&config, command);
        assert_eq!(output.status.code(), Some(1), "{command:?}");
        assert!(text(&output.stderr).contains("no cachefolder"), "{command:?}");
    }
    for wrong in [
        &["purge"][..],
        &["purge", "--all", "--expired"],
        &["purge", "--serial", "xyz"],
        &["warm", "--left", "soon"],
        &["warm", "--rate", "0"],
        &["warm", "--nice", "20"],
        &["show"],
        &[],
    ] {
        assert_eq!(cache(&config, wrong).status.code(), Some(2), "{wrong:?}");
    }
}

#[test]
fn threads_that_cannot_be_had_end_it_with_an_error() {
    let site = Site::new(KeyKind::P256);
    fill_sqlite(&site, 2_000); // pages for more threads than there can be
    let config = site.configure(LOG);
    let mut command = Command::new("timeout");
    command.args(["--signal=KILL", "60"]);
    if rustix::process::geteuid().is_root() {
        // Nothing limits the threads of root; another user reads what root may.
        let capabilities = ["--inh-caps=+dac_override", "--ambient-caps=+dac_override"];
        command.args(["setpriv", "--reuid=61000", "--clear-groups"]).args(capabilities);
    } else {
        command.args(["unshare", "--map-root-user"]); // what else the user runs is not counted
    }
    command.args(["prlimit", "--nproc=12", PROGRAM]);
    command.args(["cache", "warm", "--rate", "100", "--threads", "1000", "--config"]).arg(config);
    let output = run(&mut command, "util-linux");
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let told = text(&output.stderr);
    assert!(told.contains("the system gives no thread, wanted: fewer, or"), "{told}");
}

#[test]
fn on_a_terminal_a_row_counts_as_soon_as_it_is_done() {
    let site = Site::new(KeyKind::P256);
    fill_sqlite(&site, 60);
    let config = site.configure(LOG);
    let line = format!("{PROGRAM} cache warm --rate 40 --config {}", config.display());
    let mut script = Command::new("script");
    script.args(["--quiet", "--return", "--command", &line, "/dev/null"]).stdin(Stdio::null());
    let said = text(&run(&mut script, "bsdutils").stdout);
    let shown = |rows: usize| said.contains(&format!(" {rows}/60 "));
    assert!((20..50).any(shown), "{said}");
    assert!(said.contains("signed 60, already there 0"), "{said}");
}

fn warm(config: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(PROGRAM);
    command.args(["cache", "warm", "--config"]).arg(config).args(arguments);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// So many valid rows, from 0x01 on.
fn fill_sqlite(site: &Site, rows: u32) {
    let table = rusqlite::Connection::open(site.path("certs.db")).unwrap();
    let many = "WITH RECURSIVE many (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM many WHERE n < ?) \
                INSERT INTO list_certs (cert_num, cert) SELECT printf('0x%x', n), 'PEM' FROM many";
    table.execute(many, [rows]).unwrap();
}

/// So many valid rows, from 0x500001 on.
fn fill(database: &Database<'_>, rows: usize) {
    database.run(&format!(
        "INSERT INTO list_certs (cert_num, cert) \
         SELECT CONCAT('0x', LOWER(HEX(5242880 + n))), 'PEM' FROM {} AS many",
        numbers(u32::try_from(rows).unwrap())
    ));
}

fn on_database(site: &Site, database: &Database<'_>) -> PathBuf {
    let flat = "itcert = \"ca.crt\"\nitkey = \"ca.key\"\ncachefolder = \"cache\"\n";
    site.write_config(&format!("{flat}{}{LOG}", database.keys()))
}
