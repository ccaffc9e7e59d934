//! What is told while an answer is made whose row was read before it changed.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use ocsp_fcgi::status::CertStatus;
use ocsp_fcgi::time::{Clock, SystemClock};
use openssl::x509::X509;

use crate::support::files;
use crate::support::ocsp::Answer;
use crate::support::responder::{World, told};
use crate::support::site::REVOKED_AT;

// rule: ANS-6
#[test]
fn who_is_overtaken_while_it_waits_for_its_signature_does_not_call_it_good() {
    let world = World::new(Duration::from_secs(3600));
    let told = world.told_after(|| {
        world.site.set_status("0a1b", CertStatus::Unknown);
        // By its other name: told at once, as nothing has to be signed.
        assert_eq!(world.told(&world.sha256), "unauthorized");
    });
    assert_eq!(told, "unauthorized");
    assert_eq!(world.told(&world.sha1), "unauthorized");
    // Not for a moment either, in which another process could have found it.
    assert!(!world.site.path("cache").exists());
}

// rule: ANS-6
#[test]
fn the_row_of_an_answer_that_has_waited_long_for_its_signature_is_read_once_more() {
    let world = World::new(Duration::from_secs(3600));
    let mut since = 0;
    let told = world.told_after(|| {
        thread::sleep(LONG_WAIT);
        since = SystemClock.now().unix();
    });
    assert_eq!(told, "good");
    // And again where to write its file took long.
    assert!((1..=2).contains(&world.reads()));
    // Kept as of then; the kernel's clock for files may be a tick behind.
    let modified = |path: &PathBuf| path.metadata().unwrap().mtime();
    let kept: Vec<i64> = files(&world.site.path("cache")).iter().map(modified).collect();
    assert!(matches!(kept[..], [second] if second >= since - 1), "{kept:?} {since}");
}

// rule: ANS-6
#[test]
fn what_another_process_has_changed_during_a_long_wait_for_the_signature_counts() {
    let world = World::new(Duration::from_secs(3600));
    let told = world.told_after(|| {
        // Nobody tells: no question meets the new row here.
        world.site.set_status("0a1b", CertStatus::Unknown);
        thread::sleep(LONG_WAIT);
    });
    assert_eq!(told, "unauthorized");
    assert!(!world.site.path("cache").exists());
}

// rule: ANS-5, ANS-6
#[test]
fn an_answer_is_given_and_not_kept_where_the_store_has_gone_while_it_waited_for_its_signature() {
    let world = World::new(Duration::from_secs(3600));
    let told = world.told_after(|| {
        // Another process has told that it is revoked, and has left no trace.
        world.revoke("0a1b");
        let other = World::beside(&world, Duration::from_secs(3600));
        assert_eq!(other.told(&other.nonce()), format!("revoked {REVOKED_AT} 1"));
        world.hide_store();
        thread::sleep(LONG_WAIT);
    });
    assert_eq!(told, "good");
    assert_eq!(world.told(&world.sha1), "tryLater");
    assert!(files(&world.site.path("cache")).is_empty());
}

// rule: ANS-5, ANS-6
#[test]
fn who_is_overtaken_while_it_confirms_an_answer_leaves_nothing_that_calls_it_good() {
    let world = Arc::new(World::new(Duration::ZERO));
    assert_eq!(world.told(&world.sha1), "good");
    let within = Arc::clone(&world);
    world.then(Box::new(move || {
        within.site.set_status("0a1b", CertStatus::Unknown);
        assert_eq!(within.told(&within.sha256), "unauthorized");
        within.hide_store();
    }));
    assert_eq!(world.told(&world.sha1), "tryLater");
    assert!(files(&world.site.path("cache")).is_empty());
}

// rule: ANS-6
#[test]
fn an_answer_with_a_nonce_is_not_good_either_once_another_was_told() {
    let world = Arc::new(World::new(Duration::from_secs(3600)));
    let told = world.told_to_after(&world.nonce(), || {
        world.site.set_status("0a1b", CertStatus::Unknown);
        assert_eq!(world.told(&world.sha256), "unauthorized");
    });
    assert_eq!(told, "unauthorized");
    // Nor where another process was; the row is read once more.
    world.site.set_status("0a1b", CertStatus::Good);
    let told = world.told_to_after(&world.nonce(), || {
        world.site.set_status("0a1b", CertStatus::Unknown);
        thread::sleep(LONG_WAIT);
    });
    assert_eq!(told, "unauthorized");
    // Nor where another is told after that reading.
    world.site.set_status("0a1b", CertStatus::Good);
    let told = world.told_to_after(&world.nonce(), || {
        thread::sleep(LONG_WAIT);
        let within = Arc::clone(&world);
        world.then(Box::new(move || {
            within.site.set_status("0a1b", CertStatus::Unknown);
            assert_eq!(within.told(&within.sha256), "unauthorized");
        }));
    });
    assert_eq!(told, "unauthorized");
}

// rule: ANS-6
#[test]
fn of_several_certificates_none_is_good_any_more_when_the_row_of_another_was_read_once_more() {
    let world = Arc::new(World::new(Duration::from_secs(3600)));
    world.site.set_status("0a1c", CertStatus::Good);
    let mut both = world.site.about("0a1b").with_nonce(b"nonce");
    both.cert_ids.extend(world.site.about("0a1c").cert_ids);
    let told = world.told_to_after(&both.der(), || {
        world.reads(); // that of the second one
        thread::sleep(LONG_WAIT);
        let (within, later) = [(); 2].map(|()| Arc::clone(&world)).into();
        // Once more that of the first, which is good still; and then that of the second.
        world.then(Box::new(move || {
            within.then(Box::new(move || {
                later.site.set_status("0a1b", CertStatus::Unknown);
                assert_eq!(later.told(&later.sha256), "unauthorized");
            }));
        }));
    });
    assert_eq!(told, "unauthorized");
}

// rule: ANS-6
#[test]
fn a_revocation_in_the_folder_overtakes_though_its_question_began_a_second_before() {
    let world = World::new(Duration::from_secs(3600));
    let now = SystemClock.now();
    world.at(now);
    let told = world.told_after(|| {
        world.revoke("0a1b");
        let other = World::beside(&world, Duration::from_secs(3600));
        other.at(now.saturating_sub(Duration::from_secs(1)));
        assert_eq!(other.told(&other.sha256), format!("revoked {REVOKED_AT} 1"));
        assert_eq!(world.told(&world.sha256), format!("revoked {REVOKED_AT} 1"));
    });
    assert_eq!(told, format!("revoked {REVOKED_AT} 1"));
}

// rule: ANS-6
#[test]
fn nobody_waits_for_an_answer_whose_row_was_read_longer_ago_than_the_window() {
    let world = World::new(Duration::from_secs(1));
    let mut second = None;
    let first = world.told_after(|| {
        world.revoke("0a1b");
        thread::sleep(Duration::from_secs(1));
        second = Some(world.ask(&world.sha1));
        world.wait_for_a_read();
        thread::sleep(Duration::from_millis(200)); // and makes use of it
    });
    let second = told(&second.unwrap().join().unwrap());
    assert_eq!([first, second], [(); 2].map(|()| format!("revoked {REVOKED_AT} 1")));
}

#[test]
fn who_asks_from_the_named_instant_on_does_not_wait_for_an_answer_of_the_predecessor() {
    let now = SystemClock.now();
    let handover = now.saturating_add(Duration::from_secs(5));
    let world = World::with_successor(Duration::from_secs(3600), handover);
    world.at(now);
    let mut second = None;
    world.told_after(|| {
        world.at(handover);
        second = Some(world.ask(&world.sha1));
        thread::sleep(LONG_WAIT); // and finds the other one under way
    });
    let second = second.unwrap().join().unwrap();
    let signer = fs::read(world.site.path("signer.crt")).unwrap();
    let signer = X509::from_pem(&signer).unwrap();
    assert!(Answer::read(second.der()).is_signed_by(&signer));
}

/// For a signature, so that the row is read once more.
const LONG_WAIT: Duration = Duration::from_millis(40);
