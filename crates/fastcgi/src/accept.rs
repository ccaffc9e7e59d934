//! What a failed accept() means, and when to say so.
//!
//! None of its errors may end the process: most are of the connection that was
//! to be accepted, the rest pass when something else is closed.

use std::fmt::{self, Display};
use std::mem;
use std::time::{Duration, Instant};

use rustix::io::Errno;

/// What to do after a failed accept().
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// Nothing was there: another worker or process was faster.
    Nothing,
    /// This one connection is lost; there may be others.
    Lost,
    /// The system has no room for another one.
    NoRoom,
}

impl From<Errno> for Failure {
    fn from(error: Errno) -> Self {
        match error {
            Errno::AGAIN => Self::Nothing,
            // accept(2): errors of the new connection's network come out of accept().
            Errno::INTR
            | Errno::CONNABORTED
            | Errno::PROTO
            | Errno::PERM
            | Errno::NETDOWN
            | Errno::NETUNREACH
            | Errno::HOSTDOWN
            | Errno::HOSTUNREACH
            | Errno::NONET
            | Errno::NOPROTOOPT
            | Errno::TIMEDOUT => Self::Lost,
            // MFILE, NFILE, NOBUFS, NOMEM; any other too: a pause cannot be wrong.
            _ => Self::NoRoom,
        }
    }
}

/// Trouble that is told when it starts, once a minute while it lasts, and when it ends.
/// What starts again within a minute of the last line is only counted, so that what comes
/// and goes is not told more often.
#[derive(Debug, Default)]
pub(crate) struct Trouble {
    current: Option<Current>,
    /// The last line but for an end.
    told: Option<Instant>,
    /// Since the last line.
    failures: u64,
}

#[derive(Debug)]
struct Current {
    since: Instant,
    seen: Seen,
}

/// Whether its start has been told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Seen {
    Yes,
    No,
}

/// A line that is due. Prints as the fields that follow its text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Notice {
    /// It starts, or has since it was told last.
    Starts { failures: u64 },
    /// It goes on, or is over.
    Lasts { failures: u64, lasted: Duration },
}

impl Trouble {
    pub(crate) fn failed(&mut self, now: Instant) -> Option<Notice> {
        let due = self.told.is_none_or(|told| now.saturating_duration_since(told) >= INTERVAL);
        let current = self.current.get_or_insert(Current { since: now, seen: Seen::No });
        self.failures = self.failures.saturating_add(1);
        if !due {
            return None;
        }
        self.told = Some(now);
        let failures = mem::take(&mut self.failures);
        Some(match mem::replace(&mut current.seen, Seen::Yes) {
            Seen::Yes => {
                Notice::Lasts { failures, lasted: now.saturating_duration_since(current.since) }
            }
            Seen::No => Notice::Starts { failures },
        })
    }

    /// It works again; what to tell where its start has been told.
    pub(crate) fn ended(&mut self, now: Instant) -> Option<Notice> {
        let Current { since, seen: Seen::Yes } = self.current.take()? else {
            return None;
        };
        let failures = mem::take(&mut self.failures);
        Some(Notice::Lasts { failures, lasted: now.saturating_duration_since(since) })
    }
}

impl Display for Notice {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Starts { failures: 0 | 1 } => Ok(()),
            Self::Starts { failures } => write!(formatter, " failures={failures}"),
            Self::Lasts { failures, lasted } => {
                write!(formatter, " failures={failures} seconds={}", lasted.as_secs())
            }
        }
    }
}

/// The time from one line to the next.
const INTERVAL: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    // rule: FCG-3
    #[test]
    fn trouble_is_told_at_its_start_once_a_minute_and_at_its_end() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let lasts = |failures, seconds| {
            Some(Notice::Lasts { failures, lasted: Duration::from_secs(seconds) })
        };
        let mut trouble = Trouble::default();
        assert_eq!(trouble.ended(at(0)), None);
        assert_eq!(trouble.failed(at(0)), Some(Notice::Starts { failures: 1 }));
        assert_eq!(trouble.failed(at(59)), None);
        assert_eq!(trouble.failed(at(60)), lasts(2, 60));
        assert_eq!(trouble.failed(at(61)), None);
        assert_eq!(trouble.failed(at(120)), lasts(2, 120));
        assert_eq!(trouble.ended(at(125)), lasts(0, 125));
        assert_eq!(trouble.ended(at(126)), None);
    }

    // rule: FCG-3
    #[test]
    fn trouble_that_comes_and_goes_is_told_once_a_minute_too() {
        let start = Instant::now();
        let mut trouble = Trouble::default();
        let mut lines = 0;
        for second in 0..120 {
            let now = start + Duration::from_secs(second);
            lines += usize::from(trouble.failed(now).is_some());
            lines += usize::from(trouble.ended(now).is_some());
        }
        assert_eq!(lines, 4); // a start and an end in each minute
        let next = trouble.failed(start + Duration::from_secs(120));
        assert_eq!(next, Some(Notice::Starts { failures: 60 }));
    }

    #[test]
    fn the_fields_follow_the_text() {
        let lasted = Duration::from_millis(61_500);
        let fields = [
            Notice::Starts { failures: 1 }.to_string(),
            Notice::Starts { failures: 5 }.to_string(),
            Notice::Lasts { failures: 7, lasted }.to_string(),
        ];
        assert_eq!(fields, ["", " failures=5", " failures=7 seconds=61"]);
    }

    // rule: FCG-3
    #[test]
    fn a_lost_connection_is_no_lack_of_room() {
        assert_eq!(Failure::from(Errno::CONNABORTED), Failure::Lost);
        assert_eq!(Failure::from(Errno::INTR), Failure::Lost);
        assert_eq!(Failure::from(Errno::AGAIN), Failure::Nothing);
        for error in [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM, Errno::INVAL] {
            assert_eq!(Failure::from(error), Failure::NoRoom);
        }
    }
}
