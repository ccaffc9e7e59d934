//! Several CAs in one responder, each with its own choices.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use nix::sys::signal::Signal;
use ocsp_fcgi::demo::{KeyKind, Purpose, ThrowawayCa};
use ocsp_fcgi::serial::Serial;
use ocsp_fcgi::status::CertStatus;
use ocsp_fcgi::store::ledger::SqliteLedger;
use ocsp_fcgi::time::{Clock, SystemClock, Timestamp};
use openssl::asn1::Asn1Time;
use tempfile::TempDir;

use crate::cache_commands::{cache, first_line};
use crate::support::ocsp::{
    Answer, CertId, INTERNAL_ERROR, MALFORMED, NULL, PREFERRED_ALGORITHMS, Request, SHA256,
    TRY_LATER, UNAUTHORIZED, extension, sequence, tlv,
};
use crate::support::site::{PROGRAM, Running, Site};
use crate::support::{files, free_port, logged, run};

// rule: REQ-4
// rule: ANS-1
#[test]
fn cas_of_one_name_or_one_key_are_told_apart() {
    let world = World::new();
    let first = world.authority("a", "Same name", KeyKind::P256.generate().unwrap());
    let same_name = world.authority("b", "Same name", KeyKind::P256.generate().unwrap());
    let same_key = world.authority("c", "Other name", first.identity.key.clone());
    world.issued("a", "01");
    world.issued("b", "02");
    world.issued("c", "03");
    let responder = world.serve("");
    for (own, ca) in [("01", &first), ("02", &same_name), ("03", &same_key)] {
        for serial in ["01", "02", "03"] {
            let question = Request::about(&CertId::new(&ca.identity.certificate, serial));
            let answer = Answer::read(&responder.post(&question.der()));
            let wanted = if serial == own { "good" } else { "unknown" };
            assert_eq!(answer.statuses(), [wanted], "{serial} of the CA of {own}");
            assert!(answer.is_signed_by(&ca.identity.certificate));
        }
    }
}

// rule: REQ-4
#[test]
fn one_ca_that_is_named_twice_is_refused() {
    let world = World::new();
    let first = world.authority("a", "Same name", KeyKind::P256.generate().unwrap());
    world.issued("a", "01");
    let responder = world.serve("");
    // As when the CA's certificate has been issued anew.
    let later = Timestamp::from_unix(SystemClock.now().unix() + 60);
    world.authority_since("b", "Same name", first.identity.key.clone(), later);
    let config = world.config(responder.port, "");
    responder.signal(Signal::SIGHUP);
    let said = logged(&world.path("serve.log"), "not reloaded, going on as before");
    let question = Request::about(&CertId::new(&first.identity.certificate, "01"));
    assert_eq!(Answer::read(&responder.post(&question.der())).statuses(), ["good"]);
    let ended = |command: &str| {
        let mut program = Command::new(PROGRAM);
        let output = run(program.args([command, "--config"]).arg(&config), "ocsp-fcgi");
        assert_eq!(output.status.code(), Some(1), "{command}");
        String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
    };
    drop(responder);
    let [a, b] = ["a.crt", "b.crt"].map(|name| world.path(name).display().to_string());
    for said in [said, ended("serve"), ended("check")] {
        let is_told = |line: &str| {
            line.contains(&a) && line.contains(&b) && line.contains("one [[issuer]] for both")
        };
        assert!(said.lines().any(is_told), "{said}");
    }
}

// rule: ANS-5
#[test]
fn a_signer_that_has_ended_takes_no_other_ca_with_it() {
    let world = World::new();
    let key = || KeyKind::P256.generate().unwrap();
    let well = world.authority("a", "A", key());
    let twenty_days_ago = Timestamp::from_unix(SystemClock.now().unix() - 20 * 86_400);
    let over = world.authority_since("b", "B", key(), twenty_days_ago);
    let serial = Serial::from_hex("d1").unwrap();
    let purpose = (Purpose::OcspSigner, KeyKind::P256);
    let signer = over.issue("Signer of B", &serial, purpose, 10).unwrap();
    signer.write(world.folder.path(), "signer").unwrap();
    fs::copy(world.path("signer.key"), world.path("b.key")).unwrap();
    world.amend("b", "signer = \"signer.crt\"\n");
    world.issued("a", "01");
    world.issued("b", "01");
    let log = world.path("serve.log");
    let responder = world.serve("");
    logged(&log, "signer.crt may not sign for ");
    let about = |ca: &ThrowawayCa| Request::about(&CertId::new(&ca.identity.certificate, "01"));
    assert_eq!(Answer::read(&responder.post(&about(&well).der())).statuses(), ["good"]);
    for request in [about(&over), about(&over).with_nonce(b"n")] {
        assert_eq!(responder.post(&request.der()), INTERNAL_ERROR);
    }
    let mut check = Command::new(PROGRAM);
    let said = run(check.arg("check").arg("--config").arg(world.path("config.toml")), "ocsp-fcgi");
    assert_eq!(said.status.code(), Some(1));
    let said = String::from_utf8_lossy(&said.stdout).into_owned();
    assert!(said.lines().any(|line| line.starts_with("WRONG") && line.contains("it ended on")));
}

#[test]
fn each_ca_may_have_answers_its_own_way() {
    let world = World::new();
    let [plain, strict] = ["a", "b"].map(|name| {
        let key = KeyKind::P256.generate().unwrap();
        world.authority(name, name, key)
    });
    let own = "non_issued = \"unauthorized\"\nnonce = \"require\"\nvalidity = \"1h\"\n\
               responder_id = \"name\"\narchive = \"30d\"\n";
    world.amend("b", own);
    world.issued("a", "01");
    world.issued("b", "01");
    let responder = world.serve("");
    let about =
        |ca: &ThrowawayCa, serial| Request::about(&CertId::new(&ca.identity.certificate, serial));
    assert_eq!(Answer::read(&responder.post(&about(&plain, "09").der())).statuses(), ["unknown"]);
    assert_eq!(responder.post(&about(&strict, "09").with_nonce(b"n").der()), UNAUTHORIZED);
    // rule: REQ-9
    assert_eq!(responder.post(&about(&strict, "01").der()), MALFORMED);
    let (_, this_update, next_update) =
        Answer::read(&responder.post(&about(&plain, "01").der())).times();
    assert_eq!(next_update - this_update, 3 * 86_400);
    let answer = Answer::read(&responder.post(&about(&strict, "01").with_nonce(b"n").der()));
    let (_, this_update, next_update) = answer.times();
    assert_eq!(next_update - this_update, 3_600);
}

// rule: RSP-7
#[test]
fn an_archive_cutoff_is_told_only_where_it_is_configured() {
    let site = Site::with_certificates(KeyKind::P256);
    let ask = |responder: &Running| {
        site.read_answer("good", &responder.post(&site.request("good", &["-no_nonce"])))
    };
    let without = ask(&site.serve(""));
    assert!(!without.contains("Archive Cutoff"), "{without}");
    fs::remove_dir_all(site.path("cache")).unwrap();
    let responder = site.serve("[answers]\narchive = \"36500d\"\n");
    // Not before the CA itself.
    let begins = site.ca.identity.certificate.not_before().to_string();
    for said in [ask(&responder), ask(&responder)] {
        assert_eq!(archive_cutoff(&said).as_ref(), Some(&begins), "{said}");
        assert!(said.contains("Response verify OK"), "{said}");
    }
    for nonce in ["-no_nonce", "-nonce"] {
        let unlisted = responder.post(&site.request("unlisted", &[nonce]));
        assert_eq!(archive_cutoff(&site.read_answer("unlisted", &unlisted)), None, "{nonce}");
    }
    drop(responder);
    fs::remove_dir_all(site.path("cache")).unwrap();
    let der = site.serve("[answers]\narchive = \"30m\"\n").post(&site.request("good", &[]));
    let (produced_at, ..) = Answer::read(&der).times();
    let cutoff = Asn1Time::from_unix(produced_at - 1_800).unwrap().to_string();
    assert_eq!(archive_cutoff(&site.read_answer("good", &der)), Some(cutoff));
}

/// As OpenSSL prints it.
fn archive_cutoff(said: &str) -> Option<String> {
    let (_, rest) = said.split_once("OCSP Archive Cutoff:")?;
    rest.lines().map(str::trim).find(|line| !line.is_empty()).map(str::to_owned)
}

// rule: REQ-7
#[test]
fn only_signed_requests_are_answered_where_the_configuration_says_so() {
    let site = Site::with_certificates(KeyKind::P256);
    let responder = site.serve("[answers]\nrequests = \"signed\"\n");
    let sig_required = [0x30, 3, 10, 1, 5];
    assert_eq!(responder.post(&site.request("good", &[])), sig_required);
    let signed = site.request("good", &["-no_nonce", "-signer", "ca.crt", "-signkey", "ca.key"]);
    let said = site.read_answer("good", &responder.post(&signed));
    assert!(said.contains("good.crt: good"), "{said}");
}

// rule: REQ-10
#[test]
fn the_first_preferred_algorithm_that_the_key_has_is_used() {
    let site = Site::with_certificates(KeyKind::Rsa2048);
    let responder = site.serve("");
    let rsa = |last: u8| algorithm(&[0x2a, 0x86, 0x48, 0x86, 0xf7, 13, 1, 1, last], NULL);
    let ecdsa = algorithm(&[0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2], &[]);
    let pss = "1.2.840.113549.1.1.10";
    let [sha1, sha256, sha384, sha512] = [5, 11, 12, 13].map(rsa);
    for (preferred, wanted) in [
        (vec![sha512.clone(), sha256.clone()], "1.2.840.113549.1.1.13"),
        (vec![ecdsa.clone(), sha384, sha512], "1.2.840.113549.1.1.12"),
        (vec![sha1, ecdsa], "1.2.840.113549.1.1.11"),
        (vec![], "1.2.840.113549.1.1.11"),
        (vec![pss_sha256(), sha256], pss),
    ] {
        let list: Vec<_> = preferred.iter().map(|one| sequence(&[one])).collect();
        let list = sequence(&list.iter().map(Vec::as_slice).collect::<Vec<_>>());
        let question = Request::about(&CertId::new(&site.ca.identity.certificate, "0a1b"))
            .with(extension(PREFERRED_ALGORITHMS, &list));
        let der = responder.post(&question.der());
        let answer = Answer::read(&der);
        assert_eq!(answer.basic.signature_algorithm.oid.to_string(), wanted);
        let said = site.read_answer("good", &der);
        assert!(said.contains("Response verify OK"), "{wanted}: {said}");
    }
}

// rule: RSP-6
#[test]
fn rsa_keys_sign_with_pss_where_the_configuration_says_so() {
    let site = Site::with_certificates(KeyKind::Rsa2048);
    let responder = site.serve("[answers]\nrsa_padding = \"pss\"\n");
    // The second time from the cache folder.
    for responder in [responder, site.serve("[answers]\nrsa_padding = \"pss\"\n")] {
        let der = responder.post(&site.request("good", &["-no_nonce"]));
        let algorithm = Answer::read(&der).basic.signature_algorithm.oid.to_string();
        assert_eq!(algorithm, "1.2.840.113549.1.1.10");
        assert!(site.read_answer("good", &der).contains("Response verify OK"));
    }
}

#[test]
fn the_trouble_of_one_ca_is_told_for_itself() {
    let world = World::new();
    let [a, b] = ["a", "b"].map(|name| {
        let key = KeyKind::P256.generate().unwrap();
        let ca = world.authority(name, &format!("CA {name}"), key);
        world.issued(name, "01");
        Request::about(&CertId::new(&ca.identity.certificate, "01")).der()
    });
    let sql = |statement: &str| {
        let writer = rusqlite::Connection::open(world.path("certs.db")).unwrap();
        writer.pragma_update(None, "ignore_check_constraints", true).unwrap();
        writer.execute(statement, ()).unwrap();
    };
    let responder = world.serve("[cache]\nfreshness = \"0s\"\n");
    sql("UPDATE a SET status = 'Perhaps'");
    sql("UPDATE b SET status = 'Perhaps'");
    for question in [&a, &b] {
        assert_eq!(responder.post(question), INTERNAL_ERROR);
    }
    for issuer in 0..2 {
        let line = format!("row cannot be understood, answering internalError: issuer={issuer} ");
        logged(&world.path("serve.log"), &line);
    }
    sql("UPDATE b SET status = 'Valid'");
    sql("ALTER TABLE a RENAME TO gone");
    for _ in 0..2 {
        assert_eq!(responder.post(&a), TRY_LATER);
        assert_eq!(Answer::read(&responder.post(&b)).statuses(), ["good"]);
    }
    let away = "status store unavailable, answering from the cache or tryLater: issuer=0 ";
    let log = logged(&world.path("serve.log"), away);
    assert!(!log.contains("answers again"), "{log}");
    sql("ALTER TABLE gone RENAME TO a");
    sql("UPDATE a SET status = 'Valid'");
    assert_eq!(Answer::read(&responder.post(&a)).statuses(), ["good"]);
    logged(&world.path("serve.log"), "status store answers again: issuer=0 failures=1 ");
}

#[test]
fn one_ca_of_several_is_warmed() {
    let world = World::new();
    let [first, second] = [("a", "First"), ("b", "Second")].map(|(name, subject)| {
        let key = KeyKind::P256.generate().unwrap();
        world.authority(name, subject, key)
    });
    for (ca, serial) in [("a", "01"), ("a", "02"), ("b", "01")] {
        world.issued(ca, serial);
    }
    let config = world.config(free_port(), "");
    let warm = |chosen: &[&str]| first_line(&cache(&config, &[&["warm"], chosen].concat()));
    assert!(warm(&["--issuer", "CN=Second"]).starts_with("signed 1, already there 0,"));
    let only = Answer::read(&fs::read(&files(&world.path("cache"))[0]).unwrap());
    assert!(only.is_signed_by(&second.identity.certificate));
    assert!(!only.is_signed_by(&first.identity.certificate));
    assert!(warm(&["--issuer", "0"]).starts_with("signed 2, already there 0,"));
    assert!(warm(&[]).starts_with("signed 0, already there 3,"));
}

fn algorithm(oid: &[u8], parameters: &[u8]) -> Vec<u8> {
    sequence(&[&tlv(6, &[oid]), parameters])
}

/// RSASSA-PSS with SHA-256 throughout (RFC 4055 section 3.1).
fn pss_sha256() -> Vec<u8> {
    let sha256 = algorithm(SHA256, NULL);
    let mgf1 = algorithm(&[0x2a, 0x86, 0x48, 0x86, 0xf7, 13, 1, 1, 8], &sha256);
    let parameters =
        sequence(&[&tlv(0xa0, &[&sha256]), &tlv(0xa1, &[&mgf1]), &tlv(0xa2, &[&[2, 1, 32]])]);
    algorithm(&[0x2a, 0x86, 0x48, 0x86, 0xf7, 13, 1, 1, 10], &parameters)
}

/// Several CAs below one folder, each with a table of its name.
struct World {
    folder: TempDir,
}

impl World {
    fn new() -> Self {
        Self { folder: TempDir::new().unwrap() }
    }

    /// A CA with the files `NAME.crt`, `NAME.key` and its `[[issuer]]`.
    fn authority(
        &self,
        name: &str,
        subject: &str,
        key: openssl::pkey::PKey<openssl::pkey::Private>,
    ) -> ThrowawayCa {
        self.authority_since(name, subject, key, SystemClock.now())
    }

    fn authority_since(
        &self,
        name: &str,
        subject: &str,
        key: openssl::pkey::PKey<openssl::pkey::Private>,
        since: Timestamp,
    ) -> ThrowawayCa {
        let ca = ThrowawayCa::with_key(subject, key, since).unwrap();
        ca.identity.write(self.folder.path(), name).unwrap();
        let lines = format!(
            "[[issuer]]\ncertificate = \"{name}.crt\"\nkey = \"{name}.key\"\ntable = \"{name}\"\n"
        );
        self.amend(name, &lines);
        self.ledger(name).create_table().unwrap();
        ca
    }

    /// Adds lines to the `[[issuer]]` of a CA.
    fn amend(&self, name: &str, lines: &str) {
        let path = self.path(&format!("{name}.part"));
        let text = fs::read_to_string(&path).unwrap_or_default();
        fs::write(path, text + lines).unwrap();
    }

    fn issued(&self, name: &str, serial: &str) {
        let serial = Serial::from_hex(serial).unwrap();
        self.ledger(name).write(&serial, CertStatus::Good, "PEM").unwrap();
    }

    fn ledger(&self, name: &str) -> SqliteLedger {
        SqliteLedger::new(self.path("certs.db"), name)
    }

    fn config(&self, port: u16, more: &str) -> PathBuf {
        let mut text = format!(
            "port = {port}\ncachefolder = \"cache\"\n{more}[database]\nsqlite = \"certs.db\"\n"
        );
        for name in ["a", "b", "c"] {
            text += &fs::read_to_string(self.path(&format!("{name}.part"))).unwrap_or_default();
        }
        let config = self.path("config.toml");
        ocsp_fcgi::demo::write_private(&config, text.as_bytes()).unwrap();
        config
    }

    fn serve(&self, more: &str) -> Running {
        let port = free_port();
        Running::start(&self.config(port, more), port)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}
