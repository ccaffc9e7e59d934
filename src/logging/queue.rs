//! The bounded queue between those who log and the thread that writes.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use log::Level;

use crate::time::{Clock, SystemClock, Timestamp};

/// One event, rendered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Line {
    pub level: Level,
    pub time: Timestamp,
    pub text: String,
}

#[derive(Debug, Default)]
pub(super) struct Queue {
    state: Mutex<State>,
    /// There is something to take, or nothing will come any more.
    filled: Condvar,
    /// All that was put has been written.
    written: Condvar,
}

/// How a pause ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pause {
    Over,
    /// The last line is in: no time for patience.
    Closed,
}

/// The most lines that wait.
pub(super) const CAPACITY: usize = 1024;

impl Queue {
    /// Adds a line, or counts it as dropped. Never waits for the writer.
    pub(super) fn put(&self, line: Line) {
        let mut state = self.lock();
        if state.lines.len() < CAPACITY {
            state.lines.push_back(line);
        } else {
            state.dropped = state.dropped.saturating_add(1);
        }
        drop(state);
        self.filled.notify_one();
    }

    /// The next line, once there is one; the one before counts as written.
    /// `None` after the end.
    pub(super) fn take(&self) -> Option<Line> {
        let mut state = self.lock();
        state.writing = Writing::Nothing;
        loop {
            if let Some(line) = state.next(Instant::now()) {
                state.writing = Writing::Line;
                return Some(line);
            }
            self.written.notify_all();
            if state.end == End::Closed {
                return None;
            }
            state = self.filled.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Waits until all lines are written, `limit` at most.
    pub(super) fn flush(&self, limit: Duration) {
        let outcome = self.written.wait_timeout_while(self.lock(), limit, |state| !state.is_idle());
        drop(outcome);
    }

    /// Nothing will be put any more.
    pub(super) fn close(&self) {
        self.lock().end = End::Closed;
        self.filled.notify_all();
    }

    /// Lets `time` pass, or less when the queue is closed.
    pub(super) fn pause(&self, time: Duration) -> Pause {
        let open = |state: &mut State| state.end == End::Open;
        let outcome = self.filled.wait_timeout_while(self.lock(), time, open);
        let (state, _) = outcome.unwrap_or_else(PoisonError::into_inner);
        if state.end == End::Open { Pause::Over } else { Pause::Closed }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Debug, Default)]
struct State {
    lines: VecDeque<Line>,
    dropped: u64,
    reported: Option<Instant>,
    writing: Writing,
    end: End,
}

#[derive(Debug, Default, PartialEq, Eq)]
enum Writing {
    #[default]
    Nothing,
    Line,
}

#[derive(Debug, Default, PartialEq, Eq)]
enum End {
    #[default]
    Open,
    Closed,
}

/// The time from one report of dropped lines to the next while the queue stays full.
const REPORT_INTERVAL: Duration = Duration::from_secs(1);

impl State {
    /// The report of dropped lines where it is due, or else the oldest line.
    fn next(&mut self, now: Instant) -> Option<Line> {
        let due = self.reported.is_none_or(|last| now.duration_since(last) >= REPORT_INTERVAL);
        if self.dropped > 0 && (due || self.lines.is_empty()) {
            let text = format!("log lines dropped, the log was too slow: count={}", self.dropped);
            self.dropped = 0;
            self.reported = Some(now);
            return Some(Line { level: Level::Warn, time: SystemClock.now(), text });
        }
        self.lines.pop_front()
    }

    fn is_idle(&self) -> bool {
        self.lines.is_empty() && self.dropped == 0 && self.writing == Writing::Nothing
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(number: usize) -> Line {
        Line { level: Level::Info, time: Timestamp::EPOCH, text: number.to_string() }
    }

    #[test]
    fn what_does_not_fit_is_counted_and_reported() {
        let queue = Queue::default();
        (0..CAPACITY + 7).for_each(|number| queue.put(line(number)));
        queue.close();
        let texts: Vec<_> = std::iter::from_fn(|| queue.take()).map(|line| line.text).collect();
        assert_eq!(texts.len(), CAPACITY + 1);
        let reports: Vec<_> = texts.iter().filter(|text| text.contains("dropped")).collect();
        assert_eq!(reports, ["log lines dropped, the log was too slow: count=7"]);
        assert_eq!(texts.last().unwrap(), &(CAPACITY - 1).to_string());
    }

    #[test]
    fn a_queue_that_stays_full_reports_once_a_second() {
        let (mut state, start) = (State::default(), Instant::now());
        let reports = |state: &mut State, now| {
            state.lines.push_back(line(0));
            state.lines.push_back(line(1));
            state.dropped += 1;
            state.next(now).is_some_and(|line| line.text.contains("dropped"))
        };
        assert!(reports(&mut state, start));
        assert!(!reports(&mut state, start));
        assert!(reports(&mut state, start + REPORT_INTERVAL));
    }

    #[test]
    fn a_flush_waits_for_the_line_in_hand_but_not_for_ever() {
        let queue = Queue::default();
        queue.put(line(1));
        assert_eq!(queue.take(), Some(line(1)));
        let start = Instant::now();
        queue.flush(Duration::from_millis(20));
        assert!(start.elapsed() >= Duration::from_millis(20));
        std::thread::scope(|scope| {
            scope.spawn(|| queue.flush(Duration::from_secs(60)));
            queue.close();
            assert_eq!(queue.take(), None);
        });
        assert!(start.elapsed() < Duration::from_secs(30));
    }

    #[test]
    fn a_pause_ends_with_the_queue() {
        let queue = Queue::default();
        assert_eq!(queue.pause(Duration::from_millis(1)), Pause::Over);
        queue.close();
        assert_eq!(queue.pause(Duration::from_secs(60)), Pause::Closed);
    }
}
