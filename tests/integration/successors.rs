//! Signers that end or are replaced: who signs when, and what has been kept.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;
use std::time::Duration;

use nix::sys::signal::Signal;
use ocsp_fcgi::app::{self, Keys};
use ocsp_fcgi::cache::{Memory, ResponseCache};
use ocsp_fcgi::config::Config;
use ocsp_fcgi::demo::{Identity, KeyKind, Purpose, ThrowawayCa};
use ocsp_fcgi::ocsp::response::SignedAnswer;
use ocsp_fcgi::responder::issuers::{Issuer, TakeOver};
use ocsp_fcgi::responder::policy::Policy;
use ocsp_fcgi::serial::Serial;
use ocsp_fcgi::signer::certificate::Certificate;
use ocsp_fcgi::signer::key::Key;
use ocsp_fcgi::signer::{RsaPadding, Signer};
use ocsp_fcgi::status::IssuerId;
use ocsp_fcgi::store::Mapping;
use ocsp_fcgi::store::sqlite::{Options, Sqlite};
use ocsp_fcgi::time::{Clock, SystemClock, Timestamp};

use crate::cache_commands::{cache, first_line};
use crate::presigned::signed_by;
use crate::support::ocsp::{Answer, INTERNAL_ERROR};
use crate::support::site::{PROGRAM, Running, Site};
use crate::support::{eventually, files, free_port, logged, run};

// rule: RSP-4
// rule: RSP-5
#[test]
fn a_successor_takes_over_before_answers_would_be_cut_short() {
    for (days_left, signs) in [(1, "next"), (30, "signer")] {
        let world = Succession::new(days_left);
        let responder = world.serve("");
        let answer = world.ask(&responder);
        assert!(answer.is_signed_by(&world.certificate(signs)), "{days_left} days left");
        let (_, this_update, next_update) = answer.times();
        assert_eq!(next_update - this_update, 3 * 86_400);
    }
}

#[test]
fn a_successor_takes_over_at_the_instant_that_the_configuration_names() {
    for (instant, signs) in
        [("2026-01-01T00:00:00Z", "next"), ("2999-01-01T00:00:00+01:00", "signer")]
    {
        let world = Succession::new(30);
        let responder = world.serve(&format!("next_from = {instant}\n"));
        assert!(world.ask(&responder).is_signed_by(&world.certificate(signs)), "{instant}");
    }
}

#[test]
fn from_the_named_instant_on_no_answer_of_the_predecessor_is_given() {
    let world = Succession::new(30);
    let instant = Timestamp::from_unix(SystemClock.now().unix() + 3);
    let responder = world.serve(&format!("next_from = {instant}\n"));
    let mut answers = Vec::new();
    eventually("the successor signs", || {
        let before = SystemClock.now();
        let answer = world.ask(&responder);
        let by_next = answer.is_signed_by(&world.certificate("next"));
        assert!(by_next || answer.is_signed_by(&world.certificate("signer")));
        assert!(by_next || before <= instant, "{before}");
        answers.push(by_next);
        by_next.then_some(())
    });
    assert!(!answers[0], "kept in memory by the predecessor at first");
}

#[test]
fn a_signer_that_has_ended_gives_way_to_its_successor_at_the_start() {
    let world = Succession::new(-1);
    let responder = world.serve("");
    assert!(world.ask(&responder).is_signed_by(&world.certificate("next")));
    logged(&world.site.path("serve.log"), "its successor signs");
}

#[test]
fn a_signer_that_has_ended_gives_way_before_the_instant_that_the_configuration_names() {
    let world = Succession::new(-1);
    let late = "next_from = 2999-01-01T00:00:00Z\n";
    let responder = world.serve(late);
    assert!(world.ask(&responder).is_signed_by(&world.certificate("next")));
    let output = world.run(&["check"], late);
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("its successor signs") && !said.contains("ok       signer CN=signer"));
    assert!(said.contains("ok       signer CN=next: ") && !said.contains("from 2999"), "{said}");
}

// rule: RSP-5
#[test]
fn a_clock_that_was_ahead_at_the_start_makes_no_successor_sign_before_it_begins() {
    let world = Succession::with_next(30, (in_seconds(20 * 86_400), 365));
    let config = Config::load(&world.config("")).unwrap().0;
    let ahead = in_seconds(40 * 86_400);
    let identity = app::identity(&config, &config.issuers[0], Keys::AtOnce, ahead).unwrap();
    let mut issuer = issuer(&world.site.ca.identity, &[]);
    for (signer, take_over) in identity.signers {
        let cache = ResponseCache::new(Arc::new(Memory::new(1 << 20)), None, b"a signer");
        issuer.add(signer, cache, take_over);
    }
    for (now, signs) in [(ahead, "next"), (in_seconds(0), "signer")] {
        let signer = issuer.acting(now).unwrap().signer().certificate().x509().to_der().unwrap();
        assert_eq!(signer, world.certificate(signs).to_der().unwrap());
    }
}

// rule: RSP-5
#[test]
fn a_successor_that_has_not_begun_signs_nothing_when_its_predecessor_has_ended() {
    let world = Succession::with_next(-1, (in_seconds(10 * 86_400), 365));
    // Should it start all the same, it ends at once, and with another code.
    for arguments in [&["check"][..], &["serve", "--until-eof"]] {
        let output = world.run(arguments, "");
        assert_eq!(output.status.code(), Some(1));
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said);
        for part in ["signer.crt may not sign for ", "next.crt: it is not valid before "] {
            assert!(said.contains(part), "wanted {part:?} in {said}");
        }
        assert!(!said.contains("all is well") && !said.contains("its successor signs"), "{said}");
        assert!(!said.contains("ok       signer CN=signer"), "{said}");
    }
}

// rule: RSP-5
#[test]
fn a_successor_that_begins_after_the_end_of_its_predecessor_signs_from_then_on() {
    let begins = in_seconds(8);
    let world = Succession::with_next(-1, (begins, 365));
    let responder = world.serve(&world.another_ca());
    let log = logged(&world.site.path("serve.log"), "its CA is not answered about, the others are");
    assert!(!log.contains("no answer reaches further than"), "{log}");
    let answer = eventually("the successor signs", || {
        let der = responder.post(&world.question());
        (der != INTERNAL_ERROR).then(|| Answer::read(&der))
    });
    assert!(answer.times().1 >= begins.unix());
    assert!(answer.is_signed_by(&world.certificate("next")));
}

#[test]
fn check_says_when_a_successor_begins_to_sign_and_warns_where_nobody_signs_before() {
    for (begins_in_days, is_late) in [(0, false), (29, false), (31, true)] {
        let begins = in_seconds(begins_in_days * 86_400);
        let world = Succession::with_next(30, (begins, 365));
        let output = world.run(&["check"], "");
        assert_eq!(output.status.code(), Some(0));
        let said = String::from_utf8(output.stdout).unwrap();
        let ends = world.signer.certificate.clone();
        let ends = Certificate::new(ends).unwrap().not_after();
        let from = begins.max(ends.saturating_sub(Duration::from_secs(3 * 86_400)));
        assert!(
            said.contains(&format!("ok       signer CN=next: ecdsa-with-SHA256, from {from} on, ")),
            "{said}"
        );
        let warning = format!(
            "next.crt: begins on {begins}, after that of the present signer has ended on {ends}: nobody"
        );
        assert_eq!(said.contains(&warning), is_late, "{said}");
    }
}

// rule: RSP-4
#[test]
fn a_next_signer_that_will_never_sign_is_left_out_with_a_warning() {
    let ended = Succession::with_next(60, (in_seconds(-50 * 86_400), 40));
    let too_soon = Succession::with_next(60, (in_seconds(0), 20));
    for (world, more, warning) in [
        (&ended, "", "next.crt: ended on "),
        (&ended, "next_from = 2026-01-01T00:00:00Z\n", "next.crt: ended on "),
        (&too_soon, "", "next.crt: ends on "),
    ] {
        let output = world.run(&["check"], more);
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!(output.status.code(), Some(0), "{said}");
        let responder = world.serve(&format!("{more}{}", world.another_ca()));
        assert!(world.ask(&responder).is_signed_by(&world.certificate("signer")));
        let log = logged(&world.site.path("serve.log"), warning);
        for said in [said, log] {
            assert!(
                said.contains(warning) && said.contains("the present signer goes on"),
                "{said}"
            );
            for wrong in ["no answer reaches further than", "not answered about", "successor signs"]
            {
                assert!(!said.contains(wrong), "{wrong}: {said}");
            }
        }
    }
}

#[test]
fn what_is_warmed_for_a_successor_is_given_once_it_has_taken_over() {
    let world = Succession::new(30);
    let instant = Timestamp::from_unix(SystemClock.now().unix() + 6);
    let own = format!("next_from = {instant}\n");
    let said = first_line(&cache(&world.config(&own), &["warm", "--next"]));
    assert!(said.starts_with("signed 2, already there 0,"), "{said}");
    let files = files(&world.site.path("cache"));
    let warmed: Vec<_> = files.iter().map(|path| fs::read(path).unwrap()).collect();
    let is_by_next = |der: &Vec<u8>| Answer::read(der).is_signed_by(&world.certificate("next"));
    assert!(warmed.iter().all(is_by_next));
    let responder = world.serve(&own);
    let given = eventually("the successor has taken over", || {
        let answer = world.ask(&responder);
        answer.is_signed_by(&world.certificate("next")).then_some(answer)
    });
    assert!(warmed.contains(&given.der), "signed again");

    // What would have ended by then is not signed.
    let late = in_seconds(20 * 86_400);
    let output = cache(&world.config(&format!("next_from = {late}\n")), &["warm", "--next"]);
    assert_eq!(output.status.code(), Some(1));
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(stderr.contains(&format!("takes over on {late}, when answers")), "{stderr}");
}

#[test]
fn a_reload_brings_the_next_signer_without_a_gap() {
    let site = Site::with_certificates(KeyKind::P256);
    let responder = site.serve("");
    let ask = || Answer::read(&responder.post(&site.request("good", &["-no_nonce"])));
    let ca = &site.ca.identity.certificate;
    assert!(ask().is_signed_by(ca));
    let signer = site.delegate(Purpose::OcspSigner).certificate;
    let text = fs::read_to_string(site.path("config.toml")).unwrap();
    let text =
        text.replace("itkey = \"ca.key\"", "itkey = \"signer.key\"\nitsigner = \"signer.crt\"");
    site.write_config(&text);
    responder.signal(Signal::SIGHUP);
    eventually("the new signer signs", || {
        let answer = ask();
        assert!(answer.is_signed_by(ca) || answer.is_signed_by(&signer));
        answer.is_signed_by(&signer).then_some(())
    });
}

// rule: RSP-4
#[test]
fn the_end_of_a_signer_is_told_30_days_ahead_by_check_and_log() {
    let world = Succession::new(20);
    let config = world.config("");
    let text = fs::read_to_string(&config).unwrap();
    let alone: String = text
        .lines()
        .filter(|line| !line.starts_with("next_"))
        .map(|line| format!("{line}\n"))
        .collect();
    for (text, warned) in [(text, false), (alone, true)] {
        world.site.write_config(&text);
        let check =
            run(Command::new(PROGRAM).arg("check").arg("--config").arg(&config), "ocsp-fcgi");
        let said = String::from_utf8(check.stdout).unwrap();
        assert_eq!(said.contains("when a certificate ends: days=19"), warned, "{said}");
    }
}

// rule: RSP-4
#[test]
fn a_successor_signs_nothing_before_its_certificate_begins() {
    let now = SystemClock.now();
    let ca = ThrowawayCa::new("Test CA", KeyKind::P256, now).unwrap();
    // By the same CA, later; the signer has gone on for too long by then.
    let later = now.saturating_add(Duration::from_secs(10 * 3_600));
    let same_ca = ThrowawayCa::with_key("Test CA", ca.identity.key.clone(), later).unwrap();
    let [signer, next] = [(&ca, "d1", 1), (&same_ca, "d2", 365)].map(|(ca, serial, days)| {
        let serial = Serial::from_hex(serial).unwrap();
        ca.issue("Signer", &serial, (Purpose::OcspSigner, KeyKind::P256), days).unwrap()
    });
    let issuer = issuer(&ca.identity, &[&signer, &next]);
    let begins = Certificate::new(next.certificate).unwrap().not_before();
    assert_eq!(begins, later.saturating_sub(Duration::from_secs(3_600)));
    let ends = |at| issuer.acting(at).unwrap().ends();
    assert!(ends(begins.saturating_sub(Duration::from_secs(1))) < ends(begins));
}

// rule: ANS-6, RSP-4
#[test]
fn a_kept_answer_that_reaches_past_the_end_of_its_signer_is_not_taken_for_its_own() {
    let now = SystemClock.now().unix();
    let ca = ThrowawayCa::new("Test CA", KeyKind::P256, SystemClock.now()).unwrap();
    let issuer = issuer(&ca.identity, &[&ca.identity]);
    let acting = issuer.acting(SystemClock.now()).unwrap();
    let ends = acting.ends().unix();
    for (next_update, is_own) in [(now + 9, true), (ends, true), (ends + 1, false)] {
        let der = signed_by(&ca, "0a1b", (now, next_update));
        let answer = SignedAnswer::from_der(&der).unwrap();
        assert_eq!(acting.has_signed(&answer), is_own, "{next_update} {ends}");
    }
}

/// A CA for which these sign, one after the other.
fn issuer(ca: &Identity, signers: &[&Identity]) -> Issuer {
    let certificate = |of: &Identity| Certificate::new(of.certificate.clone()).unwrap();
    let mapping = Mapping::of_table("list_certs");
    let store = Arc::new(Sqlite::open(Options { path: "nowhere.db".into(), mapping }));
    let mut issuer = Issuer::new(IssuerId(0), certificate(ca), Policy::default(), store);
    for identity in signers {
        let key = Key::in_memory(identity.key.clone());
        let signer = Signer::new(key, certificate(identity), RsaPadding::Pkcs1).unwrap();
        let memory = Arc::new(Memory::new(1 << 20));
        let cache = ResponseCache::new(memory, None, signer.certificate().der());
        issuer.add(signer, cache, TakeOver::BeforeTheEnd);
    }
    issuer
}

/// A CA whose delegated signer ends soon, and the next signer.
struct Succession {
    site: Site,
    port: u16,
    signer: Identity,
    next: Identity,
}

impl Succession {
    /// The present signer's certificate has `days_left` days; the next one's, a year.
    fn new(days_left: i64) -> Self {
        Self::with_next(days_left, (in_seconds(0), 365))
    }

    /// The same where the next one's certificate begins then, and has so many days.
    fn with_next(days_left: i64, (next_begins, next_days): (Timestamp, u32)) -> Self {
        // The CA, and so its signer, begins so long ago that the signer can have ended.
        let mut site = Site::with_certificates(KeyKind::P256);
        site.ca = ThrowawayCa::new("Old CA", KeyKind::P256, in_seconds(-100 * 86_400)).unwrap();
        site.ca.identity.write_certificate(&site.path("ca.crt")).unwrap();
        // The same CA, by another certificate, which begins an hour before it is told to.
        let (key, begins) = (site.ca.identity.key.clone(), next_begins.unix() + 3_600);
        let later = ThrowawayCa::with_key("Old CA", key, Timestamp::from_unix(begins)).unwrap();
        let issue = |ca: &ThrowawayCa, name: &str, serial: &str, days| {
            let kind = (Purpose::OcspSigner, KeyKind::P256);
            let serial = Serial::from_hex(serial).unwrap();
            let identity = ca.issue(name, &serial, kind, days).unwrap();
            identity.write(site.folder.path(), name).unwrap();
            identity
        };
        let signer = issue(&site.ca, "signer", "d1", u32::try_from(100 + days_left).unwrap());
        let next = issue(&later, "next", "d2", next_days);
        Self { site, port: free_port(), signer, next }
    }

    /// The `[[issuer]]` of a CA that nobody asks about.
    fn another_ca(&self) -> String {
        let ca = ThrowawayCa::new("Other CA", KeyKind::P256, SystemClock.now()).unwrap();
        ca.identity.write(self.site.folder.path(), "other").unwrap();
        "[[issuer]]\ncertificate = \"other.crt\"\nkey = \"other.key\"\ntable = \"other\"\n"
            .to_owned()
    }

    fn config(&self, more: &str) -> PathBuf {
        self.site.write_config(&format!(
            "port = {}\ncachedays = 3\ncachefolder = \"cache\"\n\
             [database]\nsqlite = \"certs.db\"\n[[issuer]]\n\
             certificate = \"ca.crt\"\nkey = \"signer.key\"\nsigner = \"signer.crt\"\n\
             next_key = \"next.key\"\nnext_signer = \"next.crt\"\n{more}",
            self.port
        ))
    }

    fn serve(&self, more: &str) -> Running {
        let config: &Path = &self.config(more);
        Running::start(config, self.port)
    }

    /// A command with this configuration, to its end.
    fn run(&self, arguments: &[&str], more: &str) -> Output {
        let config = self.config(more);
        run(Command::new(PROGRAM).args(arguments).arg("--config").arg(&config), "ocsp-fcgi")
    }

    fn question(&self) -> Vec<u8> {
        self.site.about("0a1b").der()
    }

    fn ask(&self, responder: &Running) -> Answer {
        Answer::read(&responder.post(&self.question()))
    }

    fn certificate(&self, name: &str) -> openssl::x509::X509 {
        match name {
            "next" => self.next.certificate.clone(),
            _ => self.signer.certificate.clone(),
        }
    }
}

fn in_seconds(seconds: i64) -> Timestamp {
    Timestamp::from_unix(SystemClock.now().unix() + seconds)
}
