//! A cache folder in which something is not as it should be: files that are no answer or
//! not this one, what is no file at all, and no place to write.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use ocsp_fcgi::demo::{KeyKind, Purpose, ThrowawayCa};
use ocsp_fcgi::status::CertStatus;
use ocsp_fcgi::time::{Clock, SystemClock, Timestamp};

use crate::cache_processes::file_of;
use crate::support::ocsp::{Answer, CertId, NONCE, Request, children, raw_basic, sequence, tlv};
use crate::support::site::{Running, Site};
use crate::support::{free_port, logged, run};

// rule: ANS-6
#[test]
fn a_file_that_is_not_the_answer_is_never_given() {
    let site = Site::with_certificates(KeyKind::P256);
    let responder = site.serve_beside(0, "memory = 0\nfreshness = \"1h\"\n");
    let ask = |serial: &str| Answer::read(&responder.post(&site.about(serial).der()));
    let (good, bad) = (ask("0a1b"), ask("ff02"));
    let place = file_of(&site, "0a1b");
    let stranger = Site::with_certificates(KeyKind::P256);
    let theirs = Answer::read(&stranger.serve("").post(&stranger.about("0a1b").der()));
    let mut other_end = good.der.clone();
    other_end.push(0);
    let mut broken: Vec<Vec<u8>> = vec![
        Vec::new(),
        b"garbage".to_vec(),
        vec![0; 200_000],
        good.der[..good.der.len() - 1].to_vec(),
        good.der[..100].to_vec(),
        other_end,
        bad.der.clone(),
        theirs.der,
        vec![0x30, 3, 10, 1, 1],
        resigned(&site, &good, GOOD, -7200, -1), // ended a second ago
    ];
    broken.extend((0..good.der.len()).step_by(23).map(|at| {
        let mut flipped = good.der.clone();
        flipped[at] ^= 4;
        flipped
    }));
    for octets in broken {
        fs::write(&place, &octets).unwrap();
        let answer = ask("0a1b");
        assert_eq!(answer.statuses(), ["good"]);
        assert!(answer.is_signed_by(&site.ca.identity.certificate));
        assert!(answer.times().2 > SystemClock.now().unix());
        assert_ne!(answer.der, octets);
        assert_eq!(fs::read(&place).unwrap(), answer.der, "it is replaced");
    }
    let line = "cached answer is not ours as we sign now, signing anew: serial=0a1b folder=";
    logged(&site.path("beside-0/serve.log"), line);
}

// rule: ANS-6, RSP-3
#[test]
fn a_file_with_another_certificate_or_with_a_nonce_is_never_given() {
    let site = Site::with_certificates(KeyKind::P256);
    site.delegate(Purpose::OcspSigner);
    let port = free_port();
    let config = site.write_config(&format!(
        "port = {port}\ncachefolder = \"cache\"\nitcert = \"ca.crt\"\nitkey = \"signer.key\"\n\
         itsigner = \"signer.crt\"\n[database]\nsqlite = \"certs.db\"\n\
         [cache]\nmemory = 0\nfreshness = \"1h\"\n"
    ));
    let responder = Running::start(&config, port);
    let question = site.about("0a1b");
    let good = responder.post(&question.der());
    let place = file_of(&site, "0a1b");
    let basic = raw_basic(&good);
    let [data, algorithm, signature, list] = children(&basic)[..] else { panic!("four parts") };
    let one = children(children(list)[0])[0];
    let with = |certificates: &[&[u8]]| {
        let list = tlv(0xa0, &[&sequence(certificates)]);
        successful(&sequence(&[data, algorithm, signature, &list]))
    };
    assert_eq!(with(&[one]), good);
    let mut planted = vec![
        successful(&sequence(&[data, algorithm, signature])),
        with(&[]),
        with(&[&site.ca.identity.certificate.to_der().unwrap()]),
        with(&[one, one]),
        with(&[&tlv(4, &[&[7; 60_000]])]),
        responder.post(&site.about("0a1b").with_nonce(b"of another client").der()),
    ];
    planted.extend((0..good.len()).step_by(19).map(|at| {
        let mut flipped = good.clone();
        flipped[at] ^= 1;
        flipped
    }));
    for octets in planted {
        fs::write(&place, &octets).unwrap();
        let answer = responder.post(&question.der());
        let said = site.read_answer("good", &answer);
        assert!(said.contains("Response verify OK"), "{said}");
        let answer = Answer::read(&answer);
        assert_eq!(answer.statuses(), ["good"]);
        assert!(answer.extension(NONCE).is_none());
        assert_ne!(answer.der, octets);
        assert_eq!(fs::read(&place).unwrap(), answer.der, "it is replaced");
    }
}

// rule: ANS-6
#[test]
fn what_is_no_file_at_all_costs_no_answer() {
    let site = Site::with_certificates(KeyKind::P256);
    let responder = site.serve_beside(0, "memory = 0\nfreshness = \"1h\"\n");
    let der = site.about("0a1b").der();
    let first = responder.post(&der);
    let place = file_of(&site, "0a1b");
    responder.post(&site.about("ff02").der());
    let other = file_of(&site, "ff02");
    let secret = site.path("secret");
    fs::write(&secret, "of somebody else").unwrap();
    let pipe = |place: &Path| {
        let made = run(Command::new("mkfifo").arg(place), "coreutils");
        assert!(made.status.success());
    };
    let makings: [Making<'_>; 6] = [
        ("a link to another answer", &|place| symlink(&other, place).unwrap()),
        ("a link to something else", &|place| symlink(&secret, place).unwrap()),
        ("a link to nothing", &|place| symlink("nowhere", place).unwrap()),
        ("a link to itself", &|place| symlink(place, place).unwrap()),
        ("a pipe", &pipe),
        ("a folder", &|place| fs::create_dir(place).unwrap()),
    ];
    for (what, make) in makings {
        let _a_file = fs::remove_file(&place);
        make(&place);
        let started = Instant::now();
        for _ in 0..2 {
            assert_eq!(Answer::read(&responder.post(&der)).statuses(), ["good"], "{what}");
        }
        assert!(started.elapsed() < Duration::from_secs(5), "{what} is waited for");
        assert_eq!(fs::read(&secret).unwrap(), b"of somebody else", "{what}");
        Answer::read(&fs::read(&other).unwrap());
    }
    fs::remove_dir(&place).unwrap();
    assert_ne!(responder.post(&der), first, "signed anew");
}

#[test]
fn an_expired_revocation_or_the_answer_of_a_namesake_is_not_brought_back() {
    let site = Site::with_certificates(KeyKind::P256);
    let responder = site.serve_beside(0, "memory = 0\nfreshness = \"1h\"\n");
    let good = Answer::read(&responder.post(&site.about("0a1b").der()));
    let place = file_of(&site, "0a1b");
    let revoked = tlv(0xa1, &[&tlv(0x18, &[b"20260102030405Z"])]);
    // The folder is believed, so that this shows that what follows does.
    fs::write(&place, resigned(&site, &good, &revoked, -99, 99)).unwrap();
    let answer = Answer::read(&responder.post(&site.about("0a1b").der()));
    assert_eq!(answer.statuses(), ["revoked 1767323045 -"]);
    fs::write(&place, resigned(&site, &good, &revoked, -99, -1)).unwrap();
    assert_eq!(Answer::read(&responder.post(&site.about("0a1b").der())).statuses(), ["good"]);
    // Another CA of the same name, and the same CertID but for the key's hash.
    let namesake = ThrowawayCa::new("Test CA", KeyKind::P256, SystemClock.now()).unwrap();
    let (mine, other) = (&site.ca.identity, &namesake.identity);
    assert_eq!(
        mine.certificate.subject_name().to_der().unwrap(),
        other.certificate.subject_name().to_der().unwrap()
    );
    let cert_id = CertId::new(&other.certificate, "0a1b");
    assert_eq!(responder.post(&Request::about(&cert_id).der()).len(), 5, "unauthorized");
}

#[test]
fn a_folder_that_cannot_be_written_costs_no_answer() {
    let site = Site::with_certificates(KeyKind::P256);
    fs::write(site.path("cache"), "a file in place of the folder").unwrap();
    let responder = site.serve_beside(0, "freshness = \"0s\"\n");
    for _ in 0..3 {
        site.assert_three_answers(&responder.url(), &["-no_nonce"]);
    }
    let log = logged(&site.path("beside-0/serve.log"), "cache folder out of order");
    assert_eq!(log.matches("cache folder out of order").count(), 1, "{log}");
    assert!(site.path("cache").is_file());
}

#[test]
fn a_full_disk_costs_no_answer() {
    let site = Site::with_certificates(KeyKind::P256);
    let port = free_port();
    fs::create_dir(site.path("cache")).unwrap();
    let config = site.configure(&format!("port = {port}\n[cache]\nmemory = 0\n"));
    // A file system of its own with room for a file or two.
    let running = Running::start_mounted(&config, port, "mount -t tmpfs -o size=8k none cache");
    for number in 0..30 {
        let serial = format!("0f{number:02x}");
        site.set_status(&serial, CertStatus::Good);
        for _ in 0..2 {
            let answer = Answer::read(&running.post(&site.about(&serial).der()));
            assert_eq!(answer.statuses(), ["good"]);
        }
    }
    let log = logged(&site.path("serve.log"), "No space left on device");
    assert_eq!(log.matches("cache folder out of order").count(), 1, "{log}");
}

/// An answer as the responder signs it, made of one of its own: with another status,
/// and valid from and until so many seconds from now.
pub fn resigned(site: &Site, own: &Answer, status: &[u8], from: i64, until: i64) -> Vec<u8> {
    let time = |seconds| {
        let text = Timestamp::from_unix(SystemClock.now().unix() + seconds).to_string();
        tlv(0x18, &[text.replace(['-', ':', 'T'], "").as_bytes()])
    };
    let basic = raw_basic(&own.der);
    let [data, algorithm, ..] = children(&basic)[..] else { panic!("three parts") };
    let [responder_id, _, responses] = children(data)[..] else { panic!("three parts") };
    let cert_id = children(children(responses)[0])[0];
    let single = sequence(&[cert_id, status, &time(from), &tlv(0xa0, &[&time(until)])]);
    let data = sequence(&[responder_id, &time(from), &sequence(&[&single])]);
    let sha256 = openssl::hash::MessageDigest::sha256();
    let mut signer = openssl::sign::Signer::new(sha256, &site.ca.identity.key).unwrap();
    let signature = signer.sign_oneshot_to_vec(&data).unwrap();
    let basic = sequence(&[&data, algorithm, &tlv(3, &[&[0], &signature])]);
    let der = successful(&basic);
    assert!(Answer::read(&der).is_signed_by(&site.ca.identity.certificate));
    der
}

/// The OCSPResponse with this BasicOCSPResponse.
fn successful(basic: &[u8]) -> Vec<u8> {
    let kind = [6, 9, 0x2b, 6, 1, 5, 5, 7, 48, 1, 1];
    let bytes = tlv(0xa0, &[&sequence(&[&kind, &tlv(4, &[basic])])]);
    sequence(&[&[10, 1, 0], &bytes])
}

/// CertStatus `good`.
const GOOD: &[u8] = &[0x80, 0];

/// Something in place of a file, and how to make it.
type Making<'a> = (&'static str, &'a dyn Fn(&Path));
