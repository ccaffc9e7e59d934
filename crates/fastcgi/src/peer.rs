//! The socket of one connection, and what is kept of it between reads.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{RecvFlags, SendFlags, Shutdown, recv, send, shutdown};

/// An open connection.
#[derive(Debug)]
pub(crate) struct Peer<S> {
    socket: OwnedFd,
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
    pub(crate) fn new(socket: OwnedFd) -> Self {
        Self {
            socket,
            session: None,
            leftover: Vec::new(),
            request_deadline: None,
            discard: None,
            token: None,
            ending: false,
        }
    }

    /// Takes what has come into `space`, which must not be empty.
    pub(crate) fn receive(&self, space: &mut [u8]) -> Received {
        loop {
            match recv(&self.socket, &mut *space, RecvFlags::DONTWAIT) {
                Ok((0, _)) => return Received::End,
                Ok((octets, _)) => return Received::Octets(octets),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return Received::Nothing,
                Err(_) => return Received::End, // such as a reset: nobody to tell
            }
        }
    }

    /// Sends all of `octets`, within `time`; calls `before_waiting` unless all can be sent
    /// at once.
    pub(crate) fn send(
        &self,
        octets: &[u8],
        time: Duration,
        before_waiting: &dyn Fn(),
    ) -> io::Result<()> {
        let mut rest = octets;
        if rest.is_empty() {
            return Ok(());
        }
        match send(&self.socket, rest, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
            Ok(sent) => rest = rest.get(sent..).unwrap_or_default(),
            Err(Errno::AGAIN | Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        if rest.is_empty() {
            return Ok(());
        }
        before_waiting();
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

    /// Says that nothing more will be sent.
    pub(crate) fn end_output(&self) {
        // Fails where the peer has gone; the next read finds out.
        let _gone = shutdown(&self.socket, Shutdown::Write);
    }
}

impl<S> AsFd for Peer<S> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

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
        let peer = Peer::<()>::new(ours.into());
        let waits = Cell::new(0);
        let before_waiting = || waits.set(waits.get() + 1);
        let sent = peer.send(&[0; 8], Duration::from_millis(50), &before_waiting);
        assert!(sent.is_ok() && waits.get() == 0);
        let sent = peer.send(&vec![0; 8 << 20], Duration::from_millis(50), &before_waiting);
        assert_eq!(waits.get(), 1);
        assert_eq!(sent.unwrap_err().kind(), io::ErrorKind::TimedOut);
    }

    #[test]
    fn a_peer_that_reads_slowly_gets_all() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let reader = std::thread::spawn(move || {
            let mut all = Vec::new();
            theirs.read_to_end(&mut all).unwrap();
            all.len()
        });
        let peer = Peer::<()>::new(ours.into());
        peer.send(&vec![7; 8 << 20], Duration::from_secs(60), &|| ()).unwrap();
        drop(peer);
        assert_eq!(reader.join().unwrap(), 8 << 20);
    }

    #[test]
    fn nothing_and_the_end_are_told_apart() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let peer = Peer::<()>::new(ours.into());
        assert_eq!(peer.receive(&mut [0; 8]), Received::Nothing);
        drop(theirs);
        assert_eq!(peer.receive(&mut [0; 8]), Received::End);
    }
}
