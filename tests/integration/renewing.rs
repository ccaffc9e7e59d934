//! When a row is read again for an answer that is kept, when that is signed anew, and when
//! neither is.

use std::fs::{self, File, FileTimes};
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, SystemTime};

use ocsp_fcgi::responder::Reply;
use ocsp_fcgi::responder::ahead::Due;
use ocsp_fcgi::signer::certificate::Certificate;
use ocsp_fcgi::status::CertStatus;
use ocsp_fcgi::time::{Clock, SystemClock, Timestamp};

use crate::support::files;
use crate::support::ocsp::Answer;
use crate::support::responder::World;

// rule: ANS-6
#[test]
fn the_row_is_read_in_the_last_fifth_of_the_window_and_not_before() {
    let world = World::new(WINDOW);
    let now = SystemClock.now();
    world.at(now);
    assert_eq!(world.told(&world.sha1), "good");
    world.revoke("0a1b");
    world.reads();
    world.at(now.saturating_add(WINDOW * 7 / 10));
    assert_eq!((world.told(&world.sha1).as_str(), world.reads()), ("good", 0));
    world.at(now.saturating_add(WINDOW * 8 / 10));
    assert!(world.told(&world.sha1).starts_with("revoked"));
}

// rule: RSP-4
#[test]
fn nothing_is_signed_anew_that_could_not_last_longer() {
    let world = World::new(Duration::ZERO);
    let ca = Certificate::new(world.site.ca.identity.certificate.clone()).unwrap();
    let before_the_end = |time| world.at(ca.not_after().saturating_sub(time));
    let der = || match world.ask(&world.sha1).join().unwrap() {
        Reply::Kept(entry) => entry.der().to_vec(),
        other => panic!("{other:?}"),
    };
    before_the_end(DAY * 2);
    let first = der();
    assert_eq!(Answer::read(&first).times().2, ca.not_after().unix());
    world.reads();
    before_the_end(DAY / 2);
    assert!(der() == first, "half of its time is over");
    assert_eq!(world.reads(), 1);
}

// rule: ANS-6
#[test]
fn who_is_overtaken_each_time_the_row_is_read_is_to_ask_later() {
    let world = Arc::new(World::new(WINDOW));
    for question in [&world.sha1, &world.nonce()] {
        world.reads();
        overtake(&world, 2);
        assert_eq!(world.told(question), "tryLater");
        // By the one, and by the other, twice each.
        assert_eq!(world.reads(), 4);
        assert_eq!(world.told(question), "good");
    }
}

// rule: ANS-5
#[test]
fn a_store_whose_row_cannot_be_understood_is_not_away() {
    let past = |seconds| SystemClock.now().saturating_add(WINDOW + Duration::from_secs(seconds));
    let world = World::whose_store_was_away(WINDOW, past(1));
    world.spoil("ff02");
    world.at(past(2));
    assert_eq!(world.told(&world.site.about("ff02").der()), "internalError");
    world.at(past(4));
    // It waits for its row, as nothing is known against the store.
    world.while_a_row_is_read(&world.sha384, || assert_eq!(world.told(&world.sha1), "tryLater"));
}

// rule: ANS-6
#[test]
fn what_is_signed_ahead_counts_as_of_the_last_reading_of_all() {
    let now = SystemClock.now();
    let world = due_for_renewal(now);
    // Another process has read the row in this second.
    let path = &files(&world.site.path("cache"))[0];
    let second = SystemTime::UNIX_EPOCH + Duration::from_secs(now.unix().unsigned_abs());
    let times = FileTimes::new().set_modified(second);
    File::options().write(true).open(path).unwrap().set_times(times).unwrap();
    let before = now.saturating_sub(Duration::from_secs(1));
    let (due, done) = world.warm(CertStatus::Good, before);
    assert_eq!((due, done.unwrap()), (Due::Again, Due::Again));
    assert_eq!(path.metadata().unwrap().mtime(), now.unix());
}

// rule: ANS-6
#[test]
fn what_another_process_finds_out_before_an_answer_is_signed_ahead_stays() {
    let nothing_kept: fn(Timestamp) -> World = |_| World::new(WINDOW);
    for (world, due) in [(nothing_kept, Due::New), (due_for_renewal, Due::Again)] {
        let done = || done_beside_another_process(world, due);
        // On a busy machine the row is read once more, and its answer signed again.
        assert!((0..5).any(|_| done() == Due::Overtaken));
    }
}

fn done_beside_another_process(world: fn(Timestamp) -> World, wanted: Due) -> Due {
    let now = SystemClock.now();
    let world = world(now);
    world.at(now);
    let mut told = String::new();
    let before = now.saturating_sub(Duration::from_secs(1));
    let (due, done) = world.warm_after(CertStatus::Good, before, || {
        world.revoke("0a1b");
        let other = World::beside(&world, WINDOW);
        other.at(now);
        told = other.told(&other.sha1);
    });
    assert_eq!(due, wanted);
    assert!(told.starts_with("revoked"), "{told}");
    let path = &files(&world.site.path("cache"))[0];
    assert_eq!(Answer::read(&fs::read(path).unwrap()).statuses(), [told]);
    done.unwrap()
}

// rule: ANS-6
#[test]
fn what_is_revoked_while_its_turn_to_be_signed_ahead_is_waited_for_is_not_kept_as_good() {
    for is_kept in [false, true] {
        let now = SystemClock.now();
        let world = if is_kept { due_for_renewal(now) } else { World::new(WINDOW) };
        world.at(now);
        // In the same second, which clocks do not tell.
        let (_, done) = world.warm_after(CertStatus::Good, now, || {
            world.revoke("0a1b");
            let other = World::beside(&world, WINDOW);
            other.at(now);
            assert!(other.told(&other.nonce()).starts_with("revoked"));
            thread::sleep(LONG_WAIT);
        });
        assert!(done.unwrap().is_now());
        let path = &files(&world.site.path("cache"))[0];
        let told = Answer::read(&fs::read(path).unwrap()).statuses().concat();
        assert!(told.starts_with("revoked"), "{told}");
    }
}

// rule: ANS-6
#[test]
fn what_is_removed_before_it_is_signed_ahead_anew_is_not_kept() {
    let now = SystemClock.now();
    let world = due_for_renewal(now);
    let path = &files(&world.site.path("cache"))[0];
    let (due, done) = world.warm_after(CertStatus::Good, now, || fs::remove_file(path).unwrap());
    assert_eq!((due, done.unwrap()), (Due::Again, Due::Overtaken));
    assert!(files(&world.site.path("cache")).is_empty());
}

/// With an answer to the question by SHA-1 that has more than half of its time behind it.
fn due_for_renewal(now: Timestamp) -> World {
    let world = World::new(WINDOW);
    world.at(now.saturating_sub(DAY * 2));
    assert_eq!(world.told(&world.sha1), "good");
    world.at(now);
    world
}

/// The next so many times that a row is read, it is not good, for a moment in which another
/// one is told so.
fn overtake(world: &Arc<World>, times: usize) {
    let within = Arc::clone(world);
    world.then(Box::new(move || {
        within.site.set_status("0a1b", CertStatus::Unknown);
        assert_eq!(within.told(&within.sha256), "unauthorized");
        within.site.set_status("0a1b", CertStatus::Good);
        if times > 1 {
            overtake(&within, times - 1);
        }
    }));
}

const WINDOW: Duration = Duration::from_secs(10);
/// More than a reading takes that counts as done at once.
const LONG_WAIT: Duration = Duration::from_millis(40);
const DAY: Duration = Duration::from_secs(86_400);
