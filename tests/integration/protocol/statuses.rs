//! What is said of a certificate, by its row and by the configuration.

use std::fs;

use ocsp_fcgi::demo::{KeyKind, ThrowawayCa};
use ocsp_fcgi::status::RevocationReason;
use ocsp_fcgi::store::ledger::SqliteLedger;
use ocsp_fcgi::time::{Clock, SystemClock};

use super::{World, data};
use crate::support::logged;
use crate::support::ocsp::{
    Answer, CertId, EXTENDED_REVOKE, INTERNAL_ERROR, NONCE, NULL, Request, TRY_LATER, UNAUTHORIZED,
    children, extension, tlv,
};
use crate::support::site::{REVOKED_AT, Running, Site, revoked};

// rule: ANS-1, ANS-4
#[test]
fn one_request_about_two_of_our_issuers_is_refused() {
    let site = Site::with_certificates(KeyKind::P256);
    let other = ThrowawayCa::new("Other CA", KeyKind::Ed25519, SystemClock.now()).unwrap();
    other.identity.write(site.folder.path(), "other").unwrap();
    let port = crate::support::free_port();
    let config = site.write_config(&format!(
        "port = {port}\n[[issuer]]\ncertificate = \"ca.crt\"\nkey = \"ca.key\"\n\
         [[issuer]]\ncertificate = \"other.crt\"\nkey = \"other.key\"\ntable = \"other_certs\"\n\
         [database]\nsqlite = \"certs.db\"\n"
    ));
    SqliteLedger::new(site.path("certs.db"), "other_certs").create_table().unwrap();
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
    for reason in RevocationReason::ALL {
        let serial = format!("0{:x}77", reason.code() % 16);
        site.site.set_status(&serial, revoked(reason));
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

// rule: ANS-2
#[test]
fn a_revocation_is_never_told_as_one_that_is_still_to_come() {
    // Clients take a certificate for good until the time of its revocation.
    let site = World::new(KeyKind::P256);
    site.without_checks();
    let insert = |serial: &str, time: &str| {
        site.sql(&format!(
            "INSERT INTO list_certs (cert_num, status, revocation_time, revocation_reason, cert) \
             VALUES ('0x{serial}', 'Revoked', {time}, 'superseded', '')"
        ));
        let asked = [site.about(serial), site.about(serial).with_nonce(b"n")];
        asked.map(|request| site.ask(&request).statuses().concat())
    };
    for (serial, time) in [
        ("b1", "datetime('now', '+2 hours')"), // the local time of a place further east
        ("b2", "1795341600000"),               // milliseconds
        ("b3", "20261122100000"),
    ] {
        assert_eq!(insert(serial, time), [(); 2].map(|()| "revoked 0 4"), "{time}");
    }
    logged(&site.site.path("serve.log"), "a revocation is still to come");
    // By a clock that is a little ahead of ours.
    let before = SystemClock.now().unix();
    for told in insert("b4", "datetime('now', '+20 seconds')") {
        let time: i64 = told.split(' ').nth(1).unwrap().parse().unwrap();
        assert!((before..=SystemClock.now().unix()).contains(&time), "{told}");
    }
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
