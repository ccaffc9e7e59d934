//! What a failed accept() means.
//!
//! None of its errors may end the process: most are of the connection that was
//! to be accepted, the rest pass when something else is closed.

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

#[cfg(test)]
mod tests {
    use super::*;

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
