//! Which requests are understood, and what of them comes back.

use ocsp_fcgi::demo::{KeyKind, ThrowawayCa};
use ocsp_fcgi::status::CertStatus;
use ocsp_fcgi::time::{Clock, SystemClock};

use super::{World, data};
use crate::support::ocsp::{
    ACCEPTABLE_RESPONSES, Answer, CertId, MALFORMED, MD5, NONCE, NULL, Request, SHA1, SHA256,
    SHA384, SHA512, UNAUTHORIZED, UNHEARD_OF, children, critical_extension, extension, octets,
    raw_cert_ids, sequence, tlv,
};
use crate::support::site::REVOKED_AT;

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
