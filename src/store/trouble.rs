//! What the stores log about trouble that lasts: when it starts, once a minute
//! while it lasts, and when it ends.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::store::row::Oddity;

/// Whether questions to one thing fail at present.
#[derive(Debug)]
pub(super) struct Outage {
    /// What the log calls it.
    what: String,
    /// Mirrors `state`, so that a success need not lock.
    lasts: AtomicBool,
    state: Mutex<Option<Lasting>>,
}

/// Tells of odd rows, at most once a minute.
#[derive(Debug, Default)]
pub(super) struct OddRows(Mutex<Option<Lasting>>);

#[derive(Debug)]
struct Lasting {
    since: Instant,
    last: Instant,
    told: Instant,
    /// Events since `since`, and the part of them that was not told yet.
    total: u64,
    untold: u64,
}

/// What is to be told of an event.
#[derive(Debug, PartialEq, Eq)]
enum Told {
    First,
    Again { total: u64, untold: u64 },
    Nothing,
}

impl Outage {
    pub(super) fn new(what: impl Into<String>) -> Self {
        Self { what: what.into(), lasts: AtomicBool::new(false), state: Mutex::default() }
    }

    /// Takes note of a question that was not answered.
    pub(super) fn failed(&self, problem: &str, now: Instant) {
        let what = &self.what;
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        self.lasts.store(true, Ordering::Release);
        match Lasting::note(&mut state, now) {
            Told::First => log::warn!("{what} unavailable: error={problem:?}"),
            Told::Again { total, .. } => {
                log::warn!("{what} still unavailable: failures={total} error={problem:?}");
            }
            Told::Nothing => {}
        }
    }

    /// Takes note of a question that was answered.
    pub(super) fn answered(&self, now: Instant) {
        if !self.lasts.load(Ordering::Acquire) {
            return;
        }
        let what = &self.what;
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        // Where some fail and some do not, it lasts.
        let calm = |lasting: &mut Lasting| now.saturating_duration_since(lasting.last) >= CALM;
        if let Some(Lasting { since, last, total, .. }) = state.take_if(calm) {
            self.lasts.store(false, Ordering::Release);
            let seconds = last.saturating_duration_since(since).as_secs();
            log::info!("{what} available again: failures={total} seconds={seconds}");
        }
    }
}

impl OddRows {
    /// Takes note of what is odd about the rows of one serial.
    pub(super) fn seen(&self, oddities: &[Oddity], now: Instant) {
        let Some(oddity) = oddities.first() else { return };
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let untold = match Lasting::note(&mut state, now) {
            Told::First => 0,
            Told::Again { untold, .. } => untold - 1,
            Told::Nothing => return,
        };
        let Oddity { key, problem } = oddity;
        log::warn!("odd row in the status store: key={key:?} problem={problem:?} others={untold}");
    }
}

impl Lasting {
    fn note(state: &mut Option<Self>, now: Instant) -> Told {
        let Some(lasting) = state else {
            *state = Some(Self { since: now, last: now, told: now, total: 1, untold: 0 });
            return Told::First;
        };
        lasting.last = now;
        lasting.total += 1;
        lasting.untold += 1;
        if now.saturating_duration_since(lasting.told) < INTERVAL {
            return Told::Nothing;
        }
        lasting.told = now;
        Told::Again { total: lasting.total, untold: std::mem::take(&mut lasting.untold) }
    }
}

/// How often trouble that lasts is told of.
const INTERVAL: Duration = Duration::from_secs(60);
/// How long nothing may have failed before trouble has ended.
const CALM: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trouble_is_told_at_once_and_then_once_a_minute_with_the_count() {
        let start = Instant::now();
        let mut state = None;
        let mut note = |seconds| Lasting::note(&mut state, start + Duration::from_secs(seconds));
        assert_eq!(note(0), Told::First);
        assert_eq!(note(1), Told::Nothing);
        assert_eq!(note(59), Told::Nothing);
        assert_eq!(note(60), Told::Again { total: 4, untold: 3 });
        assert_eq!(note(61), Told::Nothing);
        assert_eq!(note(200), Told::Again { total: 6, untold: 2 });
    }

    #[test]
    fn an_outage_ends_with_an_answer_when_nothing_failed_for_a_while() {
        let outage = Outage::new("x");
        let start = Instant::now();
        let lasts = || {
            let lasts = outage.state.lock().unwrap().is_some();
            assert_eq!(lasts, outage.lasts.load(Ordering::Acquire));
            lasts
        };
        outage.failed("y", start);
        outage.answered(start + CALM / 2);
        assert!(lasts());
        outage.failed("y", start + CALM);
        outage.answered(start + CALM + CALM / 2);
        assert!(lasts());
        outage.answered(start + CALM * 2);
        assert!(!lasts());
    }
}
