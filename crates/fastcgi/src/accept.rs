//! What a failed accept() means, and when to say so.
//!
//! None of its errors may end the process: most are of the connection that was
//! to be accepted, the rest pass when something else is closed.

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
#[derive(Debug, Default)]
pub(crate) struct Trouble {
    current: Option<Current>,
}

#[derive(Debug)]
struct Current {
    since: Instant,
    told: Instant,
}

/// What to tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tell {
    Begins,
    Lasts(Duration),
    Nothing,
}

impl Trouble {
    pub(crate) fn failed(&mut self, now: Instant) -> Tell {
        let Some(current) = &mut self.current else {
            self.current = Some(Current { since: now, told: now });
            return Tell::Begins;
        };
        if now.saturating_duration_since(current.told) < REMINDER {
            return Tell::Nothing;
        }
        current.told = now;
        Tell::Lasts(now.saturating_duration_since(current.since))
    }

    /// How long it has lasted, where it has just ended.
    pub(crate) fn ended(&mut self, now: Instant) -> Option<Duration> {
        Some(now.saturating_duration_since(self.current.take()?.since))
    }
}

const REMINDER: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    // rule: FCG-3
    #[test]
    fn trouble_is_told_at_its_start_once_a_minute_and_at_its_end() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut trouble = Trouble::default();
        assert_eq!(trouble.ended(at(0)), None);
        assert_eq!(trouble.failed(at(0)), Tell::Begins);
        assert_eq!(trouble.failed(at(59)), Tell::Nothing);
        assert_eq!(trouble.failed(at(60)), Tell::Lasts(Duration::from_secs(60)));
        assert_eq!(trouble.failed(at(61)), Tell::Nothing);
        assert_eq!(trouble.failed(at(120)), Tell::Lasts(Duration::from_secs(120)));
        assert_eq!(trouble.ended(at(125)), Some(Duration::from_secs(125)));
        assert_eq!(trouble.ended(at(126)), None);
        assert_eq!(trouble.failed(at(127)), Tell::Begins);
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
