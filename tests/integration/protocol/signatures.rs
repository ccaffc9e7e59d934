//! Who signs, with what, over which times; and whether others verify it.

use std::fs;
use std::process::Command;

use ocsp_fcgi::demo::{KeyKind, Purpose, ThrowawayCa};
use ocsp_fcgi::time::{Clock, SystemClock, Timestamp};

use super::{Signs, World, configuration, data};
use crate::support::ocsp::{Answer, CertId, Request, children, content, raw_basic, tlv};
use crate::support::run;
use crate::support::site::{PROGRAM, Running, Site};

// rule: RSP-6
#[test]
fn openssl_verifies_answers_of_every_kind_of_key() {
    let kinds = [
        KeyKind::Rsa2048,
        KeyKind::P256,
        KeyKind::P384,
        KeyKind::P521,
        KeyKind::Ed25519,
        KeyKind::Ed448,
    ];
    for kind in kinds {
        let site = Site::with_certificates(kind);
        let responder = site.serve("");
        site.assert_three_answers(&responder.url(), &[]);
        site.assert_three_answers(&responder.url(), &["-sha256"]);
        site.assert_three_answers(&responder.url(), &["-no_nonce"]);
    }
}

// rule: RSP-6
#[test]
fn answers_are_signed_with_sha_2_or_without_a_hash_and_never_with_sha_1() {
    for (kind, algorithm) in [
        (KeyKind::Rsa2048, "1.2.840.113549.1.1.11"),
        (KeyKind::P256, "1.2.840.10045.4.3.2"),
        (KeyKind::P384, "1.2.840.10045.4.3.3"),
        (KeyKind::P521, "1.2.840.10045.4.3.4"),
        (KeyKind::Ed25519, "1.3.101.112"),
        (KeyKind::Ed448, "1.3.101.113"),
    ] {
        let site = World::new(kind);
        for request in [site.about("0a1b"), site.about("0a1b").with_nonce(b"x")] {
            let answer = site.ask(&request);
            assert_eq!(answer.basic.signature_algorithm.oid.to_string(), algorithm);
            assert!(answer.is_signed_by(&site.ca()));
        }
    }
}

// rule: RSP-1
#[test]
fn the_responder_is_named_by_the_hash_of_its_key_or_by_its_name() {
    for delegated in [Signs::Itself, Signs::ByDelegate] {
        for kind in ["key", "name"] {
            let site = World::signed(delegated, &format!("[answers]\nresponder_id = \"{kind}\"\n"));
            let signer = site.signer();
            for request in [site.about("0a1b"), site.about("0a1b"), site.about("ff02")] {
                let answer = site.ask(&request);
                let wanted = match kind {
                    // The value of the BIT STRING, hashed.
                    "key" => {
                        let key_hash = CertId::new(&signer, "01").key_hash;
                        tlv(0xa2, &[&tlv(4, &[&key_hash])])
                    }
                    _ => tlv(0xa1, &[&signer.subject_name().to_der().unwrap()]),
                };
                assert_eq!(data(&answer.der)[0], wanted);
                assert!(answer.is_signed_by(&signer));
            }
        }
    }
}

// rule: RSP-5
#[test]
fn a_delegated_signer_sends_its_certificate_and_a_ca_does_not() {
    let site = World::signed(Signs::Itself, "");
    let answer = site.ask(&site.about("0a1b"));
    assert!(answer.basic.certs.is_none());
    assert_eq!(children(&raw_basic(&answer.der)).len(), 3, "no empty certs");

    let site = World::signed(Signs::ByDelegate, "");
    for request in [site.about("0a1b"), site.about("0a1b").with_nonce(b"n"), site.about("0c03")] {
        let answer = site.ask(&request);
        let certs = children(&raw_basic(&answer.der))[3].to_vec();
        assert_eq!(certs, tlv(0xa0, &[&tlv(0x30, &[&site.signer().to_der().unwrap()])]));
        assert!(answer.is_signed_by(&site.signer()));
    }
    site.site.assert_three_answers(&site.responder.url(), &[]);
}

// rule: RSP-5
#[test]
fn a_signer_that_may_not_sign_is_refused_at_the_start_with_the_reason() {
    let site = Site::with_certificates(KeyKind::P256);
    let stranger = ThrowawayCa::new("Stranger", KeyKind::P256, SystemClock.now()).unwrap();
    let namesake = ThrowawayCa::new("Test CA", KeyKind::P256, SystemClock.now()).unwrap();
    let serial = ocsp_fcgi::serial::Serial::from_hex("d1").unwrap();
    let signer = (Purpose::OcspSigner, KeyKind::P256);
    let old = Timestamp::from_unix(SystemClock.now().unix() - 20 * 86_400);
    let past = ThrowawayCa::new("Test CA", KeyKind::P256, old).unwrap();
    past.identity.write_certificate(&site.path("past.crt")).unwrap();
    let later = Timestamp::from_unix(SystemClock.now().unix() + 20 * 86_400);
    let future = ThrowawayCa::new("Test CA", KeyKind::P256, later).unwrap();
    future.identity.write_certificate(&site.path("future.crt")).unwrap();
    let issue = |ca: &ThrowawayCa, purpose| ca.issue("Signer", &serial, purpose, 10).unwrap();
    for (ca, identity, reason) in [
        (
            "ca",
            issue(&site.ca, (Purpose::Leaf, KeyKind::P256)),
            "extendedKeyUsage lacks OCSPSigning",
        ),
        ("ca", issue(&stranger, signer), "not issued by this CA: the issuer's name differs"),
        (
            "ca",
            issue(&namesake, signer),
            "not issued by this CA: the signature is not of the CA's key",
        ),
        ("past", issue(&past, signer), "it ended on "),
        ("future", issue(&future, signer), "it is not valid before "),
    ] {
        identity.write(site.folder.path(), "signer").unwrap();
        let config = site.write_config(&format!(
            "port = 1\nitcert = \"{ca}.crt\"\nitsigner = \"signer.crt\"\nitkey = \"signer.key\"\n\
             [database]\nsqlite = \"certs.db\"\n"
        ));
        // Should it start all the same, it ends at once, and with another code.
        let mut command = Command::new(PROGRAM);
        let output =
            run(command.args(["serve", "--until-eof", "--config"]).arg(&config), "ocsp-fcgi");
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{stderr}");
        assert!(stderr.contains(reason), "wanted {reason:?} in {stderr}");
        assert!(stderr.contains("signer.crt may not sign for "), "{stderr}");
        assert!(!stderr.contains("panicked"), "{stderr}");
    }
}

// rule: RSP-6
#[test]
fn a_key_of_a_kind_without_a_place_in_ocsp_is_refused_at_the_start() {
    let site = Site::with_certificates(KeyKind::P256);
    for (kind, reason) in [
        (&["rsa:1024"][..], "RSA of 1024 bits"),
        (&["ec", "-pkeyopt", "ec_paramgen_curve:secp256k1"], "on the curve secp256k1"),
        (&["dsa:dsa.pem"], "the key is of the kind dsaEncryption, wanted: RSA of 2048 bits"),
    ] {
        if kind == ["dsa:dsa.pem"] {
            let mut command = Command::new("openssl");
            command.args(["dsaparam", "-out", "dsa.pem", "1024"]);
            run(command.current_dir(site.folder.path()), "openssl");
        }
        let mut command = Command::new("openssl");
        command.args(["req", "-x509", "-nodes", "-subj", "/CN=Weak", "-days", "9", "-newkey"]);
        command.args(kind).args(["-keyout", "weak.key", "-out", "weak.crt"]);
        let made = run(command.current_dir(site.folder.path()), "openssl");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let config = site.write_config(
            "port = 1\nitcert = \"weak.crt\"\nitkey = \"weak.key\"\n[database]\nsqlite = \"certs.db\"\n",
        );
        let mut command = Command::new(PROGRAM);
        let output = run(command.args(["check", "--config"]).arg(&config), "ocsp-fcgi");
        let stdout = String::from_utf8_lossy(&output.stdout);
        assert_eq!(output.status.code(), Some(1), "{stdout}");
        assert!(stdout.contains(reason), "wanted {reason:?} in {stdout}");
    }
}

// rule: RSP-5, RSP-6
/// As OpenSSL 3.0 has it with ML-DSA.
#[test]
fn a_key_newer_than_openssl_is_named_and_nobody_is_blamed_for_it() {
    let site = Site::with_certificates(KeyKind::Ed25519);
    let mut der = site.ca.identity.certificate.to_der().unwrap();
    let ed25519 = b"\x06\x03\x2b\x65\x70";
    while let Some(at) = der.windows(ed25519.len()).position(|octets| octets == ed25519) {
        der[at + ed25519.len() - 1] = 0x78;
    }
    fs::write(site.path("newer.crt"), der).unwrap();
    let serial = ocsp_fcgi::serial::Serial::from_hex("d1").unwrap();
    let signer = site.ca.issue("Signer", &serial, (Purpose::OcspSigner, KeyKind::P256), 10);
    signer.unwrap().write(site.folder.path(), "signer").unwrap();
    for (signer, reason) in [
        (
            "itsigner = \"signer.crt\"\n",
            "newer.crt: it cannot be verified: OpenSSL does not load the CA's key\n",
        ),
        ("", "the key is of the kind 1.3.101.120, which OpenSSL does not load, wanted: RSA"),
    ] {
        let config = site.write_config(&format!(
            "port = 1\nitcert = \"newer.crt\"\n{signer}itkey = \"signer.key\"\n\
             [database]\nsqlite = \"certs.db\"\n"
        ));
        let mut command = Command::new(PROGRAM);
        let output = run(command.args(["check", "--config"]).arg(&config), "ocsp-fcgi");
        let stdout = String::from_utf8_lossy(&output.stdout);
        assert_eq!(output.status.code(), Some(1), "{stdout}");
        assert!(stdout.contains(reason), "wanted {reason:?} in {stdout}");
    }
}

// rule: RSP-4
#[test]
fn no_answer_reaches_past_the_end_of_the_signers_certificate() {
    let long = "[answers]\nvalidity = \"3650d\"\nnon_issued_validity = \"3650d\"\n";
    let site = World::signed(Signs::ByDelegate, long);
    let ends = Timestamp::from_unix(site.not_after());
    for (serial, told) in [("0a1b", "good"), ("0c03", "unknown")] {
        for request in [site.about(serial), site.about(serial).with_nonce(b"n")] {
            let answer = site.ask(&request);
            assert_eq!((answer.statuses(), answer.times().2), (vec![told.into()], ends.unix()));
        }
    }
    // A CA's own answers reach as far as it does, and so do those of a delegate that
    // lives longer.
    let long = "[answers]\nvalidity = \"3650d\"\n";
    let site = World::signed(Signs::Itself, long);
    let ends = site.not_after();
    assert_eq!(site.ask(&site.about("0a1b")).times().2, ends);
    let serial = ocsp_fcgi::serial::Serial::from_hex("d1").unwrap();
    let kind = (Purpose::OcspSigner, KeyKind::P256);
    let delegate = site.site.ca.issue("Signer", &serial, kind, 5000).unwrap();
    delegate.write(site.site.folder.path(), "signer").unwrap();
    let config = site.site.write_config(&configuration(
        site.responder.port,
        "itsigner = \"signer.crt\"",
        "signer.key",
        long,
    ));
    let port = site.responder.port;
    drop(site.responder);
    let responder = Running::start(&config, port);
    let request = Request::about(&CertId::new(&site.site.ca.identity.certificate, "0a1b"));
    assert_eq!(Answer::read(&responder.post(&request.der())).times().2, ends);
}

// rule: RSP-3, RSP-2
#[test]
fn times_are_in_order_and_in_whole_seconds() {
    let site = World::new(KeyKind::P256);
    for request in [site.about("0a1b"), site.about("0c03"), site.about("ff02").with_nonce(b"n")] {
        let before = SystemClock.now().unix();
        let answer = site.ask(&request);
        let after = SystemClock.now().unix();
        let (this_update, produced_at, next_update) = answer.times();
        assert_eq!(this_update, produced_at, "one reading of the clock");
        assert!((before..=after).contains(&produced_at) && after < next_update);
        let single = children(children(&data(&answer.der)[2])[0]).concat();
        let times = single.windows(17).filter(|it| it.starts_with(&[0x18, 15]) && it[16] == b'Z');
        assert!(times.count() >= 2, "YYYYMMDDHHMMSSZ");
        assert_eq!(content(data(&answer.der)[1].as_slice()).len(), 15);
    }
    let site = World::with(KeyKind::P256, "[answers]\nback_date = \"10m\"\n");
    let answer = site.ask(&site.about("0a1b"));
    let (this_update, produced_at, next_update) = answer.times();
    assert_eq!(produced_at - this_update, 600);
    assert!(produced_at <= SystemClock.now().unix());
    assert_eq!(next_update - this_update, 3 * 86_400);
}

// rule: RSP-2
#[test]
fn an_answer_is_the_shortest_der_there_is() {
    let site = World::new(KeyKind::P256);
    let answer = site.ask(&site.about("0a1b"));
    let data = data(&answer.der);
    // responderID, producedAt, responses: no version, no empty extensions.
    assert_eq!(data.iter().map(|part| part[0]).collect::<Vec<_>>(), [0xa2, 0x18, 0x30]);
    let single = children(&data[2])[0];
    let tags: Vec<_> = children(single).iter().map(|part| part[0]).collect();
    assert_eq!(tags, [0x30, 0x80, 0x18, 0xa0]);
    assert!(site.site.read_answer("good", &answer.der).contains("good.crt: good"));
}
