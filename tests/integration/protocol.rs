//! Requests of every kind, good and bad, and the answers of the real binary: read by
//! OpenSSL's client, by x509-ocsp, and octet by octet.

use std::fs;
use std::process::Command;

use ocsp_fcgi::demo::{KeyKind, Purpose, ThrowawayCa};
use ocsp_fcgi::status::{CertStatus, RevocationReason};
use ocsp_fcgi::store::ledger::SqliteLedger;
use ocsp_fcgi::store::sqlite::Options;
use ocsp_fcgi::store::{Mapping, StatusLedger};
use ocsp_fcgi::time::{Clock, SystemClock, Timestamp};
use openssl::x509::X509;

use crate::support::ocsp::{
    ACCEPTABLE_RESPONSES, Answer, CertId, EXTENDED_REVOKE, INTERNAL_ERROR, MALFORMED, MD5, NONCE,
    NULL, Request, SHA1, SHA256, SHA384, SHA512, TRY_LATER, UNAUTHORIZED, UNHEARD_OF, children,
    content, critical_extension, extension, octets, raw_basic, raw_cert_ids, sequence, tlv,
};
use crate::support::site::{PROGRAM, REVOKED_AT, Running, Site};
use crate::support::{logged, run};

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

// rule: REQ-3, REQ-4, RSP-2
#[test]
fn several_questions_are_answered_in_their_order_with_their_own_octets() {
    let site = World::new(KeyKind::P256);
    let ca = site.ca();
    let mut cert_ids = Vec::new();
    for algorithm in [SHA1, SHA256, SHA384, SHA512] {
        for parameters in [NULL, &[]] {
            for serial in ["0a1b", "ff02", "0c03"] {
                cert_ids.push(CertId { parameters, ..CertId::hashed(algorithm, &ca, serial) });
            }
        }
    }
    cert_ids.push(cert_ids[0].clone()); // asked twice, answered twice
    let ders: Vec<_> = cert_ids.iter().map(CertId::der).collect();
    let answer = site.ask(&Request { cert_ids: ders.clone(), ..Request::default() });
    assert_eq!(raw_cert_ids(&answer.der), ders);
    let revoked = format!("revoked {REVOKED_AT} 1");
    let three = ["good", &revoked, "unknown"].into_iter().cycle().take(24);
    assert_eq!(answer.statuses(), three.chain(["good"]).collect::<Vec<_>>());
    assert!(answer.is_signed_by(&ca));
}

// rule: REQ-3
#[test]
fn each_spelling_of_a_cert_id_has_an_answer_of_its_own() {
    // Also from the cache: what is asked by SHA-256 is never answered by SHA-1.
    let site = World::new(KeyKind::P256);
    for _ in 0..2 {
        for algorithm in [SHA1, SHA256, SHA384, SHA512] {
            for parameters in [NULL, &[]] {
                let cert_id =
                    CertId { parameters, ..CertId::hashed(algorithm, &site.ca(), "0a1b") };
                let answer = site.ask(&Request::about(&cert_id));
                assert_eq!(raw_cert_ids(&answer.der), [cert_id.der()]);
                assert_eq!(answer.statuses(), ["good"]);
            }
        }
    }
}

// rule: REQ-3
#[test]
fn a_request_has_as_many_questions_as_the_configuration_allows() {
    let site = World::with(KeyKind::P256, "[limits]\nrequest_certificates = 3\n");
    let cert_id = CertId::new(&site.ca(), "0a1b").der();
    let times = |count| Request { cert_ids: vec![cert_id.clone(); count], ..Request::default() };
    assert_eq!(site.ask(&times(3)).statuses(), ["good"; 3]);
    assert_eq!(site.post(&times(4)), MALFORMED);
    assert_eq!(site.post(&times(0)), MALFORMED);
}

// rule: REQ-4, ANS-4, REQ-2
#[test]
fn an_issuer_is_the_one_whose_name_and_key_both_match() {
    let site = World::new(KeyKind::P256);
    let stranger = ThrowawayCa::new("Stranger", KeyKind::P256, SystemClock.now()).unwrap();
    let namesake = ThrowawayCa::new("Test CA", KeyKind::P256, SystemClock.now()).unwrap();
    let ours = CertId::new(&site.ca(), "0a1b");
    let theirs = CertId::new(&stranger.identity.certificate, "0a1b");
    let foreign_name = CertId { name_hash: theirs.name_hash.clone(), ..ours.clone() };
    let foreign_key = CertId { key_hash: theirs.key_hash.clone(), ..ours.clone() };
    let same_name = CertId::new(&namesake.identity.certificate, "0a1b");
    let mut cut = ours.clone();
    cut.key_hash.pop();
    let other_hash = CertId { algorithm: SHA256, ..ours.clone() };
    let md5 = CertId::hashed(MD5, &site.ca(), "0a1b");
    let foreign = [theirs, foreign_name, foreign_key, same_name, cut, other_hash, md5];
    for cert_id in &foreign {
        assert_eq!(site.post(&Request::about(cert_id)), UNAUTHORIZED);
        let mixed = [ours.der(), cert_id.der()];
        for cert_ids in [mixed.to_vec(), mixed.iter().rev().cloned().collect()] {
            assert_eq!(site.post(&Request { cert_ids, ..Request::default() }), UNAUTHORIZED);
        }
    }
    // Asking for a stranger's spoils nothing: the earlier responder kept `unknown`
    // under the bare serial.
    assert_eq!(site.ask(&Request::about(&ours)).statuses(), ["good"]);
}

// rule: ANS-1, ANS-4
#[test]
fn one_request_about_two_of_our_issuers_is_refused() {
    let site = Site::with_certificates(KeyKind::P256);
    let other = ThrowawayCa::new("Other CA", KeyKind::Ed25519, SystemClock.now()).unwrap();
    other.identity.write_certificate(&site.path("other.crt")).unwrap();
    other.identity.write_key(&site.path("other.key")).unwrap();
    let port = crate::support::free_port();
    let config = site.write_config(&format!(
        "port = {port}\n[[issuer]]\ncertificate = \"ca.crt\"\nkey = \"ca.key\"\n\
         [[issuer]]\ncertificate = \"other.crt\"\nkey = \"other.key\"\ntable = \"other_certs\"\n\
         [database]\nsqlite = \"certs.db\"\n"
    ));
    let mapping = Mapping::of_table("other_certs");
    let ledger = SqliteLedger::new(Options { path: site.path("certs.db"), mapping });
    ledger.create_table().unwrap();
    let responder = Running::start(&config, port);
    let first = CertId::new(&site.ca.identity.certificate, "0a1b");
    // The first CA's row says nothing about the same serial of the second.
    let second = CertId::new(&other.identity.certificate, "0a1b");
    let answer = Answer::read(&responder.post(&Request::about(&first).der()));
    assert!(answer.is_signed_by(&site.ca.identity.certificate));
    let answer = Answer::read(&responder.post(&Request::about(&second).der()));
    assert!(answer.is_signed_by(&other.identity.certificate));
    assert_eq!(answer.statuses(), ["unknown"]);
    for nonce in [&[][..], &[extension(NONCE, &tlv(4, &[b"n"]))]] {
        let cert_ids = vec![first.der(), second.der()];
        let mixed = Request { cert_ids, extensions: nonce.to_vec(), ..Request::default() };
        assert_eq!(responder.post(&mixed.der()), UNAUTHORIZED);
    }
}

// rule: REQ-5
#[test]
fn all_spellings_of_a_serial_find_its_row_and_come_back_as_they_were() {
    let site = World::new(KeyKind::P256);
    site.site.set_status("7f", CertStatus::Good);
    site.site.set_status(&"c5".repeat(20), CertStatus::Good);
    site.site.set_status(&"77".repeat(32), CertStatus::Good);
    site.site.set_status("00", CertStatus::Good);
    for (content, wanted) in [
        ("0a1b", "good"),
        ("000a1b", "good"),
        ("0000000a1b", "good"),
        ("7f", "good"),
        ("00", "good"),
        ("00ff02", "revoked"),
        ("0000ff02", "revoked"),
        ("0a", "unknown"),
        ("0a1b00", "unknown"),
        (&format!("00{}", "c5".repeat(20)), "good"),
        (&"77".repeat(32), "good"),
    ] {
        let serial = octets(content);
        let cert_id = CertId { serial, ..CertId::new(&site.ca(), "01") };
        let der = site.post(&Request::about(&cert_id));
        assert_eq!(raw_cert_ids(&der), [cert_id.der()], "{content}");
        let status = match children(children(&data(&der)[2])[0])[1][0] {
            0x80 => "good",
            0xa1 => "revoked",
            _ => "unknown",
        };
        assert_eq!(status, wanted, "{content}");
    }
    for content in ["", "81", "ff02", &"77".repeat(33)] {
        let cert_id = CertId { serial: octets(content), ..CertId::new(&site.ca(), "01") };
        assert_eq!(site.post(&Request::about(&cert_id)), MALFORMED, "{content}");
    }
}

// rule: REQ-1, REQ-2
#[test]
fn what_is_not_one_request_in_der_is_malformed() {
    let site = World::new(KeyKind::P256);
    let whole = site.about("0a1b").der();
    let malformed = |der: &[u8]| assert_eq!(site.responder.post(der), MALFORMED, "{der:02x?}");
    for length in 1..whole.len() {
        malformed(&whole[..length]);
    }
    malformed(&[&whole[..], &[0]].concat());
    malformed(&[&whole[..], &whole].concat());
    malformed(&[&[0x30, 0x80], &whole[2..], &[0, 0]].concat()); // BER
    malformed(b"");
    malformed(&[0; 100]);
    malformed(&[0xff; 5000]);
    let nested = (0..2000).fold(vec![], |inner, _| tlv(0x30, &[&inner]));
    malformed(&nested);
    // Extensions twice.
    let nonce = extension(NONCE, &tlv(4, &[b"n"]));
    malformed(&site.about("0a1b").with(nonce.clone()).with(nonce).der());
    let plain = extension(UNHEARD_OF, NULL);
    malformed(&site.about("0a1b").with(plain.clone()).with(plain).der());
}

// rule: REQ-1
#[test]
fn an_empty_list_of_extensions_is_taken_as_bouncycastle_sends_it() {
    let site = World::new(KeyKind::P256);
    let whole = site.about("0a1b").der();
    let questions = children(children(&whole)[0])[0];
    let der = sequence(&[&sequence(&[questions, &[0xa2, 2, 0x30, 0]])]);
    let answer = Answer::read(&site.responder.post(&der));
    assert_eq!(answer.statuses(), ["good"]);
}

// rule: REQ-1
#[test]
fn version_1_may_be_written_out_and_no_other_is_taken() {
    let site = World::new(KeyKind::P256);
    let version = |octets: &[u8]| Request { version: octets.to_vec(), ..site.about("0a1b") };
    assert_eq!(site.ask(&version(&[0xa0, 3, 2, 1, 0])).statuses(), ["good"]);
    for other in
        [&[0xa0, 3, 2, 1, 1][..], &[0xa0, 3, 2, 1, 0xff], &[0xa0, 4, 2, 2, 0, 0], &[0xa0, 0]]
    {
        assert_eq!(site.post(&version(other)), MALFORMED);
    }
}

// rule: REQ-6
#[test]
fn an_unknown_extension_matters_only_when_it_is_critical() {
    let site = World::new(KeyKind::P256);
    let request = site.about("0a1b");
    let plain = extension(UNHEARD_OF, NULL);
    let critical = critical_extension(UNHEARD_OF, NULL);
    assert_eq!(site.ask(&request.clone().with(plain.clone())).statuses(), ["good"]);
    assert_eq!(site.post(&request.clone().with(critical.clone())), MALFORMED);
    let of_question =
        |extension| Request { question_extensions: vec![extension], ..request.clone() };
    assert_eq!(site.ask(&of_question(plain)).statuses(), ["good"]);
    assert_eq!(site.post(&of_question(critical)), MALFORMED);
}

// rule: REQ-7
#[test]
fn a_signed_request_is_answered_whoever_signed_it() {
    let site = World::new(KeyKind::P256);
    let signer = site.site.issue("asker", "0aa1", None);
    signer.write_key(&site.site.path("asker.key")).unwrap();
    let options = ["-no_nonce", "-signer", "asker.crt", "-signkey", "asker.key"];
    let mut der = site.site.request("good", &options);
    let plain = site.site.request("good", &["-no_nonce"]);
    assert!(der.len() > plain.len() + 300, "it is signed");
    assert_eq!(Answer::read(&site.responder.post(&der)).statuses(), ["good"]);
    let tbs = children(&der)[0].len();
    let signature = tbs + 60;
    der[signature] ^= 1;
    assert_eq!(Answer::read(&site.responder.post(&der)).statuses(), ["good"]);
}

// rule: REQ-8
#[test]
fn the_basic_answer_is_given_whatever_answers_are_acceptable() {
    let site = World::new(KeyKind::P256);
    let list = sequence(&[&tlv(6, &[UNHEARD_OF])]);
    for extension in
        [extension(ACCEPTABLE_RESPONSES, &list), critical_extension(ACCEPTABLE_RESPONSES, &list)]
    {
        assert_eq!(site.ask(&site.about("0a1b").with(extension)).statuses(), ["good"]);
    }
}

// rule: REQ-9
#[test]
fn a_nonce_of_1_to_128_octets_comes_back_as_it_was() {
    let site = World::new(KeyKind::P256);
    for length in [1, 2, 16, 32, 127, 128] {
        let nonce: Vec<u8> = (0..length).map(|octet| octet ^ 0xa5).collect();
        for serial in ["0a1b", "0c03"] {
            let answer = site.ask(&site.about(serial).with_nonce(&nonce));
            assert_eq!(answer.extension(NONCE), Some(tlv(4, &[&nonce])));
        }
    }
    for length in [0, 129, 4096] {
        let request = site.about("0a1b").with_nonce(&vec![7; length]);
        assert_eq!(site.post(&request), MALFORMED, "{length}");
    }
    for unwrapped in [&[9; 16][..], &[4, 1], &[4, 1, 9, 9], &[0x24, 3, 4, 1, 9]] {
        let request = site.about("0a1b").with(extension(NONCE, unwrapped));
        assert_eq!(site.post(&request), MALFORMED, "{unwrapped:?}");
    }
    assert_eq!(site.ask(&site.about("0a1b")).extension(NONCE), None);
}

// rule: REQ-9
#[test]
fn a_nonce_is_left_out_where_the_configuration_says_so() {
    let site = World::with(KeyKind::P256, "[answers]\nnonce = \"ignore\"\n");
    let without = site.post(&site.about("0a1b"));
    for nonce in [b"one", b"two"] {
        let answer = site.ask(&site.about("0a1b").with_nonce(nonce));
        assert_eq!(answer.extension(NONCE), None);
        assert_eq!(answer.der, without, "the kept answer");
    }
    assert_eq!(site.post(&site.about("0a1b").with_nonce(&[0; 129])), MALFORMED);
}

// rule: ANS-1, ANS-3
#[test]
fn a_serial_without_a_row_is_answered_as_the_policy_says() {
    let unauthorized = World::with(KeyKind::P256, "[answers]\nnon_issued = \"unauthorized\"\n");
    for request in [unauthorized.about("0c03"), unauthorized.about("0c03").with_nonce(b"n")] {
        assert_eq!(unauthorized.post(&request), UNAUTHORIZED);
    }
    assert_eq!(unauthorized.ask(&unauthorized.about("0a1b")).statuses(), ["good"]);

    let revoked = World::with(KeyKind::P256, "[answers]\nnon_issued = \"revoked\"\n");
    for request in [revoked.about("0c03"), revoked.about("0c03").with_nonce(b"n")] {
        let answer = revoked.ask(&request);
        assert_eq!(answer.statuses(), ["revoked 0 6"]);
        assert_eq!(answer.extension(EXTENDED_REVOKE).as_deref(), Some(NULL));
    }
    let answer = revoked.ask(&revoked.about("ff02"));
    assert_eq!(answer.statuses(), [format!("revoked {REVOKED_AT} 1")]);
    assert_eq!(answer.extension(EXTENDED_REVOKE), None);

    let unknown = World::new(KeyKind::P256);
    let answer = unknown.ask(&unknown.about("0c03"));
    assert_eq!(answer.statuses(), ["unknown"]);
    assert_eq!(answer.extension(EXTENDED_REVOKE), None);
    let (this_update, _, next_update) = answer.times();
    assert_eq!(next_update - this_update, 3600, "it may be issued soon");
}

// rule: ANS-2, RSP-7
#[test]
fn reasons_stand_in_revoked_info_alone_and_unspecified_nowhere() {
    let site = World::new(KeyKind::P256);
    let time = Timestamp::from_unix(REVOKED_AT);
    for reason in RevocationReason::ALL {
        let serial = format!("0{:x}77", reason.code() % 16);
        site.site.set_status(&serial, CertStatus::Revoked { time, reason: Some(reason) });
        let answer = site.ask(&site.about(&serial));
        assert_eq!(answer.statuses(), [format!("revoked {REVOKED_AT} {}", reason.code())]);
        assert!(answer.basic.tbs_response_data.responses[0].single_extensions.is_none());
    }
    site.sql(
        "INSERT INTO list_certs (cert_num, status, revocation_time, revocation_reason, cert) \
         VALUES ('0xaa', 'Revoked', '2026-01-02 03:04:05', 'unspecified', '')",
    );
    let answer = site.ask(&site.about("aa"));
    assert_eq!(answer.statuses(), [format!("revoked {REVOKED_AT} -")]);
    // RevokedInfo holds the time and nothing else.
    let single = children(children(&data(&answer.der)[2])[0])[1].to_vec();
    assert_eq!(single, tlv(0xa1, &[&tlv(0x18, &[b"20260102030405Z"])]));
}

// rule: ANS-2
#[test]
fn a_row_that_says_revoked_is_believed_whatever_else_is_wrong_with_it() {
    let site = World::new(KeyKind::P256);
    site.without_checks();
    for (serial, time, reason, wanted) in [
        ("b1", "NULL", "NULL", "revoked 0 -"),
        ("b2", "'soon'", "'superseded'", "revoked 0 4"),
        ("b3", "'2026-01-02 03:04:05'", "'boredom'", "revoked 1767323045 -"),
    ] {
        site.sql(&format!(
            "INSERT INTO list_certs (cert_num, status, revocation_time, revocation_reason, cert) \
             VALUES ('0x{serial}', 'Revoked', {time}, {reason}, '')"
        ));
        assert_eq!(site.ask(&site.about(serial)).statuses(), [wanted]);
    }
    logged(&site.site.path("serve.log"), "odd row");
}

// rule: ANS-5, REQ-2
#[test]
fn a_row_that_says_neither_is_an_internal_error_and_a_missing_store_try_later() {
    let site = World::new(KeyKind::P256);
    site.without_checks();
    site.sql("UPDATE list_certs SET status = 'Maybe' WHERE cert_num = '0x0a1b'");
    for request in [site.about("0a1b"), site.about("0a1b").with_nonce(b"n")] {
        assert_eq!(site.post(&request), INTERNAL_ERROR);
    }
    logged(&site.site.path("serve.log"), "Maybe");
    fs::rename(site.site.path("certs.db"), site.site.path("gone.db")).unwrap();
    for request in [site.about("0a1b"), site.about("0a1b").with_nonce(b"n"), site.about("0c03")] {
        assert_eq!(site.post(&request), TRY_LATER);
    }
    logged(&site.site.path("serve.log"), "certs.db");
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
        identity.write_certificate(&site.path("signer.crt")).unwrap();
        identity.write_key(&site.path("signer.key")).unwrap();
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
        (&["dsa:dsa.pem"], "OpenSSL's kind"),
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

// rule: RSP-4
#[test]
fn no_answer_reaches_past_the_end_of_the_signers_certificate() {
    let site = World::signed(Signs::ByDelegate, "[answers]\nvalidity = \"3650d\"\n");
    let ends = Timestamp::from_unix(site.not_after());
    for request in [site.about("0a1b"), site.about("0a1b").with_nonce(b"n")] {
        assert_eq!(site.ask(&request).times().2, ends.unix());
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
    delegate.write_certificate(&site.site.path("signer.crt")).unwrap();
    delegate.write_key(&site.site.path("signer.key")).unwrap();
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
    assert_eq!(next_update - produced_at, 3 * 86_400);
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

#[derive(Clone, Copy)]
enum Signs {
    Itself,
    ByDelegate,
}

/// A site that is served.
struct World {
    responder: Running,
    site: Site,
    signs: Signs,
}

impl World {
    fn new(kind: KeyKind) -> Self {
        Self::with(kind, "")
    }

    fn with(kind: KeyKind, more: &str) -> Self {
        let site = Site::with_certificates(kind);
        Self { responder: site.serve(more), site, signs: Signs::Itself }
    }

    fn signed(signs: Signs, more: &str) -> Self {
        let site = Site::with_certificates(KeyKind::P256);
        let port = crate::support::free_port();
        let (signer, key) = match signs {
            Signs::Itself => ("", "ca.key"),
            Signs::ByDelegate => {
                site.delegate(Purpose::OcspSigner);
                ("itsigner = \"signer.crt\"", "signer.key")
            }
        };
        let config = site.write_config(&configuration(port, signer, key, more));
        Self { responder: Running::start(&config, port), site, signs }
    }

    fn ca(&self) -> X509 {
        self.site.ca.identity.certificate.clone()
    }

    fn signer(&self) -> X509 {
        match self.signs {
            Signs::Itself => self.ca(),
            Signs::ByDelegate => {
                X509::from_pem(&fs::read(self.site.path("signer.crt")).unwrap()).unwrap()
            }
        }
    }

    /// notAfter of the signer, in seconds since the epoch.
    fn not_after(&self) -> i64 {
        let epoch = openssl::asn1::Asn1Time::from_unix(0).unwrap();
        let since = epoch.diff(self.signer().not_after()).unwrap();
        i64::from(since.days) * 86_400 + i64::from(since.secs)
    }

    fn about(&self, serial: &str) -> Request {
        Request::about(&CertId::new(&self.ca(), serial))
    }

    fn post(&self, request: &Request) -> Vec<u8> {
        self.responder.post(&request.der())
    }

    #[track_caller]
    fn ask(&self, request: &Request) -> Answer {
        Answer::read(&self.post(request))
    }

    fn sql(&self, statement: &str) {
        let connection = rusqlite::Connection::open(self.site.path("certs.db")).unwrap();
        connection.busy_timeout(std::time::Duration::from_secs(5)).unwrap();
        connection.execute_batch(statement).unwrap();
    }

    /// The same table as other programs make it: anything goes in.
    fn without_checks(&self) {
        self.sql(
            "CREATE TABLE free (cert_num TEXT PRIMARY KEY, revocation_time, revocation_reason, \
             cert, status); INSERT INTO free SELECT cert_num, revocation_time, revocation_reason, \
             cert, status FROM list_certs; DROP TABLE list_certs; \
             ALTER TABLE free RENAME TO list_certs",
        );
    }
}

/// Without `cachedays`, so that `more` may say `validity`.
fn configuration(port: u16, signer: &str, key: &str, more: &str) -> String {
    format!(
        "port = {port}\nitcert = \"ca.crt\"\n{signer}\nitkey = \"{key}\"\n\
         cachefolder = \"cache\"\n{more}[database]\nsqlite = \"certs.db\"\n"
    )
}

/// The parts of ResponseData.
fn data(der: &[u8]) -> Vec<Vec<u8>> {
    children(children(&raw_basic(der))[0]).into_iter().map(<[u8]>::to_vec).collect()
}
