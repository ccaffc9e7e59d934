//! Repeated trouble, told when it starts, once a minute while it lasts, and
//! when it ends.

use std::fmt::{self, Display};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// One thing that may go wrong many times a second: a store out of reach, a
/// full disk. Shared by all threads; while all is well [`Trouble::end`] costs
/// one load of a flag.
///
/// Trouble that comes and goes is told as often as trouble that stays: what
/// starts again within a minute of the last line is only counted. Trouble that has not
/// happened for a minute is over, whether that was told or not.
#[derive(Debug)]
pub struct Trouble {
    level: log::Level,
    lasting: AtomicBool,
    record: Mutex<Record>,
}

/// A line that is due. Prints as the fields that follow its text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Notice {
    /// It starts, `unseen` failures after the last line about it.
    Starts {
        /// Failures since that line, beside this one.
        unseen: u64,
    },
    /// It goes on, or is over.
    Lasts {
        /// Failures since the last line about it.
        failures: u64,
        /// The time since it started.
        lasted: Duration,
    },
}

/// The time from one line to the next.
const INTERVAL: Duration = Duration::from_secs(60);

impl Trouble {
    /// None yet; its lines are of `level` (of level info when it ends).
    #[must_use]
    pub const fn new(level: log::Level) -> Self {
        let record = Record { failures: 0, episode: None, told: None };
        Self { level, lasting: AtomicBool::new(false), record: Mutex::new(record) }
    }

    /// Another failure. `what` says what is wrong and what follows, and is
    /// rendered only when a line is due.
    pub fn begin(&self, what: fmt::Arguments<'_>) {
        if let Some(notice) = self.failed(Instant::now()) {
            log::log!(self.level, "{what}{notice}");
        }
    }

    /// It worked. `what` says what works again.
    pub fn end(&self, what: fmt::Arguments<'_>) {
        if !self.lasts() {
            return;
        }
        if let Some(notice) = self.worked(Instant::now()) {
            log::info!("{what}{notice}");
        }
    }

    /// Whether it has happened since it last worked.
    #[must_use]
    pub fn lasts(&self) -> bool {
        self.lasting.load(Ordering::Acquire)
    }

    /// Failures that no line has told yet.
    #[must_use]
    pub fn untold(&self) -> u64 {
        self.lock().failures
    }

    /// Counts a failure, and says whether a line is due.
    fn failed(&self, now: Instant) -> Option<Notice> {
        let mut record = self.lock();
        self.lasting.store(true, Ordering::Release);
        record.failed(now)
    }

    /// Ends what lasts, and says whether a line is due.
    fn worked(&self, now: Instant) -> Option<Notice> {
        let mut record = self.lock();
        self.lasting.store(false, Ordering::Release);
        record.worked(now)
    }

    fn lock(&self) -> MutexGuard<'_, Record> {
        self.record.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Display for Notice {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Starts { unseen: 0 } => Ok(()),
            Self::Starts { unseen } => write!(formatter, " failures={}", unseen.saturating_add(1)),
            Self::Lasts { failures, lasted } => {
                write!(formatter, " failures={failures} seconds={}", lasted.as_secs())
            }
        }
    }
}

#[derive(Debug)]
struct Record {
    failures: u64, // since the last line
    episode: Option<Episode>,
    told: Option<Instant>, // the last line but for an end
}

#[derive(Clone, Copy, Debug)]
struct Episode {
    since: Instant,
    last: Instant,
    seen: Seen,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Seen {
    Yes,
    No,
}

impl Record {
    fn failed(&mut self, now: Instant) -> Option<Notice> {
        let due = self.told.is_none_or(|told| now.saturating_duration_since(told) >= INTERVAL);
        let is_over = |episode: &Episode| now.saturating_duration_since(episode.last) > INTERVAL;
        if self.episode.as_ref().is_some_and(is_over) {
            self.episode = None;
        }
        let episode = self.episode.get_or_insert(Episode { since: now, last: now, seen: Seen::No });
        episode.last = now;
        self.failures = self.failures.saturating_add(1);
        if !due {
            return None;
        }
        self.told = Some(now);
        let failures = std::mem::take(&mut self.failures);
        let lasted = now.saturating_duration_since(episode.since);
        match std::mem::replace(&mut episode.seen, Seen::Yes) {
            Seen::Yes => Some(Notice::Lasts { failures, lasted }),
            Seen::No => Some(Notice::Starts { unseen: failures.saturating_sub(1) }),
        }
    }

    fn worked(&mut self, now: Instant) -> Option<Notice> {
        let Episode { since, seen: Seen::Yes, .. } = self.episode.take()? else {
            return None;
        };
        let failures = std::mem::take(&mut self.failures);
        Some(Notice::Lasts { failures, lasted: now.saturating_duration_since(since) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(start: Instant, seconds: u64) -> Instant {
        start + Duration::from_secs(seconds)
    }

    #[test]
    fn trouble_is_told_at_its_start_each_minute_and_at_its_end() {
        let (trouble, start) = (Trouble::new(log::Level::Warn), Instant::now());
        assert_eq!(trouble.worked(start), None);
        assert_eq!(trouble.failed(start), Some(Notice::Starts { unseen: 0 }));
        assert_eq!(trouble.failed(at(start, 1)), None);
        assert_eq!(trouble.failed(at(start, 59)), None);
        assert_eq!(trouble.untold(), 2);
        let minute = Notice::Lasts { failures: 3, lasted: INTERVAL };
        assert_eq!(trouble.failed(at(start, 60)), Some(minute));
        assert_eq!(trouble.failed(at(start, 61)), None);
        let end = Notice::Lasts { failures: 1, lasted: Duration::from_secs(70) };
        assert_eq!(trouble.worked(at(start, 70)), Some(end));
        assert_eq!(trouble.worked(at(start, 71)), None);
        assert_eq!(trouble.untold(), 0);
    }

    #[test]
    fn trouble_that_comes_and_goes_is_told_once_a_minute_too() {
        let (trouble, start) = (Trouble::new(log::Level::Warn), Instant::now());
        let mut lines = 0;
        for second in 0..120 {
            lines += usize::from(trouble.failed(at(start, second)).is_some());
            lines += usize::from(trouble.worked(at(start, second)).is_some());
        }
        assert_eq!(lines, 4); // a start and an end in each minute
        assert_eq!(trouble.failed(at(start, 120)), Some(Notice::Starts { unseen: 59 }));
    }

    #[test]
    fn trouble_that_has_not_happened_for_a_minute_starts_anew() {
        let (trouble, start) = (Trouble::new(log::Level::Error), Instant::now());
        assert_eq!(trouble.failed(start), Some(Notice::Starts { unseen: 0 }));
        assert_eq!(trouble.failed(at(start, 61)), Some(Notice::Starts { unseen: 0 }));
        assert_eq!(trouble.failed(at(start, 62)), None);
        assert_eq!(trouble.failed(at(start, 200)), Some(Notice::Starts { unseen: 1 }));
    }

    #[test]
    fn the_fields_follow_the_text() {
        let lasted = Duration::from_millis(61_500);
        let fields = [
            Notice::Starts { unseen: 0 }.to_string(),
            Notice::Starts { unseen: 4 }.to_string(),
            Notice::Lasts { failures: 7, lasted }.to_string(),
        ];
        assert_eq!(fields, ["", " failures=5", " failures=7 seconds=61"]);
    }

    #[test]
    fn many_threads_see_one_start() {
        let (trouble, now) = (Trouble::new(log::Level::Warn), Instant::now());
        let starts: usize = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8)
                .map(|_| scope.spawn(|| (0..1000).filter_map(|_| trouble.failed(now)).count()))
                .collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        assert_eq!(starts, 1);
        let end = Notice::Lasts { failures: 7999, lasted: Duration::ZERO };
        assert_eq!(trouble.worked(now), Some(end));
    }
}
