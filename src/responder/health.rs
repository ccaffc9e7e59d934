//! How a CA's store and key are, and what the log has been told of it.

use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicI64, AtomicU64, AtomicUsize};
use std::time::Duration;

use trouble::Trouble;

use crate::responder::PATIENCE;
use crate::time::{Timestamp, uptime};

/// Of one CA: the trouble of another, or of another kind, hides none of it.
pub(super) struct Health {
    /// The second in which the store last failed.
    store_failed: AtomicI64,
    /// Questions to the store that have no answer yet.
    under_way: AtomicUsize,
    /// When the store last answered, or was first asked since then, by [`uptime`].
    heard: AtomicU64,
    pub store_down: Trouble,
    pub bad_row: Trouble,
    pub to_come: Trouble,
    pub good_again: Trouble,
    pub key_away: Trouble,
    pub not_signed: Trouble,
    pub ended: Trouble,
}

/// A question to the store that is under way.
#[must_use]
pub(super) struct UnderWay<'a>(&'a Health);

impl Health {
    pub fn new() -> Self {
        let (warn, error) = (log::Level::Warn, log::Level::Error);
        Self {
            store_failed: AtomicI64::new(i64::MIN),
            under_way: AtomicUsize::new(0),
            heard: AtomicU64::new(0),
            store_down: Trouble::new(warn),
            bad_row: Trouble::new(error),
            to_come: Trouble::new(warn),
            good_again: Trouble::new(warn),
            key_away: Trouble::new(warn),
            not_signed: Trouble::new(error),
            ended: Trouble::new(error),
        }
    }

    /// The store is about to be asked.
    pub fn ask(&self) -> UnderWay<'_> {
        // First, so that nobody takes the time before for silence.
        if self.under_way.load(Relaxed) == 0 {
            self.heard.store(uptime(), Relaxed);
        }
        self.under_way.fetch_add(1, Release);
        UnderWay(self)
    }

    /// Notes that the store is out of reach at `now`.
    pub fn note_store_failure(&self, now: Timestamp) {
        self.store_failed.store(now.unix(), Relaxed);
    }

    /// Notes that the store answers.
    pub fn note_store_answer(&self) {
        self.heard.store(uptime(), Relaxed);
        // Nearly always so: others are not to wait for the cache line.
        if self.store_failed.load(Relaxed) != i64::MIN {
            self.store_failed.store(i64::MIN, Relaxed);
        }
    }

    /// Whether the store has been found out of reach, and not answered since; or hangs: then
    /// it takes as long as its time-outs until that is found out, and all who wait for it
    /// meanwhile would leave no place for anybody.
    pub fn is_store_down(&self, now: Timestamp) -> bool {
        let failed = self.store_failed.load(Relaxed);
        let has_failed =
            failed != i64::MIN && !now.left_of(JUST_NOW, Timestamp::from_unix(failed)).is_zero();
        let is_silent = || uptime().saturating_sub(self.heard.load(Relaxed)) > LONG_SILENCE;
        has_failed || (self.under_way.load(Acquire) > 0 && is_silent())
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.under_way.fetch_sub(1, Relaxed);
    }
}

/// A failure of the store counts for this long, unless it answers before: the next attempt
/// may take as long to fail, and those who do not make it are not to wait for it.
const JUST_NOW: Duration = PATIENCE;
/// No store that answers is silent for so long while it is asked: milliseconds.
const LONG_SILENCE: u64 = 250;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_that_says_nothing_while_it_is_asked_is_down_until_it_does() {
        let (health, now) = (Health::new(), Timestamp::from_unix(1_000));
        let silence = Duration::from_millis(LONG_SILENCE + 2);
        let first = health.ask();
        assert!(!health.is_store_down(now));
        std::thread::sleep(silence);
        assert!(health.is_store_down(now));
        let second = health.ask();
        assert!(health.is_store_down(now), "another question is no answer");
        health.note_store_answer();
        drop(first);
        assert!(!health.is_store_down(now));
        std::thread::sleep(silence);
        assert!(health.is_store_down(now));
        drop(second);
        assert!(!health.is_store_down(now), "nobody asks");
        std::thread::sleep(silence);
        let _third = health.ask();
        assert!(!health.is_store_down(now), "it was not asked before");
    }
}
