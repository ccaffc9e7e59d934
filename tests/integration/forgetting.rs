//! What nobody is told any more: by none of its names, however the clock goes, and
//! whoever has found it out; and what is told while no row can be read.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use ocsp_fcgi::responder::ahead::Due;
use ocsp_fcgi::status::CertStatus;
use ocsp_fcgi::time::{Clock, SystemClock, Timestamp};

use crate::support::files;
use crate::support::responder::{World, revoked};
use crate::support::site::REVOKED_AT;

mod clocks;

// rule: ANS-6
#[test]
fn a_revocation_found_in_the_folder_counts_by_every_name() {
    let world = World::new(LONG_WINDOW);
    assert_eq!(world.told(&world.sha256), "good");
    world.revoke("0a1b");
    let other = World::beside(&world, LONG_WINDOW);
    assert_eq!(other.told(&other.sha1), told_revoked());
    // Told to one here, which has read no row, and so to none that it is good.
    assert_eq!(world.told(&world.sha1), told_revoked());
    world.hide_store();
    assert_eq!(world.told(&world.sha256), "tryLater");
}

// rule: ANS-6
#[test]
fn who_reads_a_row_that_one_name_knows_to_be_revoked_forgets_the_others() {
    let world = World::new(Duration::ZERO);
    world.revoke("0a1b");
    assert_eq!(world.told(&world.sha1), told_revoked());
    world.site.set_status("0a1b", CertStatus::Good);
    assert_eq!(world.told(&world.sha256), "good");
    world.revoke("0a1b");
    assert_eq!(world.told(&world.sha1), told_revoked());
    world.hide_store();
    assert_eq!(world.told(&world.sha256), "tryLater");
}

// rule: ANS-6
#[test]
fn a_revocation_is_forgotten_by_no_successor_of_the_signer() {
    let now = SystemClock.now();
    let handover = now.saturating_add(LATER);
    let world = World::with_successor(LONG_WINDOW, handover);
    world.at(now);
    // As `cache warm --next` does.
    let ahead = World::succeeding(&world, LONG_WINDOW, now);
    assert_eq!(ahead.told(&ahead.sha1), "good");
    assert_eq!(files(&world.site.path("cache")).len(), 1);
    world.revoke("0a1b");
    assert_eq!(world.told(&world.sha1), told_revoked());
    world.hide_store();
    world.at(handover);
    assert_eq!(world.told(&world.sha1), "tryLater");
}

// rule: ANS-6
#[test]
fn a_signer_that_comes_back_has_nothing_good_of_what_was_told_to_be_revoked_meanwhile() {
    let now = SystemClock.now();
    let world = World::with_successor(LONG_WINDOW, now);
    assert_eq!(world.told(&world.sha1), "good");
    // As by a reload to the key of before, and back again.
    let before = World::beside(&world, LONG_WINDOW);
    before.revoke("0a1b");
    assert_eq!(before.told(&before.nonce()), told_revoked());
    let again = World::succeeding(&world, LONG_WINDOW, now);
    assert_eq!(again.told(&again.sha1), told_revoked());
    assert_eq!(again.reads(), 1, "nothing was found in the folder");
}

// rule: ANS-6
#[test]
fn what_is_told_by_one_signer_counts_for_another_that_has_begun_later() {
    let now = SystemClock.now();
    let world = World::with_successor(LONG_WINDOW, now);
    // As where one of two processes has been reloaded, and the other has not.
    let before = World::beside(&world, LONG_WINDOW);
    assert_eq!(world.told(&world.sha1), "good");
    before.revoke("0a1b");
    assert_eq!(before.told(&before.nonce()), told_revoked());
    world.hide_store();
    world.at(now.saturating_add(LONG_WINDOW * 2));
    assert_eq!(world.told(&world.sha1), "tryLater");
}

// rule: ANS-6
#[test]
fn a_revocation_found_in_the_folder_without_the_store_counts_by_every_name() {
    let world = World::new(WINDOW);
    let now = SystemClock.now();
    world.at(now);
    assert_eq!(world.told(&world.sha256), "good");
    revoke_and_tell_another(&world, &world.sha1, now);
    world.hide_store();
    world.at(now.saturating_add(WINDOW * 2));
    assert_eq!(world.told(&world.sha1), told_revoked());
    assert_eq!(world.told(&world.sha256), "tryLater");
}

// rule: ANS-6
#[test]
fn an_answer_whose_file_another_process_has_removed_is_not_given_without_the_store() {
    for by_nonce in [true, false] {
        let world = World::new(WINDOW);
        let now = SystemClock.now();
        world.at(now);
        assert_eq!(world.told(&world.sha1), "good");
        let question = if by_nonce { world.nonce() } else { world.sha256.clone() };
        revoke_and_tell_another(&world, &question, now);
        world.hide_store();
        world.at(now.saturating_add(WINDOW * 2));
        for _ in 0..2 {
            assert_eq!(world.told(&world.sha1), "tryLater");
            assert_eq!(world.told(&world.nonce()), "tryLater");
        }
    }
}

// rule: ANS-6
#[test]
fn an_answer_whose_file_is_gone_is_given_to_nobody_while_one_asks_the_store_in_vain() {
    for is_replaced in [false, true] {
        let world = Arc::new(World::with_places(1, WINDOW));
        let now = SystemClock.now();
        let past = now.saturating_add(WINDOW * 2);
        world.at(now);
        assert_eq!(world.told(&world.sha1), "good");
        // By one that says revoked, or by none.
        let question = if is_replaced { world.sha1.clone() } else { world.nonce() };
        revoke_and_tell_another(&world, &question, past);
        world.hide_store();
        world.at(past);
        world.while_a_row_is_read(&world.sha384, || {});
        // Known to be away, and asked for by another one.
        world.while_a_row_is_read(&world.sha256, || {
            for _ in 0..2 {
                assert_eq!(world.told(&world.sha1), "tryLater");
            }
        });
    }
}

// rule: ANS-5
#[test]
fn a_store_that_hangs_costs_no_kept_answer_until_that_is_found_out() {
    let world = Arc::new(World::with_places(1, WINDOW));
    let now = SystemClock.now();
    world.at(now);
    assert_eq!(world.told(&world.sha1), "good");
    world.at(now.saturating_add(WINDOW * 2));
    world.while_a_row_is_read(&world.sha384, || {
        // There is no place, and it has been asked a moment ago.
        assert_eq!(world.told(&world.sha1), "tryLater");
        thread::sleep(Duration::from_millis(300));
        for _ in 0..3 {
            assert_eq!(world.told(&world.sha1), "good");
        }
    });
}

// rule: ANS-6
#[test]
fn what_a_row_has_said_before_brings_back_no_file_that_another_process_has_removed() {
    let world = a_row_is_revoked_while_it_is_read(|_| ());
    assert_eq!(world.told(&world.sha1), told_revoked());
    world.hide_store();
    world.at(SystemClock.now().saturating_add(WINDOW * 2));
    assert_eq!(world.told(&world.sha1), told_revoked());
}

// rule: ANS-6
#[test]
fn what_a_row_has_said_before_is_not_told_where_another_process_has_kept_something_else_since() {
    let now = SystemClock.now();
    let world = due_for_a_reading(now);
    let within = Arc::clone(&world);
    world.then(Box::new(move || revoke_and_tell_another(&within, &within.sha1, now)));
    for _ in 0..2 {
        assert_eq!(world.told(&world.sha1), told_revoked());
    }
}

// rule: ANS-6
#[test]
fn nor_does_it_bring_back_one_where_the_store_has_gone_since() {
    let world = a_row_is_revoked_while_it_is_read(World::hide_store);
    assert_eq!(world.told(&world.sha1), "good");
    assert!(files(&world.site.path("cache")).is_empty());
    world.at(SystemClock.now().saturating_add(WINDOW * 2));
    assert_eq!(world.told(&world.sha1), "tryLater");
}

// rule: ANS-6
#[test]
fn what_was_found_while_the_store_was_asked_in_vain_counts_by_every_name() {
    let world = Arc::new(World::new(WINDOW));
    let now = SystemClock.now();
    world.at(now);
    assert_eq!(world.told(&world.sha256), "good");
    world.hide_store();
    let within = Arc::clone(&world);
    // Seconds pass, in which another process has read the row, and the store goes away.
    world.at(now.saturating_add(WINDOW * 2));
    world.then(Box::new(move || {
        let later = SystemClock.now().saturating_add(WINDOW * 2 + LATER);
        within.show_store();
        revoke_and_tell_another(&within, &within.sha1, later);
        within.hide_store();
        within.at(later);
    }));
    assert_eq!(world.told(&world.sha1), told_revoked());
    assert_eq!(world.told(&world.sha256), "tryLater");
}

// rule: ANS-5
#[test]
fn an_answer_that_has_no_file_is_given_without_the_store() {
    let world = World::new(WINDOW);
    let now = SystemClock.now();
    world.at(now);
    assert_eq!(world.told(&world.sha1), "good");
    // Somebody has taken the whole folder away; so nobody has found anything out.
    std::fs::remove_dir_all(world.site.path("cache")).unwrap();
    world.hide_store();
    world.at(now.saturating_add(WINDOW * 2));
    assert_eq!(world.told(&world.sha1), "good");
}

// rule: ANS-5
#[test]
fn what_was_found_out_before_takes_no_later_answer_away() {
    let world = Arc::new(World::new(WINDOW));
    let now = SystemClock.now();
    world.at(now.saturating_sub(WINDOW * 3));
    world.revoke("0a1b"); // on hold
    assert_eq!(world.told(&world.sha256), told_revoked());
    world.at(now.saturating_sub(WINDOW * 2));
    world.site.set_status("0a1b", CertStatus::Good);
    assert_eq!(world.told(&world.sha1), "good");
    world.hide_store();
    world.at(now);
    // While the one looks in vain for the row, the other is told what is in the folder.
    let within = Arc::clone(&world);
    world.then(Box::new(move || assert_eq!(within.told(&within.sha256), told_revoked())));
    for _ in 0..3 {
        assert_eq!(world.told(&world.sha1), "good");
    }
    assert_eq!(files(&world.site.path("cache")).len(), 2);
}

// rule: ANS-6
#[test]
fn what_is_signed_ahead_long_after_its_row_was_read_is_read_once_more() {
    let world = World::new(LONG_WINDOW);
    let now = SystemClock.now();
    world.at(now);
    let before = now.saturating_sub(LATER);
    world.revoke("0a1b");
    assert_eq!(world.told(&world.sha256), told_revoked());
    let (due, done) = world.warm(CertStatus::Good, before);
    assert_eq!((due, done.unwrap()), (Due::New, Due::Again));
    let other = World::beside(&world, LONG_WINDOW);
    assert_eq!(other.told(&other.sha1), told_revoked());
    assert_eq!(other.reads(), 0, "that is in the folder");
    // The row is gone; and nobody can tell.
    world.site.set_status("0a1b", CertStatus::Unknown);
    assert_eq!(world.warm(CertStatus::Good, before).1.unwrap(), Due::Overtaken);
    assert!(files(&world.site.path("cache")).is_empty());
    world.hide_store();
    assert!(world.warm(CertStatus::Good, before).1.is_err());
    assert!(files(&world.site.path("cache")).is_empty());
}

// rule: ANS-6
#[test]
fn what_signs_ahead_forgets_the_others_though_one_name_knows() {
    let world = World::new(Duration::ZERO);
    world.revoke("0a1b");
    assert_eq!(world.told(&world.sha1), told_revoked());
    world.site.set_status("0a1b", CertStatus::Good);
    assert_eq!(world.told(&world.sha256), "good");
    world.revoke("0a1b");
    assert_eq!(world.warm(revoked(), SystemClock.now()).0, Due::Kept);
    assert_eq!(files(&world.site.path("cache")).len(), 1);
}

// rule: ANS-5, ANS-6
#[test]
fn a_row_that_cannot_be_understood_takes_away_what_is_kept_by_every_name() {
    for by_nonce in [false, true] {
        let world = World::new(Duration::ZERO);
        assert_eq!([&world.sha1, &world.sha256].map(|der| world.told(der)), ["good", "good"]);
        world.spoil("0a1b");
        let question = if by_nonce { world.nonce() } else { world.sha384.clone() };
        assert_eq!(world.told(&question), "internalError");
        world.hide_store();
        for question in [&world.sha1, &world.sha256, &world.nonce()] {
            assert_eq!(world.told(question), "tryLater");
        }
    }
}

#[test]
fn a_hold_that_is_over_costs_one_reading() {
    // More only where the machine is busy, and the signature or the file takes long.
    assert!((0..5).any(|_| readings_after_a_hold() == 1));
}

fn readings_after_a_hold() -> usize {
    let world = World::new(WINDOW);
    let now = SystemClock.now();
    world.at(now.saturating_sub(WINDOW * 2));
    world.revoke("0a1b");
    assert_eq!(world.told(&world.sha1), told_revoked());
    world.site.set_status("0a1b", CertStatus::Good);
    let other = World::beside(&world, WINDOW);
    assert_eq!(other.told(&other.sha1), "good");
    other.reads()
}

// rule: ANS-5
#[test]
fn what_is_over_and_still_in_the_folder_takes_nothing_away() {
    let world = World::new(LONG_WINDOW);
    let now = SystemClock.now();
    world.at(now.saturating_sub(LATER));
    world.revoke("0a1b"); // on hold, say
    assert_eq!(world.told(&world.sha1), told_revoked());
    world.at(now);
    world.site.set_status("0a1b", CertStatus::Good);
    assert_eq!(world.told(&world.sha256), "good");
    let other = World::beside(&world, LONG_WINDOW);
    assert_eq!(other.told(&other.sha256), "good");
    assert_eq!(other.told(&other.sha1), told_revoked()); // within its window
    other.hide_store();
    for world in [&world, &other] {
        assert_eq!(world.told(&world.sha256), "good");
    }
    assert_eq!(files(&world.site.path("cache")).len(), 2);
}

// rule: ANS-5
#[test]
fn who_reads_ahead_of_time_gets_what_the_others_get_where_too_much_goes_on() {
    let world = Arc::new(World::with_places(1, WINDOW));
    let now = SystemClock.now();
    world.at(now);
    assert_eq!(world.told(&world.sha1), "good");
    world.at(now.saturating_add(WINDOW * 9 / 10));
    world.while_a_row_is_read(&world.sha384, || {
        for _ in 0..2 {
            assert_eq!(world.told(&world.sha1), "good");
        }
    });
    // What is past its window has to wait for its row, which nobody can read.
    world.at(now.saturating_add(WINDOW * 2));
    world.while_a_row_is_read(&world.sha384, || {
        assert_eq!(world.told(&world.sha1), "tryLater");
    });
}

// rule: ANS-5
#[test]
fn nobody_waits_for_a_store_that_is_known_to_be_away_until_it_answers() {
    let past = |seconds| SystemClock.now().saturating_add(WINDOW + Duration::from_secs(seconds));
    let world = World::whose_store_was_away(WINDOW, past(1));
    // The next attempt takes its time.
    world.at(past(5));
    world.while_a_row_is_read(&world.sha256, || assert_eq!(world.told(&world.sha1), "good"));
    // It has answered.
    world.at(past(6));
    world.while_a_row_is_read(&world.sha384, || assert_eq!(world.told(&world.sha1), "tryLater"));
    world.revoke("0a1b");
    assert_eq!(world.told(&world.sha1), told_revoked());
}

/// Kept as `good`, so long ago at `now` that the next question reads the row.
fn due_for_a_reading(now: Timestamp) -> Arc<World> {
    let world = Arc::new(World::new(WINDOW));
    world.at(now.saturating_sub(WINDOW * 2));
    assert_eq!(world.told(&world.sha1), "good");
    world.at(now);
    world
}

/// Kept as `good`; the next question reads the row as it is, and then another process is told
/// that it is revoked, by a question with a nonce, and `more` happens.
fn a_row_is_revoked_while_it_is_read(more: impl Fn(&World) + Send + 'static) -> Arc<World> {
    let now = SystemClock.now();
    let world = due_for_a_reading(now);
    let within = Arc::clone(&world);
    world.then(Box::new(move || {
        revoke_and_tell_another(&within, &within.nonce(), now);
        more(&within);
        thread::sleep(LONG_WAIT);
    }));
    world
}

/// Another process, asked at `now`, finds the certificate revoked.
fn revoke_and_tell_another(world: &World, question: &[u8], now: Timestamp) {
    world.revoke("0a1b");
    let other = World::beside(world, WINDOW);
    other.at(now);
    assert_eq!(other.told(question), told_revoked());
}

fn told_revoked() -> String {
    let CertStatus::Revoked { time, reason } = revoked() else { panic!("revoked") };
    assert_eq!(time, Timestamp::from_unix(REVOKED_AT));
    format!("revoked {REVOKED_AT} {}", reason.unwrap().code())
}

const WINDOW: Duration = Duration::from_secs(10);
const LONG_WINDOW: Duration = Duration::from_secs(3600);
const LATER: Duration = Duration::from_secs(5);
/// More than a reading takes that counts as done at once.
const LONG_WAIT: Duration = Duration::from_millis(40);
