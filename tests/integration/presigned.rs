//! Answers that an offline CA has signed, given as they are.

use std::fs;
use std::sync::Arc;

use ocsp_fcgi::demo::{Identity, KeyKind, Purpose, ThrowawayCa};
use ocsp_fcgi::ocsp::response::{ExtendedRevoke, assemble};
use ocsp_fcgi::ocsp::{self, ResponderId, SingleAnswer};
use ocsp_fcgi::responder::issuers::Issuers;
use ocsp_fcgi::responder::policy::Policy;
use ocsp_fcgi::responder::presigned::Presigned;
use ocsp_fcgi::responder::signing::Signing;
use ocsp_fcgi::responder::{Capacity, Responder};
use ocsp_fcgi::serial::Serial;
use ocsp_fcgi::signer::certificate::Certificate;
use ocsp_fcgi::signer::key::Key;
use ocsp_fcgi::signer::{RsaPadding, Signer};
use ocsp_fcgi::status::CertStatus;
use ocsp_fcgi::time::{Clock, SystemClock, Timestamp, Validity};
use tempfile::TempDir;

use crate::support::ocsp::{Answer, CertId, Request, SHA1, SHA256, TRY_LATER, UNAUTHORIZED};
use crate::support::site::Site;
use crate::support::{eventually, logged, run};

// rule: ANS-4
#[test]
fn answers_of_an_offline_ca_are_given_until_they_end() {
    let site = Site::with_certificates(KeyKind::P256);
    let root = ThrowawayCa::new("Offline root", KeyKind::P256, SystemClock.now()).unwrap();
    root.identity.write(site.folder.path(), "root").unwrap();
    fs::create_dir(site.path("presigned")).unwrap();
    let foreign = Site::with_certificates(KeyKind::P256);
    sign_elsewhere(&site, "good.der", ("root.crt", "root.key", "77"));
    let now = SystemClock.now().unix();
    fs::write(site.path("presigned/over.der"), signed_by(&root, "7a", (now - 9, now))).unwrap();
    fs::copy(foreign.path("ca.crt"), site.path("foreign.crt")).unwrap();
    fs::copy(foreign.path("ca.key"), site.path("foreign.key")).unwrap();
    sign_elsewhere(&site, "foreign.der", ("foreign.crt", "foreign.key", "79"));
    fs::write(site.path("presigned/garbage.der"), b"0").unwrap();
    let newer = put_rivals_and_one_with_a_nonce(&site, &root);
    // The last, as its end does not wait for those that `openssl` makes.
    let now = SystemClock.now().unix();
    let ends = now + 10;
    let short = signed_by(&root, "78", (now - 60, ends));
    fs::write(site.path("presigned/short.der"), short).unwrap();
    put_an_early_one_and_some_that_are_not_given(&site, &root);
    let responder = site.serve("[presigned]\nfolder = \"presigned\"\nca = \"root.crt\"\n");

    let about = |certificate, serial| Request::about(&CertId::new(certificate, serial));
    let root_certificate = &root.identity.certificate;
    let given = responder.post(&about(root_certificate, "77").der());
    assert_eq!(given, fs::read(site.path("presigned/good.der")).unwrap());
    // Leading zeros and NULL parameters make no other question, another hash does.
    assert_eq!(responder.post(&about(root_certificate, "0077").der()), given);
    let sha256 = Request::about(&CertId::hashed(SHA256, root_certificate, "77"));
    assert_eq!(responder.post(&sha256.der()), UNAUTHORIZED);
    let mut absent = CertId::hashed(SHA1, root_certificate, "77");
    absent.parameters = &[];
    assert_eq!(responder.post(&Request::about(&absent).der()), given);
    assert_eq!(responder.post(&about(root_certificate, "76").der()), UNAUTHORIZED);
    let foreign_ca = &foreign.ca.identity.certificate;
    assert_eq!(responder.post(&about(foreign_ca, "79").der()), UNAUTHORIZED);

    for wanted in [
        "foreign.der: its signature is not",
        "garbage.der: not a successful OCSPResponse",
        "over.der: it ended on",
        "nonce.der: with a nonce, wanted: one without",
        "ends soon, and needs a successor: file=",
    ] {
        logged(&site.path("serve.log"), wanted);
    }
    assert_eq!(responder.post(&about(root_certificate, "7b").der()), newer);
    assert_eq!(responder.post(&about(root_certificate, "7e").der()), TRY_LATER);
    logged(&site.path("serve.log"), "has not begun, answering tryLater: file=");
    for (serials, told) in [(&["7c", "7d"][..], UNAUTHORIZED), (&["7a", "70", "71"], TRY_LATER)] {
        for serial in serials {
            assert_eq!(responder.post(&about(root_certificate, serial).der()), told, "{serial}");
        }
    }
    eventually("an answer ends", || {
        let answer = responder.post(&about(root_certificate, "78").der());
        assert!(answer == TRY_LATER || Answer::read(&answer).statuses() == ["good"]);
        (SystemClock.now().unix() >= ends).then_some(())
    });
    assert_eq!(responder.post(&about(root_certificate, "78").der()), TRY_LATER);
    // The table decides about the CA that is online.
    assert_eq!(
        Answer::read(&responder.post(&site.request("good", &["-no_nonce"]))).statuses(),
        ["good"]
    );
}

// rule: WEB-1
#[test]
fn a_question_about_a_certificate_of_an_offline_ca_is_recognized_among_the_readings_of_a_url() {
    let now = SystemClock.now();
    let (folder, root) = offline_root(now);
    let answers = folder.path().join("presigned");
    let der = signed_by(&root, "77", (now.unix(), now.unix() + 900));
    fs::write(answers.join("77.der"), der).unwrap();
    let (presigned, refused) =
        Presigned::load(&answers, &folder.path().join("root.crt"), now).unwrap();
    assert!(refused.is_empty(), "{refused:?}");
    let responder = giving(presigned);
    let about = |serial| Request::about(&CertId::new(&root.identity.certificate, serial)).der();
    assert_eq!(["77", "78"].map(|serial| responder.recognizes(&about(serial))), [true, false]);
}

// rule: ANS-4
#[test]
fn an_answer_that_is_over_when_it_is_loaded_makes_way_for_no_older_one() {
    let now = SystemClock.now();
    let days = |days: i64| now.unix() + days * 86_400;
    let (folder, root) = offline_root(Timestamp::from_unix(days(-9)));
    let delegate = (Purpose::OcspSigner, KeyKind::P256);
    let ended = root.issue("Ended", &Serial::from_hex("d1").unwrap(), delegate, 5).unwrap();
    let answers = folder.path().join("presigned");
    for by in [&root.identity, &ended] {
        let long = signed_by(&root, "77", (days(-8), days(1)));
        fs::write(answers.join("long"), long).unwrap();
        let newer = signed_about((&root, by), CertStatus::Good, &[("77", (days(-7), days(-5)))]);
        fs::write(answers.join("newer"), newer).unwrap();
        let (presigned, refused) =
            Presigned::load(&answers, &folder.path().join("root.crt"), now).unwrap();
        let refused = refused.iter().map(ToString::to_string).collect::<String>();
        assert!(refused.ends_with(&format!("it ended on {}", Timestamp::from_unix(days(-5)))));
        let responder = giving(presigned);
        let about = Request::about(&CertId::new(&root.identity.certificate, "77")).der();
        assert_eq!(responder.respond(&about, &|| ()).der(), TRY_LATER);
    }
}

// rule: ANS-4
#[test]
fn a_revocation_is_given_whatever_its_reason() {
    let site = Site::with_certificates(KeyKind::P256);
    let root = ThrowawayCa::new("Offline root", KeyKind::P256, SystemClock.now()).unwrap();
    root.identity.write(site.folder.path(), "root").unwrap();
    fs::create_dir(site.path("presigned")).unwrap();
    for (serial, reason) in
        [("71", ""), ("72", ",unspecified"), ("73", ",keyCompromise"), ("74", ",removeFromCRL")]
    {
        let line = format!("R\t991231235959Z\t250102030405Z{reason}\t{serial}\tunknown\t/CN=a\n");
        let by = ("root.crt", "root.key", serial);
        sign_as_listed(&site, &format!("{serial}.der"), by, &line);
    }
    let now = SystemClock.now();
    let (presigned, refused) =
        Presigned::load(&site.path("presigned"), &site.path("root.crt"), now).unwrap();
    assert!(refused.is_empty(), "{refused:?}");
    assert_eq!(presigned.iter().count(), 4);
}

// rule: ANS-4
#[test]
fn of_two_answers_of_the_same_second_the_one_that_is_not_good_counts() {
    let now = SystemClock.now();
    let (folder, root) = offline_root(now);
    let answers = folder.path().join("presigned");
    let times = (now.unix(), now.unix() + 900);
    let revoked = CertStatus::Revoked { time: now, reason: None };
    for (serial, names) in [("77", ["1", "2"]), ("78", ["4", "3"])] {
        for (status, name) in [CertStatus::Good, revoked].into_iter().zip(names) {
            let der = signed_about((&root, &root.identity), status, &[(serial, times)]);
            fs::write(answers.join(name), der).unwrap();
        }
        let (presigned, _) =
            Presigned::load(&answers, &folder.path().join("root.crt"), now).unwrap();
        let about = CertId::new(&root.identity.certificate, serial).der();
        let found = presigned.find(&ocsp::CertId::from_der(&about).unwrap(), now).unwrap();
        assert!(found.path().ends_with(names[1]), "{serial}");
    }
}

/// A root that began at `now`, with its files in a folder beside an empty one for its answers.
fn offline_root(now: Timestamp) -> (TempDir, ThrowawayCa) {
    let folder = tempfile::tempdir().unwrap();
    let root = ThrowawayCa::new("Offline root", KeyKind::P256, now).unwrap();
    root.identity.write(folder.path(), "root").unwrap();
    fs::create_dir(folder.path().join("presigned")).unwrap();
    (folder, root)
}

/// A responder that has nothing else.
fn giving(presigned: Presigned) -> Responder {
    let capacity = Capacity { slow: 1, signing: Arc::new(Signing::new(1, 1)) };
    let (issuers, policy) = (Issuers::new(Vec::new()), Policy::default());
    Responder::new(issuers, presigned, policy, Arc::new(SystemClock), capacity)
}

/// An answer `good` about a serial, made by `openssl ocsp` as an offline CA would.
fn sign_elsewhere(site: &Site, file: &str, by: (&str, &str, &str)) {
    let index = format!("V\t991231235959Z\t\t{}\tunknown\t/CN=Intermediate\n", by.2);
    sign_as_listed(site, file, by, &index);
}

/// An answer that says what this `index.txt` does.
fn sign_as_listed(site: &Site, file: &str, (ca, key, serial): (&str, &str, &str), index: &str) {
    fs::write(site.path("index.txt"), index).unwrap();
    let mut command = site.openssl_ocsp();
    command.args(["-index", "index.txt", "-rsigner", ca, "-rkey", key, "-CA", ca, "-issuer", ca]);
    command.args(["-serial", &format!("0x{serial}"), "-no_nonce", "-ndays", "2"]);
    let output = run(command.arg("-respout").arg(site.path("presigned").join(file)), "openssl");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// Two answers about 0x7b, of which the newer comes back, and one with a nonce about 0x7c.
fn put_rivals_and_one_with_a_nonce(site: &Site, root: &ThrowawayCa) -> Vec<u8> {
    let now = SystemClock.now().unix();
    // The newest counts, however long an older one lasts.
    let older = signed_by(root, "7b", (now - 90, now + 900));
    fs::write(site.path("presigned/older.der"), older).unwrap();
    let newer = signed_by(root, "7b", (now - 80, now + 500));
    fs::write(site.path("presigned/newer.der"), &newer).unwrap();
    // Put there in advance, it waits for its turn.
    let next = signed_by(root, "7b", (now + 400, now + 1900));
    fs::write(site.path("presigned/next.der"), next).unwrap();
    let request = about_with_nonce(root, "7c");
    fs::write(site.path("request.der"), request).unwrap();
    sign_elsewhere(site, "nonce.der", ("root.crt", "root.key", "7c"));
    let mut command = site.openssl_ocsp();
    command.args(["-index", "index.txt", "-rsigner", "root.crt", "-rkey", "root.key", "-CA"]);
    command.args(["root.crt", "-ndays", "2", "-reqin", "request.der", "-respout"]);
    let output = run(command.arg(site.path("presigned/nonce.der")), "openssl");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    newer
}

fn about_with_nonce(ca: &ThrowawayCa, serial: &str) -> Vec<u8> {
    Request::about(&CertId::new(&ca.identity.certificate, serial)).with_nonce(b"nonce").der()
}

/// About 0x7e, in advance; about 0x70 and 0x71 in one file, one of them over; about 0x7d,
/// hidden.
fn put_an_early_one_and_some_that_are_not_given(site: &Site, root: &ThrowawayCa) {
    let now = SystemClock.now().unix();
    for (name, certificates) in [
        ("early.der", &[("7e", (now + 600, now + 1900))][..]),
        ("two.der", &[("70", (now - 90, now + 900)), ("71", (now - 90, now - 1))]),
        (".being-copied.der", &[("7d", (now - 20, now + 900))]),
    ] {
        fs::write(
            site.path("presigned").join(name),
            signed_about((root, &root.identity), CertStatus::Good, certificates),
        )
        .unwrap();
    }
}

/// The same with times to the second, which `openssl ocsp` has not.
pub fn signed_by(ca: &ThrowawayCa, serial: &str, times: (i64, i64)) -> Vec<u8> {
    signed_about((ca, &ca.identity), CertStatus::Good, &[(serial, times)])
}

fn signed_about(
    (ca, by): (&ThrowawayCa, &Identity),
    status: CertStatus,
    certificates: &[(&str, (i64, i64))],
) -> Vec<u8> {
    let certificate = Certificate::new(by.certificate.clone()).unwrap();
    let key = Key::in_memory(by.key.clone());
    let signer = Signer::new(key, certificate, RsaPadding::Pkcs1).unwrap();
    let cert_id = |serial| CertId::new(&ca.identity.certificate, serial).der();
    let cert_ids: Vec<_> = certificates.iter().map(|(serial, _)| cert_id(serial)).collect();
    let responses: Vec<_> = cert_ids
        .iter()
        .zip(certificates)
        .map(|(cert_id, (_, (from, to)))| SingleAnswer {
            cert_id,
            status,
            validity: Validity {
                this_update: Timestamp::from_unix(*from),
                next_update: Timestamp::from_unix(*to),
            },
            archive_cutoff: None,
        })
        .collect();
    let answer = ocsp::Answer {
        responder_id: &ResponderId::ByKey(signer.certificate().hashes().key_sha1()),
        produced_at: responses.iter().map(|single| single.validity.this_update).min().unwrap(),
        responses,
        nonce: None,
        extended_revoke: ExtendedRevoke::Absent,
    };
    let to_be_signed = answer.to_be_signed().unwrap();
    let signature = signer.sign(&to_be_signed, signer.algorithm()).unwrap();
    let is_delegated = by.certificate != ca.identity.certificate;
    let certificate = is_delegated.then(|| signer.certificate().der());
    assemble(&to_be_signed, signer.algorithm(), &signature, certificate).unwrap()
}
