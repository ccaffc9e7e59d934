//! The one epoll set: listeners, and the connections that no worker serves.
//!
//! A parked connection costs a table entry and no thread. It is watched for one
//! event (EPOLLONESHOT), so that exactly one worker takes it. Listeners are
//! edge-triggered and looked at anew after each accepted connection: one worker
//! wakes for one connection (level-triggered, each would wake the next one
//! for nothing), and none is left behind.

use std::collections::BTreeMap;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::event::{EventfdFlags, eventfd};
use rustix::io::{self, Errno};

use crate::peer::{Peer, Watched};

/// Where workers wait.
#[derive(Debug)]
pub(crate) struct Poller<S> {
    epoll: OwnedFd,
    end: OwnedFd,
    parked: Mutex<Parked<S>>,
}

/// Why a connection is parked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Waiting {
    /// For a request to begin.
    ForRequest,
    /// For the rest of a request, or of what is thrown away.
    ForRest,
}

/// What a worker is woken for.
#[derive(Debug)]
pub(crate) enum Event<S> {
    /// The listener of this number has connections.
    Listener(usize),
    /// This connection has octets or has ended.
    Peer(Peer<S>),
    /// All is over.
    End,
}

#[derive(Debug)]
struct Parked<S> {
    /// By a number that only grows: the first entry is the one parked longest.
    entries: BTreeMap<u64, Entry<S>>,
    next: u64,
    idle: IdlePeers,
}

#[derive(Debug)]
struct Entry<S> {
    peer: Peer<S>,
    waiting: Waiting,
    deadline: Instant,
}

/// Whether connections without a request may stay.
#[derive(Debug)]
enum IdlePeers {
    Stay,
    Leave,
}

impl<S> Poller<S> {
    pub(crate) fn new() -> io::Result<Self> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        let end = eventfd(0, EventfdFlags::CLOEXEC)?;
        epoll::add(&epoll, &end, EventData::new_u64(END), EventFlags::IN)?;
        let parked = Parked { entries: BTreeMap::new(), next: FIRST_PEER, idle: IdlePeers::Stay };
        Ok(Self { epoll, end, parked: Mutex::new(parked) })
    }

    /// Waits for the next event.
    pub(crate) fn wait(&self) -> Event<S> {
        loop {
            let mut space = [MaybeUninit::uninit()];
            // One at a time, so that the other workers get the others.
            let token = match epoll::wait(&self.epoll, &mut space, None) {
                Ok(([event], _)) => event.data.u64(),
                Ok(_) | Err(Errno::INTR) => continue,
                Err(error) => {
                    // Cannot happen to a descriptor of ours; without it no work can come.
                    log::error!("worker ends: epoll_wait error={error}");
                    return Event::End;
                }
            };
            match token {
                END => return Event::End,
                FIRST_PEER.. => {
                    // Gone where a sweep has been faster.
                    if let Some(entry) = self.lock().entries.remove(&token) {
                        return Event::Peer(entry.peer);
                    }
                }
                listener => {
                    if let Ok(listener) = usize::try_from(listener - FIRST_LISTENER) {
                        return Event::Listener(listener);
                    }
                }
            }
        }
    }

    /// Parks a connection until it has octets, or until the sweep after `deadline`.
    /// Gives it back where it may not stay.
    pub(crate) fn park(
        &self,
        mut peer: Peer<S>,
        waiting: Waiting,
        deadline: Instant,
    ) -> Result<(), Peer<S>> {
        let mut parked = self.lock();
        if matches!((&parked.idle, waiting), (IdlePeers::Leave, Waiting::ForRequest)) {
            return Err(peer);
        }
        let token = parked.next;
        parked.next += 1;
        let data = EventData::new_u64(token);
        let flags = EventFlags::IN | EventFlags::ONESHOT;
        // Under the lock: who is woken by it must find the entry.
        let watched = match peer.watched {
            Watched::Never => epoll::add(&self.epoll, &peer, data, flags),
            Watched::Before => epoll::modify(&self.epoll, &peer, data, flags),
        };
        if let Err(error) = watched {
            log::warn!("connection closed, cannot be watched: error={error}");
            return Err(peer);
        }
        peer.watched = Watched::Before;
        parked.entries.insert(token, Entry { peer, waiting, deadline });
        Ok(())
    }

    /// Takes out the connections whose deadline has passed.
    pub(crate) fn sweep(&self, now: Instant) -> Vec<Peer<S>> {
        self.lock().take_out(|entry| entry.deadline <= now)
    }

    /// Takes out all connections without a request, now and from now on.
    pub(crate) fn dismiss_idle(&self) -> Vec<Peer<S>> {
        let mut parked = self.lock();
        parked.idle = IdlePeers::Leave;
        parked.take_out(|entry| entry.waiting == Waiting::ForRequest)
    }

    /// Takes out all connections.
    pub(crate) fn dismiss_all(&self) -> Vec<Peer<S>> {
        self.lock().take_out(|_| true)
    }

    /// Takes out the connection that has been without a request for longest.
    pub(crate) fn longest_idle(&self) -> Option<Peer<S>> {
        let mut parked = self.lock();
        let is_idle = |entry: &Entry<S>| entry.waiting == Waiting::ForRequest;
        let token = *parked.entries.iter().find(|(_, entry)| is_idle(entry))?.0;
        parked.entries.remove(&token).map(|entry| entry.peer)
    }

    pub(crate) fn watch_listener(&self, listener: impl AsFd, number: usize) -> io::Result<()> {
        epoll::add(&self.epoll, listener, listener_data(number), LISTENER_EVENTS)
    }

    /// Looks at a listener anew: an event comes if connections wait there.
    pub(crate) fn look_again(&self, listener: impl AsFd, number: usize) {
        let again = epoll::modify(&self.epoll, listener, listener_data(number), LISTENER_EVENTS);
        if let Err(error) = again {
            log::error!("listener cannot be watched: error={error}");
        }
    }

    pub(crate) fn forget_listener(&self, listener: impl AsFd) {
        // Closing alone would not do it where another process shares the socket.
        if let Err(error) = epoll::delete(&self.epoll, listener) {
            log::debug!("listener was not watched: error={error}");
        }
    }

    /// Wakes all workers, now and from now on, with [`Event::End`].
    pub(crate) fn end(&self) {
        if let Err(error) = io::write(&self.end, &1_u64.to_ne_bytes()) {
            log::error!("workers cannot be ended: error={error}");
        }
    }

    fn lock(&self) -> MutexGuard<'_, Parked<S>> {
        self.parked.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<S> Parked<S> {
    fn take_out(&mut self, which: impl Fn(&Entry<S>) -> bool) -> Vec<Peer<S>> {
        let chosen = self.entries.iter().filter(|(_, entry)| which(entry));
        let tokens: Vec<u64> = chosen.map(|(token, _)| *token).collect();
        let taken = tokens.iter().filter_map(|token| self.entries.remove(token));
        taken.map(|entry| entry.peer).collect()
    }
}

fn listener_data(number: usize) -> EventData {
    EventData::new_u64(FIRST_LISTENER.saturating_add(number as u64))
}

const LISTENER_EVENTS: EventFlags = EventFlags::IN.union(EventFlags::ET);
const END: u64 = 0;
const FIRST_LISTENER: u64 = 1;
const FIRST_PEER: u64 = 1 << 32;

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::unix::net::UnixStream;
    use std::time::Duration;

    use super::*;

    fn peer() -> (Peer<()>, UnixStream) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        (Peer::new(ours.into()), theirs)
    }

    #[test]
    fn a_parked_connection_comes_back_once_for_octets() {
        let poller = Poller::new().unwrap();
        let (peer, mut theirs) = peer();
        let later = Instant::now() + Duration::from_secs(60);
        poller.park(peer, Waiting::ForRequest, later).unwrap();
        theirs.write_all(b"x").unwrap();
        let Event::Peer(peer) = poller.wait() else { panic!("another event") };
        theirs.write_all(b"y").unwrap(); // not watched now
        poller.end();
        assert!(matches!(poller.wait(), Event::End));
        poller.park(peer, Waiting::ForRequest, later).unwrap();
        let events = [poller.wait(), poller.wait()];
        assert!(events.iter().any(|event| matches!(event, Event::Peer(_))), "{events:?}");
    }

    #[test]
    fn a_sweep_takes_those_whose_deadline_has_passed() {
        let poller = Poller::new().unwrap();
        let (now, second) = (Instant::now(), Duration::from_secs(1));
        let (early, _a) = peer();
        let (late, _b) = peer();
        poller.park(early, Waiting::ForRequest, now + second).unwrap();
        poller.park(late, Waiting::ForRest, now + 3 * second).unwrap();
        assert_eq!(poller.sweep(now).len(), 0);
        assert_eq!(poller.sweep(now + 2 * second).len(), 1);
        assert_eq!(poller.sweep(now + 2 * second).len(), 0);
        assert_eq!(poller.dismiss_all().len(), 1);
    }

    #[test]
    fn the_longest_idle_one_makes_room_and_one_with_a_request_never() {
        let poller = Poller::new().unwrap();
        let later = Instant::now() + Duration::from_secs(60);
        let (busy, _a) = peer();
        let (first, _b) = peer();
        let (second, _c) = peer();
        let (busy_fd, first_fd) = (format!("{:?}", busy.as_fd()), format!("{:?}", first.as_fd()));
        poller.park(busy, Waiting::ForRest, later).unwrap();
        poller.park(first, Waiting::ForRequest, later).unwrap();
        poller.park(second, Waiting::ForRequest, later).unwrap();
        let longest = poller.longest_idle().unwrap();
        assert_eq!(format!("{:?}", longest.as_fd()), first_fd);
        assert!(poller.longest_idle().is_some());
        assert!(poller.longest_idle().is_none());
        let left = poller.dismiss_all();
        assert_eq!(format!("{:?}", left[0].as_fd()), busy_fd);
    }

    #[test]
    fn an_idle_connection_may_not_be_parked_once_idle_ones_are_dismissed() {
        let poller = Poller::new().unwrap();
        let later = Instant::now() + Duration::from_secs(60);
        let (idle, _a) = peer();
        let (busy, _b) = peer();
        assert_eq!(poller.dismiss_idle().len(), 0);
        assert!(poller.park(idle, Waiting::ForRequest, later).is_err());
        assert!(poller.park(busy, Waiting::ForRest, later).is_ok());
    }
}
