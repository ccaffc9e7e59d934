//! The cache folder: shared by processes that are killed, holding files that are not
//! as they should be, and being none at all.

use std::fs::{self, File, FileTimes};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime};

use nix::sys::signal::Signal;
use ocsp_fcgi::demo::{KeyKind, ThrowawayCa};
use ocsp_fcgi::status::{CertStatus, RevocationReason};
use ocsp_fcgi::time::{Clock, SystemClock, Timestamp};

use crate::support::ocsp::{
    Answer, CertId, NULL, Request, SHA1, SHA256, SHA384, SHA512, children, raw_basic, sequence, tlv,
};
use crate::support::site::{PROGRAM, REVOKED_AT, Running, Site};
use crate::support::{eventually, files, free_port, is_answer, logged, run};

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
        let _end = Flag(&done);
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
            for file in files(&cache).into_iter().filter(|path| is_answer(path)) {
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
            for file in files(&cache).into_iter().filter(|path| is_answer(path)) {
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
    }
    let answers = files(&site.path("cache")).into_iter().filter(|path| is_answer(path)).count();
    assert_eq!(answers, 4 * 2);
}

// rule: ANS-6
#[test]
fn a_file_that_is_not_the_answer_is_never_given() {
    let site = Site::with_certificates(KeyKind::P256);
    let responder = site.serve_beside(0, "memory = 0\nfreshness = \"1h\"\n");
    let ask = |serial: &str| Answer::read(&responder.post(&about(&site, serial)));
    let (good, bad) = (ask("0a1b"), ask("ff02"));
    let place = file_of(&site, "0a1b");
    let stranger = Site::with_certificates(KeyKind::P256);
    let theirs = Answer::read(&stranger.serve("").post(&about(&stranger, "0a1b")));
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
    let line = "cached answer is not ours as we sign now, signing anew: serial=0a1b";
    logged(&site.path("beside-0/serve.log"), line);
}

// rule: ANS-6
#[test]
fn what_is_no_file_at_all_costs_no_answer() {
    let site = Site::with_certificates(KeyKind::P256);
    let responder = site.serve_beside(0, "memory = 0\nfreshness = \"1h\"\n");
    let der = about(&site, "0a1b");
    let first = responder.post(&der);
    let place = file_of(&site, "0a1b");
    responder.post(&about(&site, "ff02"));
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
    assert_eq!(Answer::read(&responder.post(&about(&site, "0a1b"))).statuses(), ["good"]);
    assert_eq!(files(&site.path("cache")).len(), 1);
}

// rule: ANS-6
#[test]
fn a_file_is_as_fresh_as_its_modification_time_says_and_the_future_says_nothing() {
    let site = Site::with_certificates(KeyKind::P256);
    let der = about(&site, "0a1b");
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
    responder.post(&about(&site, "0a1b"));
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
        (responder.post(&about(&site, "0a1b")) != before).then_some(())
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
    site.serve_beside(0, "").post(&about(&site, "0a1b"));
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
    let script = "mount -t tmpfs -o size=8k none cache && echo mounted && exec \"$@\"";
    let mut command = Command::new("unshare");
    command.args(["--map-root-user", "--mount", "sh", "-c", script, "sh", PROGRAM, "serve"]);
    command.arg("--config").arg(&config).current_dir(site.folder.path());
    let log = File::create(site.path("serve.log")).unwrap();
    let output = log.try_clone().unwrap();
    command.stdin(Stdio::null()).stdout(output).stderr(log);
    let child = command.spawn().expect("apt-get install util-linux");
    let mut running = Running { child, port };
    let log = || fs::read_to_string(site.path("serve.log")).unwrap();
    let listens = eventually("it listens", || match running.child.try_wait().unwrap() {
        Some(_) => Some(false),
        None => std::net::TcpStream::connect(running.address()).ok().map(|_| true),
    });
    if !listens && !log().contains("mounted") {
        eprintln!("not tried: nothing may be mounted here: {}", log());
        return;
    }
    for number in 0..30 {
        let serial = format!("0f{number:02x}");
        site.set_status(&serial, CertStatus::Good);
        for _ in 0..2 {
            let answer = Answer::read(&running.post(&about(&site, &serial)));
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
    let kind = [6, 9, 0x2b, 6, 1, 5, 5, 7, 48, 1, 1];
    let bytes = tlv(0xa0, &[&sequence(&[&kind, &tlv(4, &[&basic])])]);
    let der = sequence(&[&[10, 1, 0], &bytes]);
    assert!(Answer::read(&der).is_signed_by(&site.ca.identity.certificate));
    der
}

#[test]
fn an_expired_revocation_or_the_answer_of_a_namesake_is_not_brought_back() {
    let site = Site::with_certificates(KeyKind::P256);
    let responder = site.serve_beside(0, "memory = 0\nfreshness = \"1h\"\n");
    let good = Answer::read(&responder.post(&about(&site, "0a1b")));
    let place = file_of(&site, "0a1b");
    let revoked = tlv(0xa1, &[&tlv(0x18, &[b"20260102030405Z"])]);
    // The folder is believed, so that this shows that what follows does.
    fs::write(&place, resigned(&site, &good, &revoked, -99, 99)).unwrap();
    let answer = Answer::read(&responder.post(&about(&site, "0a1b")));
    assert_eq!(answer.statuses(), ["revoked 1767323045 -"]);
    fs::write(&place, resigned(&site, &good, &revoked, -99, -1)).unwrap();
    assert_eq!(Answer::read(&responder.post(&about(&site, "0a1b"))).statuses(), ["good"]);
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

/// CertStatus `good`.
const GOOD: &[u8] = &[0x80, 0];

/// Something in place of a file, and how to make it.
type Making<'a> = (&'static str, &'a dyn Fn(&Path));

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

/// Sets its flag when dropped, also by a failed assertion.
struct Flag<'a>(&'a AtomicBool);

impl Drop for Flag<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn about(site: &Site, serial: &str) -> Vec<u8> {
    Request::about(&CertId::new(&site.ca.identity.certificate, serial)).der()
}

fn revoked(reason: RevocationReason) -> CertStatus {
    CertStatus::Revoked { time: Timestamp::from_unix(REVOKED_AT), reason: Some(reason) }
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
