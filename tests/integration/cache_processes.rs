//! The cache folder: shared by processes that are killed; what leaves a file in it, how
//! long that counts, and what is swept out.

use std::fs::{self, File, FileTimes};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use nix::sys::signal::Signal;
use ocsp_fcgi::demo::KeyKind;
use ocsp_fcgi::status::{CertStatus, RevocationReason};
use ocsp_fcgi::time::{Clock, SystemClock};

use crate::support::ocsp::{
    Answer, CertId, MALFORMED, NULL, Request, SHA1, SHA256, SHA384, SHA512,
};
use crate::support::site::{Running, Site, revoked};
use crate::support::{OnDrop, answers, eventually, files, logged};

// rule: ANS-6
#[test]
fn processes_share_a_folder_while_one_of_them_is_killed_again_and_again() {
    let site = Site::with_certificates(KeyKind::P256);
    let asked: Vec<_> = (0..40)
        .map(|number| {
            let serial = format!("0a{number:02x}");
            let status = match number % 2 {
                0 => CertStatus::Good,
                _ => revoked(RevocationReason::Superseded),
            };
            site.set_status(&serial, status);
            let cert_id = CertId::new(&site.ca.identity.certificate, &serial);
            let wanted = if number % 2 == 0 { "good" } else { "revoked 1767323045 4" };
            (Request::about(&cert_id).der(), cert_id.der(), wanted)
        })
        .collect();
    // Nothing in memory: each answer comes from the folder, or is signed and written.
    let more = "memory = 0\nfreshness = \"0s\"\n";
    let steady: Vec<_> = (0..2).map(|number| site.serve_beside(number, more)).collect();
    let (done, answered) = (AtomicBool::new(false), AtomicUsize::new(0));
    let cache = site.path("cache");
    std::thread::scope(|scope| {
        let _end = OnDrop(&done);
        for (number, responder) in steady.iter().enumerate() {
            let (asked, done, answered) = (&asked, &done, &answered);
            scope.spawn(move || {
                for (der, cert_id, wanted) in asked.iter().cycle().skip(number * 7) {
                    if done.load(Ordering::Relaxed) {
                        break;
                    }
                    let answer = Answer::read(&responder.post(der));
                    assert_eq!(answer.statuses(), [*wanted]);
                    assert!(answer.der.windows(cert_id.len()).any(|it| it == cert_id));
                    answered.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        for round in 0..12 {
            let victim = site.serve_beside(2, more);
            // So that all of them write.
            for file in answers(&cache) {
                let _another_was_faster = fs::remove_file(file);
            }
            std::thread::scope(|scope| {
                let (asked, victim) = (&asked, &victim);
                scope.spawn(move || {
                    for (der, ..) in asked.iter().cycle() {
                        if !sends(victim, der) {
                            break;
                        }
                    }
                });
                std::thread::sleep(Duration::from_millis(5 + 3 * round));
                victim.signal(Signal::SIGKILL);
            });
            // Every whole file is a whole answer, whoever died while writing.
            for file in answers(&cache) {
                if let Ok(der) = fs::read(&file) {
                    Answer::read(&der);
                }
            }
        }
    });
    assert!(answered.into_inner() > 100);
}

// rule: ANS-6
// rule: REQ-5
#[test]
fn only_usual_spellings_of_a_question_leave_a_file() {
    let site = Site::with_certificates(KeyKind::P256);
    let responder = site.serve_beside(0, "");
    let ca = &site.ca.identity.certificate;
    for hash in [SHA1, SHA256, SHA384, SHA512] {
        for parameters in [NULL, &[]] {
            let mut cert_id = CertId::hashed(hash, ca, "0a1b");
            cert_id.parameters = parameters;
            for zeros in 0..4 {
                let answer = responder.post(&Request::about(&cert_id).der());
                assert!(answer.len() > 100, "{zeros} zeros: {answer:?}");
                cert_id.serial.insert(0, 0);
            }
        }
        for made_up in [&[4, 1, 7][..], &[5, 1, 0], &[0x30, 0]] {
            let cert_id = CertId { parameters: made_up, ..CertId::hashed(hash, ca, "0a1b") };
            assert_eq!(responder.post(&Request::about(&cert_id).der()), MALFORMED);
        }
    }
    assert_eq!(answers(&site.path("cache")).len(), 4 * 2);
}

// rule: ANS-3
#[test]
fn serials_that_were_never_issued_leave_no_file() {
    let site = Site::with_certificates(KeyKind::P256);
    let responder = site.serve_beside(0, "");
    for number in 0..200 {
        let serial = format!("0e{number:04x}");
        let request = Request::about(&CertId::new(&site.ca.identity.certificate, &serial));
        let request = if number % 3 == 0 { request.with_nonce(b"n") } else { request };
        assert_eq!(Answer::read(&responder.post(&request.der())).statuses(), ["unknown"]);
    }
    let cert_id =
        CertId { name_hash: vec![7; 20], ..CertId::new(&site.ca.identity.certificate, "0a1b") };
    assert_eq!(responder.post(&Request::about(&cert_id).der()).len(), 5);
    assert_eq!(files(&site.path("cache")), Vec::<PathBuf>::new());
    // The earlier responder kept what a stranger's question got under the bare serial.
    assert_eq!(Answer::read(&responder.post(&site.about("0a1b").der())).statuses(), ["good"]);
    assert_eq!(files(&site.path("cache")).len(), 1);
}

// rule: ANS-6
#[test]
fn a_file_is_as_fresh_as_its_modification_time_says_and_the_future_says_nothing() {
    let site = Site::with_certificates(KeyKind::P256);
    let der = site.about("0a1b").der();
    let more = "freshness = \"1h\"\n";
    let kept = site.serve_beside(0, more).post(&der);
    let place = file_of(&site, "0a1b");
    let restarted = || Answer::read(&site.serve_beside(0, more).post(&der));
    let touch = |time| {
        let times = FileTimes::new().set_modified(time);
        File::options().write(true).open(&place).unwrap().set_times(times).unwrap();
    };
    let revocation = revoked(RevocationReason::Superseded);
    site.set_status("0a1b", revocation);
    assert_eq!(restarted().der, kept, "within the window");
    for hours in [2, -2] {
        fs::write(&place, &kept).unwrap();
        let span = Duration::from_secs(7200);
        let now = now();
        touch(if hours > 0 { now + span } else { now - span });
        assert!(restarted().statuses()[0].starts_with("revoked"), "{hours}");
    }
}

#[test]
fn a_new_signer_does_not_meet_the_answers_of_the_old_one() {
    let site = Site::with_certificates(KeyKind::P256);
    let responder = site.serve_beside(0, "");
    responder.post(&site.about("0a1b").der());
    let old = file_of(&site, "0a1b");
    // Same name, same key, another certificate: nothing in an answer tells them apart.
    let mut again = openssl::x509::X509Builder::new().unwrap();
    let ca = &site.ca.identity;
    again.set_version(2).unwrap();
    again.set_subject_name(ca.certificate.subject_name()).unwrap();
    again.set_issuer_name(ca.certificate.subject_name()).unwrap();
    again.set_pubkey(&ca.key).unwrap();
    again.set_not_before(ca.certificate.not_before()).unwrap();
    again.set_not_after(&openssl::asn1::Asn1Time::days_from_now(90).unwrap()).unwrap();
    again.sign(&ca.key, openssl::hash::MessageDigest::sha256()).unwrap();
    fs::write(site.path("ca.crt"), again.build().to_pem().unwrap()).unwrap();
    let before = fs::read(&old).unwrap();
    responder.signal(Signal::SIGHUP);
    eventually("another answer", || {
        (responder.post(&site.about("0a1b").der()) != before).then_some(())
    });
    drop(responder);
    // And the old folder is swept at the next start.
    let _responder = site.serve_beside(0, "");
    eventually("the old folder is swept", || (!old.exists()).then_some(()));
    assert_eq!(files(&site.path("cache")).len(), 1);
}

#[test]
fn a_sweep_removes_only_what_bears_a_name_of_ours() {
    let site = Site::with_certificates(KeyKind::P256);
    site.serve_beside(0, "").post(&site.about("0a1b").der());
    let current = file_of(&site, "0a1b");
    let bucket = current.parent().unwrap().to_owned();
    let old_bucket = site.path("cache/0123456789abcdef/1b");
    let strange = site.path("cache/mine/1b");
    for folder in [&old_bucket, &strange] {
        fs::create_dir_all(folder).unwrap();
    }
    let ours = current.file_name().unwrap().to_str().unwrap();
    let days = |days: u64| Duration::from_secs(days * 86_400);
    let renamed = |serial: &str| ours.replace("0a1b", serial);
    let cases = [
        (current.clone(), days(0), true),
        (bucket.join(renamed("0b1b")), days(4), false), // longer than it can be valid
        (bucket.join(renamed("0c1b")), days(2), true),
        (bucket.join(".tmpAbC123.tmp"), days(1), false),
        (bucket.join(".tmpXyZ789.tmp"), days(0), true), // being written
        (bucket.join("precious.der"), days(400), true),
        (bucket.join("notes.tmp"), days(400), true),
        (bucket.join("README"), days(400), true),
        (old_bucket.join(ours), days(0), false),
        (old_bucket.join(".tmpAbC123.tmp"), days(1), false),
        (old_bucket.join("my-keys.der"), days(0), true),
        (strange.join(ours), days(400), true),
        (site.path("cache/precious.der"), days(400), true),
    ];
    for (path, age, _) in &cases {
        let times = FileTimes::new().set_modified(now() - *age);
        let file = File::options().create(true).append(true).open(path).unwrap();
        file.set_times(times).unwrap();
    }
    let _responder = site.serve_beside(0, "");
    logged(&site.path("beside-0/serve.log"), "cache swept: ");
    for (path, _, stays) in cases {
        assert_eq!(path.exists(), stays, "{}", path.display());
    }
}

/// Whether an answer came.
fn sends(responder: &Running, der: &[u8]) -> bool {
    use std::io::{Read, Write};
    let exchange = || -> std::io::Result<usize> {
        let mut stream = std::net::TcpStream::connect(responder.address())?;
        let head = format!("POST / HTTP/1.1\r\nContent-Length: {}\r\n\r\n", der.len());
        stream.write_all(&[head.as_bytes(), der].concat())?;
        stream.read(&mut [0; 4096])
    };
    exchange().is_ok_and(|count| count > 0)
}

/// The file of the only answer about a serial.
#[track_caller]
pub fn file_of(site: &Site, serial: &str) -> PathBuf {
    let name = format!("{serial}-");
    let mut files = files(&site.path("cache"));
    files.retain(|file| file.file_name().unwrap().to_str().unwrap().starts_with(&name));
    assert_eq!(files.len(), 1, "{files:?}");
    files.remove(0)
}

fn now() -> SystemTime {
    let seconds = u64::try_from(SystemClock.now().unix()).unwrap();
    SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
}
