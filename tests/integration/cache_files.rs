//! When answers get their files: `[cache] files`.

use std::fs;
use std::hint;
use std::os::unix::fs::MetadataExt;
use std::process::Command;
use std::sync::{Arc, Barrier};
use std::thread;

use ocsp_fcgi::cache::{Entry, Memory, ResponseCache};
use ocsp_fcgi::demo::KeyKind;
use ocsp_fcgi::status::{Basis, CertStatus, RevocationReason};
use ocsp_fcgi::time::{Clock, SystemClock, Timestamp, Validity};

use crate::support::files;
use crate::support::ocsp::{CertId, TRY_LATER, statuses};
use crate::support::site::{PROGRAM, Site, revoked};

// rule: ANS-6
#[test]
fn an_answer_that_is_asked_for_again_gets_its_file_then() {
    let site = Site::with_certificates(KeyKind::P256);
    let responder = site.serve_beside(0, ASKED_AGAIN);
    let der = site.about("0a1b").der();
    let answer = responder.post(&der);
    assert_eq!(statuses(&answer), ["good"]);
    assert!(kept(&site).is_empty());
    for _ in 0..3 {
        assert_eq!(responder.post(&der), answer);
        assert_eq!(kept(&site), [&answer[..]]);
    }
    // Once more, where somebody has removed it.
    fs::remove_dir_all(site.path("cache")).unwrap();
    assert_eq!(responder.post(&der), answer);
    assert_eq!(kept(&site), [&answer[..]]);
    // Another process has it from there.
    fs::rename(site.path("certs.db"), site.path("away.db")).unwrap();
    assert_eq!(site.serve_beside(1, ASKED_AGAIN).post(&der), answer);
}

// rule: ANS-5, ANS-6
#[test]
fn what_is_revoked_has_its_file_at_once_and_nobody_calls_it_good_without_the_store() {
    let site = Site::with_certificates(KeyKind::P256);
    let responders = [0, 1].map(|number| site.serve_beside(number, ASKED_AGAIN));
    let der = site.about("0a1b").der();
    assert_eq!(statuses(&responders[0].post(&der)), ["good"]);
    site.set_status("0a1b", revoked(RevocationReason::KeyCompromise));
    let answer = responders[1].post(&der);
    assert!(statuses(&answer)[0].starts_with("revoked"));
    assert_eq!(kept(&site), [&answer[..]]);
    fs::rename(site.path("certs.db"), site.path("away.db")).unwrap();
    for responder in &responders {
        assert_eq!(responder.post(&der), answer);
    }
}

// rule: ANS-6
#[test]
fn no_file_outlasts_the_answer_that_has_taken_its_place() {
    let site = Site::with_certificates(KeyKind::P256);
    let der = site.about("0a1b").der();
    let responder = site.serve_beside(0, ASKED_AGAIN);
    for status in [
        revoked(RevocationReason::CertificateHold),
        CertStatus::Good,
        revoked(RevocationReason::KeyCompromise),
    ] {
        site.set_status("0a1b", status);
        // Also when the file is all that is known of the answer before.
        for responder in [&responder, &site.serve_beside(1, ASKED_AGAIN)] {
            let answer = responder.post(&der);
            assert_eq!(statuses(&answer)[0] == "good", status == CertStatus::Good);
            assert_eq!(kept(&site), [answer]);
        }
    }
    site.set_status("0a1b", CertStatus::Unknown);
    assert_eq!(statuses(&responder.post(&der)), ["unknown"]);
    assert!(kept(&site).is_empty());
}

#[test]
fn a_process_for_one_question_leaves_a_file_in_any_case() {
    let site = Site::with_certificates(KeyKind::P256);
    site.configure(&format!("[cache]\n{ASKED_AGAIN}"));
    fs::write(site.path("request.der"), site.about("0a1b").der()).unwrap();
    let mut command = Command::new(PROGRAM);
    command.args(["respond", "--config", "config.toml", "--in", "request.der"]);
    let output = command.current_dir(site.folder.path()).output().unwrap();
    assert_eq!(statuses(&output.stdout), ["good"]);
    assert_eq!(kept(&site), [output.stdout]);
}

// rule: ANS-5
#[test]
fn an_answer_without_a_file_ends_with_its_process() {
    let site = Site::with_certificates(KeyKind::P256);
    let der = site.about("0a1b").der();
    for (files, wanted) in [("at-once", None), ("asked-again", Some(TRY_LATER))] {
        let _nothing_there = fs::remove_dir_all(site.path("cache"));
        let more = format!("files = \"{files}\"\n");
        let answer = site.serve_beside(0, &more).post(&der);
        fs::rename(site.path("certs.db"), site.path("away.db")).unwrap();
        assert_eq!(site.serve_beside(0, &more).post(&der), wanted.unwrap_or(&answer), "{files}");
        fs::rename(site.path("away.db"), site.path("certs.db")).unwrap();
    }
}

// rule: ANS-6
#[test]
fn what_is_forgotten_is_not_brought_back_by_who_finds_its_file_at_that_moment() {
    let site = Site::with_certificates(KeyKind::P256);
    let cert_id = CertId::new(&site.ca.identity.certificate, "0a1b").der();
    let cert_id = ocsp_fcgi::ocsp::CertId::from_der(&cert_id).unwrap();
    let answer = site.serve_beside(0, "").post(&site.about("0a1b").der());
    let signer = site.ca.identity.certificate.to_der().unwrap();
    let memory = Arc::new(Memory::new(1 << 20));
    let cache = ResponseCache::new(memory, Some(&site.path("cache")), &signer);
    let now = SystemClock.now();
    let serial = cert_id.serial();
    for round in 0..3000 {
        cache.disk().unwrap().try_write(&cert_id, &answer, now).unwrap();
        let meet = Barrier::new(2);
        let told = thread::scope(|scope| {
            let asked = scope.spawn(|| {
                meet.wait();
                // At another point of what goes on beside it each time.
                (0..round % 300).for_each(|_| hint::spin_loop());
                let making = cache.begin(&serial);
                let found =
                    cache.get(&cert_id, now).or_else(|| cache.load(&cert_id, now, |_| true));
                found.is_some() && !making.is_overtaken(now)
            });
            meet.wait();
            cache.overtake(&serial, Timestamp::NEVER);
            cache.forget_unless(&cert_id, None);
            asked.join().unwrap()
        });
        let is_left = cache.get(&cert_id, now).is_some();
        // It is forgotten, or whoever has it is told and forgets it.
        assert!(!(told && is_left), "round {round}");
        cache.forget_good(&cert_id);
    }
}

// rule: ANS-6
#[test]
fn what_another_process_has_seen_later_stays_whoever_writes_last() {
    let site = Site::with_certificates(KeyKind::P256);
    let cert_id = CertId::new(&site.ca.identity.certificate, "0a1b").der();
    let cert_id = ocsp_fcgi::ocsp::CertId::from_der(&cert_id).unwrap();
    let folder = site.path("cache");
    // The answers of one responder, which have real signatures.
    let responder = site.serve_beside(0, "freshness = \"0s\"\n");
    let answers = [CertStatus::Good, revoked(RevocationReason::CertificateHold)].map(|status| {
        site.set_status("0a1b", status);
        (status, responder.post(&site.about("0a1b").der()))
    });
    drop(responder);
    fs::remove_dir_all(&folder).unwrap();
    let signer = site.ca.identity.certificate.to_der().unwrap();
    let now = SystemClock.now().unix();
    let cache = || ResponseCache::new(Arc::new(Memory::new(1 << 20)), Some(&folder), &signer);
    let validity = Validity {
        this_update: Timestamp::from_unix(now - 100),
        next_update: Timestamp::from_unix(now + 100),
    };
    let entry = |der: &[u8], status, at| Entry::new((der, cache().signer()), status, validity, at);
    let put = |(status, der): &(CertStatus, Vec<u8>), confirmed, older: Option<&[u8]>| {
        let cache = cache();
        let older = older.map(|der| entry(der, CertStatus::Good, Timestamp::EPOCH));
        let new = entry(der, *status, Timestamp::from_unix(now + confirmed));
        cache.put(&cert_id, Arc::new(new), older.as_ref(), Basis::Listed, || true);
    };
    let [good, revoked] = &answers;
    for (first, first_at, second, second_at, left) in [
        (revoked, -2, good, -3, revoked),
        (revoked, -2, good, -2, revoked),
        (revoked, -2, good, -1, good),
        (good, -2, revoked, -3, good),
        (good, -2, revoked, -2, revoked),
        (good, -2, revoked, -1, revoked),
        // The clock went back: nothing is later.
        (good, 3600, revoked, -1, revoked),
    ] {
        // Nothing was kept before, or another answer, or the one that is there.
        let times = [None, Some(&b"old"[..]), Some(&first.1)];
        for (older, left) in times.into_iter().zip([left, left, second]) {
            let _nothing_there = fs::remove_dir_all(&folder);
            put(first, first_at, None);
            assert_eq!(kept(&site), [&first.1[..]]);
            put(second, second_at, older);
            assert_eq!(kept(&site), [&left.1[..]], "{first_at} {second_at}");
        }
        // Or that one is confirmed which has no file any more.
        fs::remove_dir_all(&folder).unwrap();
        put(first, first_at, None);
        let at = Timestamp::from_unix(now + second_at);
        let confirmed = entry(&second.1, second.0, at);
        cache().confirm(&cert_id, &confirmed, (Basis::Listed, at), || true);
        assert_eq!(kept(&site), [&left.1[..]], "{first_at} {second_at}");
        let left_at = if left == first { first_at } else { second_at };
        let modified = files(&folder)[0].metadata().unwrap().mtime();
        assert_eq!(modified, now + left_at, "{first_at} {second_at}");
    }
}

/// What the files in the cache folder hold.
fn kept(site: &Site) -> Vec<Vec<u8>> {
    files(&site.path("cache")).iter().map(|path| fs::read(path).unwrap()).collect()
}

/// With a window of nothing, so that each question reads its row.
const ASKED_AGAIN: &str = "files = \"asked-again\"\nfreshness = \"0s\"\n";
