//! The socket of one connection, and what is kept of it between reads.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{RecvFlags, SendFlags, Shutdown, recv, send, shutdown};

/// An open connection.
#[derive(Debug)]
pub(crate) struct Peer<S> {
    socket: OwnedFd,
    accepted: Instant,
    /// `None` until the first octet has come.
    pub(crate) session: Option<S>,
    /// What has come and is not consumed, while no worker serves the connection.
    pub(crate) leftover: Vec<u8>,
    /// When the request under way has to be whole.
    pub(crate) request_deadline: Option<Instant>,
    /// Octets that may still be thrown away, once nothing else is expected.
    pub(crate) discard: Option<usize>,
    /// By which the poller knows it; `None` before its first rest.
    pub(crate) token: Option<u64>,
    /// The peer has ended its side, behind what there still is to read.
    pub(crate) ending: bool,
    /// What is kept of its request that is not whole.
    pub(crate) held: Held,
}

/// Octets that a connection keeps, as a part of those of all.
#[derive(Debug, Default)]
pub(crate) struct Held {
    octets: usize,
    of_all: Arc<AtomicUsize>,
}

/// What a socket had to give.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Received {
    /// That many octets, at least one.
    Octets(usize),
    /// Nothing yet.
    Nothing,
    /// Nothing any more.
    End,
}

impl<S> Peer<S> {
    pub(crate) fn new(socket: OwnedFd, held: Held) -> Self {
        Self {
            socket,
            accepted: Instant::now(),
            session: None,
            leftover: Vec::new(),
            request_deadline: None,
            discard: None,
            token: None,
            ending: false,
            held,
        }
    }

    /// Whether it came a moment ago, and its first octet is about to come.
    pub(crate) fn is_beginning(&self, now: Instant) -> bool {
        self.session.is_none() && now.saturating_duration_since(self.accepted) < FIRST_REQUEST_TIME
    }

    /// Takes what has come into `space`, which must not be empty.
    pub(crate) fn receive(&self, space: &mut [u8]) -> Received {
        self.receive_with(space, RecvFlags::DONTWAIT)
    }

    /// Whether something has come, which stays there.
    pub(crate) fn look(&self) -> Received {
        self.receive_with(&mut [0], RecvFlags::DONTWAIT | RecvFlags::PEEK)
    }

    fn receive_with(&self, space: &mut [u8], flags: RecvFlags) -> Received {
        loop {
            match recv(&self.socket, &mut *space, flags) {
                Ok((0, _)) => return Received::End,
                Ok((octets, _)) => return Received::Octets(octets),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return Received::Nothing,
                Err(_) => return Received::End, // such as a reset: nobody to tell
            }
        }
    }

    /// Sends all of `octets`, within `time`. Unless all can be sent at once, it asks for a
    /// `place` among those who wait, and fails where there is none.
    pub(crate) fn send<P>(
        &self,
        octets: &[u8],
        time: Duration,
        place: impl FnOnce() -> Option<P>,
    ) -> io::Result<()> {
        let mut rest = octets.get(self.send_at_once(octets)?..).unwrap_or_default();
        if rest.is_empty() {
            return Ok(());
        }
        let Some(_place) = place() else { return Err(io::ErrorKind::WouldBlock.into()) };
        let deadline = Instant::now() + time;
        while !rest.is_empty() {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(io::ErrorKind::TimedOut.into());
            }
            // A time-out below a microsecond would read as none at all.
            let left = left.max(Duration::from_millis(1));
            set_socket_timeout(&self.socket, Timeout::Send, Some(left))?;
            // In pieces: the time-out of one call begins anew with each buffer it fills.
            let piece = rest.get(..SEND_PIECE).unwrap_or(rest);
            match send(&self.socket, piece, SendFlags::NOSIGNAL) {
                Ok(sent) => rest = rest.get(sent..).unwrap_or_default(),
                Err(Errno::AGAIN | Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Sends what there is room for; how many octets that was.
    pub(crate) fn send_at_once(&self, octets: &[u8]) -> io::Result<usize> {
        if octets.is_empty() {
            return Ok(0);
        }
        match send(&self.socket, octets, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
            Ok(sent) => Ok(sent),
            Err(Errno::AGAIN | Errno::INTR) => Ok(0),
            Err(error) => Err(error.into()),
        }
    }

    /// Says that nothing more will be sent.
    pub(crate) fn end_output(&self) {
        // Fails where the peer has gone; the next read finds out.
        let _gone = shutdown(&self.socket, Shutdown::Write);
    }
}

impl Held {
    /// None yet.
    pub(crate) fn of(of_all: &Arc<AtomicUsize>) -> Self {
        Self { octets: 0, of_all: Arc::clone(of_all) }
    }

    /// Keeps so many; those of all connections together.
    pub(crate) fn set(&mut self, octets: usize) -> usize {
        if octets == self.octets {
            return self.of_all.load(Relaxed);
        }
        let before = match octets.checked_sub(self.octets) {
            Some(more) => self.of_all.fetch_add(more, Relaxed),
            None => self.of_all.fetch_sub(self.octets - octets, Relaxed),
        };
        let all = before - self.octets + octets;
        self.octets = octets;
        all
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.set(0);
    }
}

impl<S> AsFd for Peer<S> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// More than a round trip; who never sends delays others, and a stop, by no more than that.
pub(crate) const FIRST_REQUEST_TIME: Duration = Duration::from_millis(200);
const SEND_PIECE: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::io::Read;
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn a_peer_that_does_not_read_costs_the_write_time_out() {
        let (ours, _theirs) = UnixStream::pair().unwrap();
        let peer = Peer::<()>::new(ours.into(), Held::default());
        let waits = Cell::new(0);
        let place = || {
            waits.set(waits.get() + 1);
            Some(())
        };
        let sent = peer.send(&[0; 8], Duration::from_millis(50), place);
        assert!(sent.is_ok() && waits.get() == 0);
        let sent = peer.send(&vec![0; 8 << 20], Duration::from_millis(50), place);
        assert_eq!(waits.get(), 1);
        assert_eq!(sent.unwrap_err().kind(), io::ErrorKind::TimedOut);
    }

    #[test]
    fn a_peer_that_does_not_read_costs_nothing_where_too_many_do_not() {
        let (ours, _theirs) = UnixStream::pair().unwrap();
        let peer = Peer::<()>::new(ours.into(), Held::default());
        let sent = peer.send(&vec![0; 8 << 20], Duration::from_secs(60), || None::<()>);
        assert_eq!(sent.unwrap_err().kind(), io::ErrorKind::WouldBlock);
    }

    #[test]
    fn what_is_held_counts_until_it_is_given_back() {
        let all = Arc::default();
        let (mut one, mut other) = (Held::of(&all), Held::of(&all));
        assert_eq!([one.set(5), other.set(7), one.set(2), one.set(2)], [5, 12, 9, 9]);
        drop(one);
        assert_eq!(other.set(0), 0);
    }

    #[test]
    fn a_peer_that_reads_slowly_gets_all() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let reader = std::thread::spawn(move || {
            let mut all = Vec::new();
            theirs.read_to_end(&mut all).unwrap();
            all.len()
        });
        let peer = Peer::<()>::new(ours.into(), Held::default());
        peer.send(&vec![7; 8 << 20], Duration::from_secs(60), || Some(())).unwrap();
        drop(peer);
        assert_eq!(reader.join().unwrap(), 8 << 20);
    }

    #[test]
    fn nothing_and_the_end_are_told_apart() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let peer = Peer::<()>::new(ours.into(), Held::default());
        assert_eq!(peer.receive(&mut [0; 8]), Received::Nothing);
        drop(theirs);
        assert_eq!(peer.receive(&mut [0; 8]), Received::End);
    }
}
