//! The real binary on an `index.txt` and on CRLs, as CAs write them.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use ocsp_fcgi::demo::KeyKind;
use ocsp_fcgi::time::{Clock, SystemClock};
use openssl::x509::X509;

use crate::support::authority::{EasyRsa, OpensslCa, replace, serial};
use crate::support::nginx::nginx_before;
use crate::support::ocsp::{Answer, CertId, Request, TRY_LATER};
use crate::support::site::{PROGRAM, Running, Site, http};
use crate::support::{OnDrop, eventually, files, free_port, logged, run};

mod mounted;

// rule: ANS-6
#[test]
fn a_revocation_by_openssl_ca_shows_within_the_window_under_load() {
    let ca = OpensslCa::new("/CN=Test CA");
    let [one, two] = ["one", "two"].map(|name| serial(&ca.issue(name, &[])));
    let responder = serve(&ca, "[database]\nindex = \"index.txt\"\n[cache]\nfreshness = \"1s\"\n");
    let said = ask(&ca.path(""), "one.crt", &responder.url());
    assert!(said.contains("one.crt: good") && said.contains("Response verify OK"), "{said}");
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let _end = OnDrop(&is_over);
        for serial in [&one, &two, &one] {
            let (responder, ca, is_over) = (&responder, &ca, &is_over);
            scope.spawn(move || {
                let der = about(&ca.certificate(), serial);
                while !is_over.load(Ordering::Relaxed) {
                    let statuses = Answer::read(&responder.post(&der)).statuses();
                    let is_known = statuses[0] == "good" || statuses[0].starts_with("revoked");
                    assert!(is_known, "{statuses:?}");
                }
            });
        }
        // It is replaced by `openssl ca` each time.
        for number in 0..3 {
            ca.issue(&format!("other{number}"), &[]);
        }
        ca.revoke("one", &["-crl_reason", "keyCompromise"]);
        let revoked = Instant::now();
        let der = about(&ca.certificate(), &one);
        let mut asked = revoked.elapsed();
        while statuses(&responder, &der) == ["good"] {
            assert!(asked < Duration::from_secs(1), "{asked:?}");
            asked = revoked.elapsed();
        }
    });
    let said = ask(&ca.path(""), "one.crt", &responder.url());
    assert!(said.contains("one.crt: revoked") && said.contains("Reason: keyCompromise"), "{said}");
    assert_eq!(statuses(&responder, &about(&ca.certificate(), &two)), ["good"]);
    assert_eq!(statuses(&responder, &about(&ca.certificate(), "77")), ["unknown"]);
}

#[test]
fn the_folder_of_easy_rsa_is_served_as_it_is() {
    let easy_rsa = EasyRsa::new();
    for name in ["one", "two"] {
        easy_rsa.easyrsa(&["build-server-full", name, "nopass"]);
    }
    easy_rsa.easyrsa(&["revoke", "two", "superseded"]);
    let port = free_port();
    let config = easy_rsa.path("config.toml");
    let text = format!(
        "port = {port}\nitcert = \"pki/ca.crt\"\nitkey = \"pki/private/ca.key\"\n\
         [database]\nindex = \"pki/index.txt\"\n"
    );
    ocsp_fcgi::demo::write_private(&config, text.as_bytes()).unwrap();
    let responder = Running::start(&config, port);
    let pki = easy_rsa.path("pki");
    for (name, wanted) in [("one", ": good"), ("two", "Reason: superseded")] {
        let said = ask(&pki, &format!("issued/{name}.crt"), &responder.url());
        let revoked = fs::read_dir(pki.join("revoked/certs_by_serial")).unwrap().flatten();
        let said = match name {
            "one" => said,
            _ => ask(&pki, revoked.last().unwrap().path().to_str().unwrap(), &responder.url()),
        };
        assert!(said.contains(wanted) && said.contains("Response verify OK"), "{name}: {said}");
    }
}

// rule: ANS-1
#[test]
fn under_a_crl_alone_unlisted_serials_are_unknown_or_good_until_it_ends_as_configured() {
    let ca = OpensslCa::new("/CN=Test CA");
    let [revoked, valid] = ["revoked", "valid"].map(|name| serial(&ca.issue(name, &[])));
    ca.revoke("revoked", &["-crl_reason", "superseded"]);
    ca.write_crl("ca.crl", &["-crldays", "1"]);
    let by_default = serve(&ca, "[database]\ncrl = \"ca.crl\"\n");
    for serial in [&valid, "77"] {
        assert_eq!(statuses(&by_default, &about(&ca.certificate(), serial)), ["unknown"]);
    }
    drop(by_default);
    let responder =
        serve(&ca, "cachefolder = \"cache\"\n[database]\ncrl = \"ca.crl\"\nunlisted = \"good\"\n");
    let der = about(&ca.certificate(), &revoked);
    assert!(statuses(&responder, &der)[0].ends_with(" 4"));
    let (_, produced_at, next_update) = Answer::read(&responder.post(&der)).times();
    assert_eq!(next_update - produced_at, 3 * 86_400, "a revocation does not end with the list");
    for serial in [&valid, "77"] {
        let der = about(&ca.certificate(), serial);
        let answer = Answer::read(&responder.post(&der));
        assert_eq!(answer.statuses(), ["good"]);
        let (_, produced_at, next_update) = answer.times();
        assert!((86_300..=86_400).contains(&(next_update - produced_at)), "the list's day");
        assert_eq!(responder.post(&der), answer.der, "kept in memory");
        let nonce = Request::about(&CertId::new(&ca.certificate(), serial)).with_nonce(&[7; 16]);
        let answer = Answer::read(&responder.post(&nonce.der()));
        assert_eq!((answer.statuses(), answer.times().2), (vec!["good".into()], next_update));
    }
    // Anybody can make up a serial: nothing of that on disk.
    assert_eq!(files(&ca.path("cache")).len(), 1);
    let head = format!("POST / HTTP/1.0\r\nContent-Length: {}\r\n\r\n", der.len());
    let response = http(responder.address(), &[head.as_bytes(), &der].concat());
    assert!(response.field("Cache-Control").unwrap().contains("public"), "{}", response.head);
}

// rule: ANS-6
#[test]
fn a_serial_that_anybody_can_make_up_gets_no_file_however_often_it_is_asked_about() {
    let ca = OpensslCa::new("/CN=Test CA");
    let listed = serial(&ca.issue("listed", &[]));
    ca.revoke("listed", &[]);
    ca.write_crl("ca.crl", &[]);
    for choice in ["at-once", "asked-again"] {
        let responder = serve(
            &ca,
            &format!(
                "cachefolder = \"{choice}\"\n[database]\ncrl = \"ca.crl\"\nunlisted = \"good\"\n\
                 [cache]\nfiles = \"{choice}\"\nfreshness = \"0s\"\n"
            ),
        );
        for (serial, status, count) in [("77", "good", 0), (&listed, "revoked", 1)] {
            let der = about(&ca.certificate(), serial);
            for _ in 0..3 {
                assert!(statuses(&responder, &der)[0].starts_with(status));
                assert_eq!(files(&ca.path(choice)).len(), count, "{choice}: {serial}");
            }
        }
    }
}

// rule: ANS-5
// rule: ANS-6
#[test]
fn a_new_crl_shows_within_the_window_and_one_that_ended_is_no_source_of_good() {
    let ca = OpensslCa::new("/CN=Test CA");
    let [one, two, three] = ["one", "two", "three"].map(|name| serial(&ca.issue(name, &[])));
    ca.revoke("two", &[]);
    ca.write_crl("ca.crl", &["-crl_lastupdate", "20260101000000Z", "-crldays", "3000"]);
    let more = "[database]\ncrl = \"ca.crl\"\nunlisted = \"good\"\n[cache]\nfreshness = \"1s\"\n";
    let responder = serve(&ca, more);
    let of = |serial: &str| about(&ca.certificate(), serial);
    assert_eq!(statuses(&responder, &of(&one)), ["good"]);
    ca.revoke("one", &[]);
    ca.write_crl("new.crl", &["-crl_lastupdate", "20260102000000Z", "-crldays", "3000"]);
    replace(&ca.path("ca.crl"), fs::read(ca.path("new.crl")).unwrap());
    let changed = Instant::now();
    let mut asked = changed.elapsed();
    while statuses(&responder, &of(&one)) == ["good"] {
        assert!(asked < Duration::from_secs(1), "{asked:?}");
        asked = changed.elapsed();
    }
    let now = SystemClock.now().civil();
    let ended = ["-crl_lastupdate", "20260103000000Z", "-crl_nextupdate", "20260104000000Z"];
    assert!(now.year >= 2026);
    ca.write_crl("old.crl", &ended);
    replace(&ca.path("ca.crl"), fs::read(ca.path("old.crl")).unwrap());
    eventually("the list has ended", || (responder.post(&of(&three)) == TRY_LATER).then_some(()));
    assert!(statuses(&responder, &of(&two))[0].starts_with("revoked"));
    logged(&ca.path("serve.log"), "ca.crl: ended on 2026-01-04T00:00:00Z");
}

// rule: ANS-1
#[test]
fn a_reload_keeps_what_was_read_of_a_file_that_cannot_be_used_now() {
    let ca = OpensslCa::new("/CN=Test CA");
    let [one, two] = ["one", "two"].map(|name| serial(&ca.issue(name, &[])));
    ca.write_crl("old.crl", &[]);
    ca.revoke("one", &[]);
    ca.write_crl("new.crl", &[]);
    let revoked = fs::read(ca.path("index.txt")).unwrap();
    let half = &revoked[..revoked.len() - 10];
    let good = fs::read(ca.path("index.txt.old")).unwrap();
    let [old, new] = ["old.crl", "new.crl"].map(|name| fs::read(ca.path(name)).unwrap());
    for (source, contents) in [
        ("index = \"status\"", [&good[..], &revoked, half]),
        ("crl = \"status\"\nunlisted = \"good\"", [&old, &new, &old]),
    ] {
        let [before, now, unusable] = contents;
        replace(&ca.path("status"), before);
        let more = format!("cachefolder = \"cache\"\n[database]\n{source}\n{AT_ONCE}");
        let responder = serve(&ca, &more);
        let [one, two] = [&one, &two].map(|serial| about(&ca.certificate(), serial));
        assert_eq!(statuses(&responder, &one), ["good"], "{source}");
        replace(&ca.path("status"), now);
        assert_eq!(statuses(&responder, &two), ["good"], "{source}: it is read by this");
        replace(&ca.path("status"), unusable);
        reload(&responder, &ca);
        assert!(statuses(&responder, &one)[0].starts_with("revoked"), "{source}");
    }
}

// rule: ANS-1
#[test]
fn a_revocation_that_is_remembered_is_no_sign_that_the_file_is_back() {
    let ca = OpensslCa::new("/CN=Test CA");
    let serials = ["revoked", "asked", "never asked"].map(|name| serial(&ca.issue(name, &[])));
    ca.revoke("revoked", &[]);
    let responder = serve(&ca, &format!("[database]\nindex = \"index.txt\"\n{AT_ONCE}"));
    let [revoked, asked, never_asked] = serials.map(|serial| about(&ca.certificate(), &serial));
    fs::rename(ca.path("index.txt"), ca.path("away")).unwrap();
    assert_eq!(statuses(&responder, &asked), ["good"], "for a grace of ten seconds");
    sleep(Duration::from_secs(11));
    for _ in 0..3 {
        assert_eq!(responder.post(&never_asked), TRY_LATER);
        assert!(statuses(&responder, &revoked)[0].starts_with("revoked"));
    }
    let log = fs::read_to_string(ca.path("serve.log")).unwrap();
    assert!(log.contains("status store unavailable"), "{log}");
    assert!(!log.contains("status store answers again"), "{log}");
    fs::rename(ca.path("away"), ca.path("index.txt")).unwrap();
    assert_eq!(statuses(&responder, &never_asked), ["good"]);
    logged(&ca.path("serve.log"), "status store answers again");
}

#[test]
fn a_reload_reads_a_crl_as_it_is_configured_then() {
    let ca = OpensslCa::new("/CN=Test CA");
    ca.write_crl("ca.crl", &[]);
    let by = |unlisted: &str| {
        format!("[database]\ncrl = \"ca.crl\"\nunlisted = \"{unlisted}\"\n{AT_ONCE}")
    };
    let responder = serve(&ca, &by("unknown"));
    let ask = |ca: &OpensslCa| statuses(&responder, &about(&ca.certificate(), "0a1b"));
    assert_eq!(ask(&ca), ["unknown"]);
    configure(&ca, responder.port, &by("good"));
    reload(&responder, &ca);
    assert_eq!(ask(&ca), ["good"]);
    // Of the same name, with another key.
    let other = OpensslCa::new("/CN=Test CA");
    other.issue("revoked", &[]);
    other.revoke("revoked", &[]);
    other.write_crl("ca.crl", &["-crl_lastupdate", "20260101000000Z", "-crldays", "3000"]);
    for name in ["ca.crt", "ca.key", "ca.crl"] {
        replace(&ca.path(name), fs::read(other.path(name)).unwrap());
        fs::set_permissions(ca.path(name), Permissions::from_mode(0o600)).unwrap();
    }
    reload(&responder, &ca);
    assert!(ask(&other)[0].starts_with("revoked"), "{:?}", ask(&other));
}

// rule: ANS-6, WEB-3
#[test]
fn nginx_repeats_no_answer_from_the_end_of_its_list_on() {
    let (ca, site) = (OpensslCa::new("/CN=Test CA"), Site::new(KeyKind::P256));
    ca.write_crl("ca.crl", &[]);
    let more = "[database]\ncrl = \"ca.crl\"\nunlisted = \"good\"\n[cache]\nfreshness = \"1h\"\n";
    let responder = serve(&ca, more);
    let nginx = nginx_before(&site, &format!("server {};", responder.address()));
    let (mut client, der) = (nginx.client(), about(&ca.certificate(), "77"));
    ca.write_crl("short.crl", &["-crlsec", "8"]);
    replace(&ca.path("ca.crl"), fs::read(ca.path("short.crl")).unwrap());
    let (mut hits, mut end) = (0, None);
    let now = || SystemClock.now().unix();
    while end.is_none_or(|end| now() < end + 2) {
        let asked = now();
        let response = client.post(&der);
        if response.body != TRY_LATER {
            let end = *end.insert(Answer::read(&response.body).times().2);
            assert!(asked < end, "{asked} {end}: {}", response.head);
            let caching = response.field("Cache-Control").unwrap();
            let max_age = caching.strip_prefix("max-age=").unwrap().split(',').next().unwrap();
            assert!(asked + max_age.parse::<i64>().unwrap() <= end, "{asked} {end}: {caching}");
            hits += usize::from(response.field("X-Cache") == Some("HIT"));
        }
        sleep(Duration::from_millis(20));
    }
    assert_ne!(hits, 0, "nginx has something to repeat");
}

#[test]
fn each_of_several_cas_has_its_own_source() {
    let [first, second] =
        ["First CA", "Second CA"].map(|name| OpensslCa::new(&format!("/CN={name}")));
    for ca in [&first, &second] {
        ca.issue("one", &[]); // the same serial
    }
    second.revoke("one", &[]);
    second.write_crl("ca.crl", &[]);
    let port = free_port();
    let issuer = |ca: &OpensslCa, more: &str| {
        let folder = ca.folder.path().display();
        format!(
            "[[issuer]]\ncertificate = \"{folder}/ca.crt\"\nkey = \"{folder}/ca.key\"\n{more}\n"
        )
    };
    let crl = second.path("ca.crl");
    let text = format!(
        "port = {port}\n{}{}",
        issuer(&first, &format!("index = \"{}\"", first.path("index.txt").display())),
        issuer(&second, &format!("crl = \"{}\"", crl.display()))
    );
    let config = first.path("config.toml");
    ocsp_fcgi::demo::write_private(&config, text.as_bytes()).unwrap();
    let responder = Running::start(&config, port);
    assert_eq!(statuses(&responder, &about(&first.certificate(), "0a1b")), ["good"]);
    assert!(statuses(&responder, &about(&second.certificate(), "0a1b"))[0].starts_with("revoked"));
    drop(responder);
    let said = check(&config);
    assert!(said.contains(&format!("{}: rows: 1", first.path("index.txt").display())), "{said}");
    assert!(said.contains(&format!("{}: revoked: 1, from ", crl.display())), "{said}");
    fs::copy(first.path("ca.key"), &crl).unwrap();
    let said = check(&config);
    let wanted = format!("WRONG    database {}: neither a CRL in DER nor in PEM", crl.display());
    assert!(said.contains(&wanted), "{said}");
}

/// Serves the CA in this folder; `more` may begin with flat keys.
fn serve(ca: &OpensslCa, more: &str) -> Running {
    let port = free_port();
    Running::start(&configure(ca, port, more), port)
}

#[track_caller]
fn reload(responder: &Running, ca: &OpensslCa) {
    let reloads = || {
        let log = fs::read_to_string(ca.path("serve.log")).unwrap();
        assert!(!log.contains("not reloaded"), "{log}");
        log.matches("reloaded: ").count()
    };
    let before = reloads();
    responder.signal(Signal::SIGHUP);
    eventually("it has reloaded", || (reloads() > before).then_some(()));
}

fn configure(ca: &OpensslCa, port: u16, more: &str) -> PathBuf {
    let config = ca.path("config.toml");
    let text = format!("port = {port}\nitcert = \"ca.crt\"\nitkey = \"ca.key\"\n{more}");
    ocsp_fcgi::demo::write_private(&config, text.as_bytes()).unwrap();
    config
}

/// What `openssl ocsp` says of a certificate; `folder` has the CA's, `ca.crt`.
fn ask(folder: &Path, certificate: &str, url: &str) -> String {
    let mut command = Command::new("openssl");
    command.current_dir(folder).args(["ocsp", "-CAfile", "ca.crt", "-issuer", "ca.crt"]);
    let output = run(command.args(["-cert", certificate, "-url", url]), "openssl");
    String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
}

fn check(config: &Path) -> String {
    let output = run(Command::new(PROGRAM).args(["check", "--config"]).arg(config), "ocsp-fcgi");
    String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
}

fn about(ca: &X509, serial: &str) -> Vec<u8> {
    Request::about(&CertId::new(ca, serial)).der()
}

#[track_caller]
fn statuses(responder: &Running, der: &[u8]) -> Vec<String> {
    Answer::read(&responder.post(der)).statuses()
}

/// Every question is one to the source.
const AT_ONCE: &str = "[cache]\nfreshness = \"0s\"\n";
