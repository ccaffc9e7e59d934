//! The same where a clock has been ahead, or goes back, and where seconds do not tell.

use std::fs::{File, FileTimes};
use std::thread;
use std::time::{Duration, SystemTime};

use ocsp_fcgi::time::{Clock, SystemClock, Timestamp};

use super::{LATER, LONG_WINDOW, WINDOW, revoke_and_tell_another, told_revoked};
use crate::support::files;
use crate::support::responder::World;

// rule: ANS-6
#[test]
fn an_answer_of_a_later_second_is_forgotten_with_the_others() {
    let world = World::new(WINDOW);
    let now = SystemClock.now();
    // The clock is ahead; or the question that finds the revocation began earlier.
    world.at(now.saturating_add(LATER));
    assert_eq!(world.told(&world.sha1), "good");
    world.at(now);
    world.revoke("0a1b");
    assert_eq!(world.told(&world.sha256), told_revoked());
    world.hide_store();
    world.at(now.saturating_add(LATER));
    assert_eq!(world.told(&world.sha1), "tryLater");
}

// rule: ANS-6
#[test]
fn a_confirmation_to_come_does_not_outdo_a_revocation_in_the_folder() {
    let now = SystemClock.now();
    let world = World::new(WINDOW);
    confirm_by_a_clock_ahead(&world, &world.sha1, now);
    revoke_and_tell_another(&world, &world.sha1, now);
    world.hide_store();
    assert_eq!(world.told(&world.nonce()), told_revoked());
    assert_eq!(world.told(&world.sha1), told_revoked());
    assert_eq!(files(&world.site.path("cache")).len(), 1);
}

// rule: ANS-6
#[test]
fn a_revocation_found_in_the_folder_outdoes_a_confirmation_to_come_by_every_name() {
    let now = SystemClock.now();
    let world = World::new(WINDOW);
    confirm_by_a_clock_ahead(&world, &world.sha256, now);
    revoke_and_tell_another(&world, &world.sha1, now);
    assert_eq!(world.told(&world.sha1), told_revoked());
    world.hide_store();
    assert_eq!(world.told(&world.sha256), "tryLater");
}

// rule: ANS-6
#[test]
fn a_revocation_found_in_the_folder_outdoes_what_was_read_about_then_by_every_name() {
    // By whole seconds, and those in which questions began: the other one waited for its row.
    for earlier in [1, 3] {
        let world = World::new(LONG_WINDOW);
        let now = SystemClock.now();
        world.at(now);
        assert_eq!(world.told(&world.sha256), "good");
        let then = now.saturating_sub(Duration::from_secs(earlier));
        revoke_and_tell_another(&world, &world.sha1, then);
        assert_eq!(world.told(&world.sha1), told_revoked());
        assert_eq!(world.told(&world.sha256), told_revoked(), "{earlier} s");
    }
}

// rule: ANS-6
#[test]
fn a_revocation_in_the_folder_counts_though_the_clock_has_gone_back_before() {
    let world = World::new(WINDOW);
    let now = SystemClock.now();
    world.at(now.saturating_add(LATER));
    assert_eq!(world.told(&world.sha1), "good");
    world.at(now);
    revoke_and_tell_another(&world, &world.sha1, now);
    world.hide_store();
    world.at(now.saturating_add(WINDOW * 2 + LATER));
    assert_eq!(world.told(&world.sha1), told_revoked());
    assert_eq!(world.told(&world.sha1), told_revoked(), "nothing else is left in memory");
}

// rule: ANS-6
#[test]
fn a_confirmation_by_a_clock_that_was_ahead_does_not_count_when_it_gets_there() {
    let window = Duration::from_secs(1);
    let world = World::new(window);
    let now = SystemClock.now();
    for ahead in [now, now.saturating_add(LATER)] {
        world.at(ahead);
        assert_eq!(world.told(&world.sha1), "good");
    }
    world.at(now);
    world.revoke("0a1b");
    thread::sleep(window);
    world.at(now.saturating_add(LATER));
    assert_eq!(world.told(&world.sha1), told_revoked());
}

// rule: ANS-6
#[test]
fn a_clock_that_goes_back_leaves_repeats_to_memory_and_no_file_in_the_future() {
    let world = World::new(LONG_WINDOW);
    let now = SystemClock.now();
    world.at(now);
    assert_eq!(world.told(&world.sha1), "good");
    let path = &files(&world.site.path("cache"))[0];
    let future = SystemTime::UNIX_EPOCH + Duration::from_secs(now.unix().unsigned_abs() + 7200);
    let times = FileTimes::new().set_modified(future);
    File::options().write(true).open(path).unwrap().set_times(times).unwrap();
    world.at(now.saturating_add(Duration::from_secs(7200)));
    assert_eq!(world.told(&world.sha1), "good");
    world.at(now);
    world.reads();
    for _ in 0..3 {
        assert_eq!(world.told(&world.sha1), "good");
    }
    assert_eq!(world.reads(), 1);
    assert!(path.metadata().unwrap().modified().unwrap() < future);
}

/// The answer is good, and is confirmed while the clock is far ahead, which is set right.
fn confirm_by_a_clock_ahead(world: &World, question: &[u8], now: Timestamp) {
    for ahead in [now, now.saturating_add(LONG_WINDOW)] {
        world.at(ahead);
        assert_eq!(world.told(question), "good");
    }
    world.at(now);
}
