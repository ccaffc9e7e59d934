//! The one epoll set: listeners, and all connections that have had to wait.
//!
//! A connection is watched from its first wait to its end, for what is new
//! (edge-triggered), so that waiting again costs no system call. It rests here
//! while nobody serves it; what comes while somebody does is noted, and it is
//! served once more. Listeners are edge-triggered too, and looked at anew unless all connections
//! that waited there were accepted, so that none is left behind.

use std::collections::BTreeMap;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::event::{EventfdFlags, Timespec, eventfd};
use rustix::io::{self, Errno};
use trouble::Trouble;

use crate::crew::Patience;
use crate::peer::Peer;
use watched::{END_EVENTS, IdlePeers, Resting, State, Watched};

mod watched;

/// Where one worker waits for all.
#[derive(Debug)]
pub(crate) struct Poller<S> {
    epoll: OwnedFd,
    end: OwnedFd,
    wake: OwnedFd,
    watched: Mutex<Watched<S>>,
}

/// What a connection rests for.
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
    Peer(Box<Peer<S>>),
}

/// Whether there will be anything more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Polled {
    Something,
    /// All is over.
    End,
}

/// Where a connection has gone that was to rest.
#[derive(Debug)]
pub(crate) enum Rest<S> {
    /// It rests.
    Resting,
    /// Something has come in the meantime, or it is to be looked at for the last time.
    Woken(Box<Peer<S>>),
    /// It may not stay.
    Refused(Box<Peer<S>>),
}

impl<S> Poller<S> {
    pub(crate) fn new() -> io::Result<Self> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        let end = eventfd(0, EventfdFlags::CLOEXEC)?;
        epoll::add(&epoll, &end, EventData::new_u64(END), EventFlags::IN)?;
        let wake = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        // Edge-triggered: each write is an event, and nobody need read.
        epoll::add(&epoll, &wake, EventData::new_u64(WAKE), LISTENER_EVENTS)?;
        let watched = Watched {
            peers: BTreeMap::new(),
            next: FIRST_PEER,
            rests: 0,
            idle: IdlePeers::Stay,
            trouble: Trouble::new(log::Level::Warn),
        };
        Ok(Self { epoll, end, wake, watched: Mutex::new(watched) })
    }

    /// Looks, or waits, for something to happen, and appends to `events` what has; perhaps
    /// nothing for anybody.
    pub(crate) fn wait(&self, patience: Patience, events: &mut Vec<Event<S>>) -> Polled {
        let mut space = [MaybeUninit::uninit(); EVENTS_AT_ONCE];
        let limit = match patience {
            Patience::Endless => None,
            Patience::None => Some(&Timespec { tv_sec: 0, tv_nsec: 0 }),
        };
        let found = match epoll::wait(&self.epoll, &mut space, limit) {
            Ok((found, _)) => found,
            Err(Errno::INTR) => return Polled::Something,
            Err(error) => {
                // Cannot happen to a descriptor of ours; without it no work can come.
                log::error!("workers end: epoll_wait error={error}");
                return Polled::End;
            }
        };
        let mut watched = self.lock();
        for event in found {
            match event.data.u64() {
                END => return Polled::End,
                WAKE => {}
                token @ FIRST_PEER.. => {
                    events.extend(watched.wake(token, event.flags).map(Event::Peer));
                }
                listener => {
                    let number = usize::try_from(listener - FIRST_LISTENER);
                    events.extend(number.ok().map(Event::Listener));
                }
            }
        }
        Polled::Something
    }

    /// Lets a connection rest until something comes, or until the sweep after `deadline`.
    /// It must have been read to the end of what had come.
    pub(crate) fn rest(
        &self,
        mut peer: Box<Peer<S>>,
        waiting: Waiting,
        deadline: Instant,
    ) -> Rest<S> {
        let mut watched = self.lock();
        if matches!((&watched.idle, waiting), (IdlePeers::Leave, Waiting::ForRequest)) {
            return Rest::Woken(peer);
        }
        let token = match peer.token {
            Some(token) => {
                if let Some(State::Served { missed }) = watched.peers.get_mut(&token)
                    && !missed.is_empty()
                {
                    peer.ending |= missed.intersects(END_EVENTS);
                    *missed = EventFlags::empty();
                    return Rest::Woken(peer);
                }
                token
            }
            None => {
                let token = watched.next;
                // Under the lock: who is woken by it must find the entry.
                let data = EventData::new_u64(token);
                if let Err(error) = epoll::add(&self.epoll, &peer, data, PEER_EVENTS) {
                    let what = format_args!("connection closed, cannot be watched: error={error}");
                    watched.trouble.begin(what);
                    return Rest::Refused(peer);
                }
                watched.trouble.end(format_args!("connections can be watched again:"));
                watched.next += 1;
                peer.token = Some(token);
                token
            }
        };
        let since = watched.rests;
        watched.rests += 1;
        let resting = Resting { peer, waiting, deadline, since };
        watched.peers.insert(token, State::Resting(resting));
        Rest::Resting
    }

    /// Forgets a connection that is about to be closed.
    pub(crate) fn forget(&self, peer: &Peer<S>) {
        if let Some(token) = peer.token {
            self.lock().peers.remove(&token);
        }
    }

    /// Connections that are known.
    #[cfg(test)]
    pub(crate) fn connections(&self) -> usize {
        self.lock().peers.len()
    }

    /// Takes out the connections whose deadline has passed, but for those that have sent a
    /// request, or its beginning, which nobody has taken yet.
    pub(crate) fn sweep(&self, now: Instant) -> Vec<Box<Peer<S>>> {
        self.lock().take_out(|resting| {
            let has_asked = || resting.waiting == Waiting::ForRequest && resting.has_sent();
            resting.deadline <= now && !has_asked()
        })
    }

    /// Takes out all connections without a request, now and from now on, but for those that
    /// `until` lets rest for what has come or is about to.
    pub(crate) fn dismiss_idle(
        &self,
        until: impl Fn(&Peer<S>) -> Option<Instant>,
    ) -> Vec<Box<Peer<S>>> {
        let mut watched = self.lock();
        watched.idle = IdlePeers::Leave;
        for state in watched.peers.values_mut() {
            if let State::Resting(resting) = state
                && resting.waiting == Waiting::ForRequest
                && let Some(deadline) = until(&resting.peer)
            {
                resting.waiting = Waiting::ForRest;
                resting.deadline = deadline;
            }
        }
        watched.take_out(|resting| resting.waiting == Waiting::ForRequest)
    }

    /// Takes out all connections on which nothing has come that nobody has taken yet.
    pub(crate) fn dismiss_silent(&self) -> Vec<Box<Peer<S>>> {
        self.lock().take_out(|resting| !resting.has_sent())
    }

    /// Takes out all connections.
    pub(crate) fn dismiss_all(&self) -> Vec<Box<Peer<S>>> {
        self.lock().take_out(|_| true)
    }

    /// Takes out the connection that has been without a request for longest; none that has
    /// just come, or has sent one that nobody has taken yet.
    pub(crate) fn longest_idle(&self, now: Instant) -> Option<Box<Peer<S>>> {
        let mut watched = self.lock();
        let idle = watched.resting().filter(|(_, resting)| {
            resting.waiting == Waiting::ForRequest && !resting.peer.is_beginning(now)
        });
        let (token, longest) = idle.min_by_key(|(_, resting)| resting.since)?;
        if longest.has_sent() {
            return None; // it makes room, or rests, once that is answered
        }
        watched.remove(token)
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

    /// Wakes whoever polls, now or the next time.
    pub(crate) fn wake(&self) {
        if let Err(error) = io::write(&self.wake, &1_u64.to_ne_bytes()) {
            log::error!("who polls cannot be woken: error={error}");
        }
    }

    /// Wakes whoever polls, now and from now on.
    pub(crate) fn end(&self) {
        if let Err(error) = io::write(&self.end, &1_u64.to_ne_bytes()) {
            log::error!("workers cannot be ended: error={error}");
        }
    }

    fn lock(&self) -> MutexGuard<'_, Watched<S>> {
        self.watched.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn listener_data(number: usize) -> EventData {
    EventData::new_u64(FIRST_LISTENER.saturating_add(number as u64))
}

const LISTENER_EVENTS: EventFlags = EventFlags::IN.union(EventFlags::ET);
const PEER_EVENTS: EventFlags = EventFlags::IN.union(EventFlags::RDHUP).union(EventFlags::ET);
/// As many as one worker serves before it looks again.
const EVENTS_AT_ONCE: usize = 64;
const END: u64 = 0;
const WAKE: u64 = 1;
const FIRST_LISTENER: u64 = 2;
const FIRST_PEER: u64 = 1 << 32;

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::unix::net::UnixStream;
    use std::time::Duration;

    use super::*;
    use crate::peer::Held;

    fn peer() -> (Box<Peer<()>>, UnixStream) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        (Box::new(Peer::new(ours.into(), Held::default())), theirs)
    }

    fn rests(poller: &Poller<()>, peer: Box<Peer<()>>, waiting: Waiting, deadline: Instant) {
        assert!(matches!(poller.rest(peer, waiting, deadline), Rest::Resting));
    }

    /// What comes next, when that is one connection.
    fn woken(poller: &Poller<()>) -> Box<Peer<()>> {
        let mut events = Vec::new();
        assert_eq!(poller.wait(Patience::Endless, &mut events), Polled::Something);
        assert_eq!(events.len(), 1);
        let Some(Event::Peer(peer)) = events.pop() else { panic!("another event") };
        peer
    }

    fn later() -> Instant {
        Instant::now() + Duration::from_secs(60)
    }

    #[test]
    fn a_resting_connection_is_woken_by_octets_and_by_its_end() {
        let poller = Poller::new().unwrap();
        let (peer, mut theirs) = peer();
        rests(&poller, peer, Waiting::ForRequest, later());
        theirs.write_all(b"x").unwrap();
        let peer = woken(&poller);
        assert!(!peer.ending);
        rests(&poller, peer, Waiting::ForRequest, later());
        theirs.write_all(b"y").unwrap();
        drop(theirs);
        assert!(woken(&poller).ending);
    }

    #[test]
    fn what_comes_while_somebody_serves_a_connection_is_not_lost() {
        let poller = Poller::new().unwrap();
        let (peer, mut theirs) = peer();
        rests(&poller, peer, Waiting::ForRequest, later());
        theirs.write_all(b"x").unwrap();
        let peer = woken(&poller);
        theirs.write_all(b"y").unwrap();
        let mut events = Vec::new();
        assert_eq!(poller.wait(Patience::Endless, &mut events), Polled::Something);
        assert!(events.is_empty(), "{events:?}");
        let rest = poller.rest(peer, Waiting::ForRequest, later());
        let Rest::Woken(peer) = rest else { panic!("{rest:?}") };
        rests(&poller, peer, Waiting::ForRequest, later());
    }

    #[test]
    fn a_late_event_of_a_closed_connection_is_nobodys() {
        let poller = Poller::new().unwrap();
        let ((first, mut theirs), (second, _theirs)) = (peer(), peer());
        rests(&poller, first, Waiting::ForRequest, later());
        rests(&poller, second, Waiting::ForRequest, later());
        theirs.write_all(b"x").unwrap();
        let first = woken(&poller);
        poller.forget(&first);
        theirs.write_all(b"y").unwrap();
        let mut events = Vec::new();
        assert_eq!(poller.wait(Patience::Endless, &mut events), Polled::Something);
        assert!(events.is_empty(), "{events:?}");
        assert_eq!(poller.dismiss_all().len(), 1);
    }

    #[test]
    fn a_connection_that_cannot_be_watched_is_given_back_and_told_once() {
        let poller = Poller::<()>::new().unwrap();
        for _ in 0..3 {
            // No room is left, say: a file of the disk cannot be watched either.
            let file = std::fs::File::open("/proc/self/exe").unwrap();
            let peer = Box::new(Peer::new(file.into(), Held::default()));
            let rest = poller.rest(peer, Waiting::ForRequest, later());
            assert!(matches!(rest, Rest::Refused(_)), "{rest:?}");
        }
        let watched = poller.lock();
        assert!(watched.trouble.lasts());
        assert_eq!(watched.trouble.untold(), 2);
    }

    #[test]
    fn the_end_is_told_each_time() {
        let poller = Poller::<()>::new().unwrap();
        poller.end();
        assert_eq!(poller.wait(Patience::Endless, &mut Vec::new()), Polled::End);
        assert_eq!(poller.wait(Patience::None, &mut Vec::new()), Polled::End);
    }

    #[test]
    fn who_polls_is_woken_each_time_for_nothing_of_the_poller() {
        let poller = Poller::<()>::new().unwrap();
        for _ in 0..3 {
            poller.wake();
            let mut events = Vec::new();
            assert_eq!(poller.wait(Patience::Endless, &mut events), Polled::Something);
            assert!(events.is_empty(), "{events:?}");
        }
    }

    #[test]
    fn who_has_something_to_do_does_not_wait() {
        let poller = Poller::<()>::new().unwrap();
        assert_eq!(poller.wait(Patience::None, &mut Vec::new()), Polled::Something);
    }

    #[test]
    fn a_sweep_takes_those_whose_deadline_has_passed() {
        let poller = Poller::new().unwrap();
        let (now, second) = (Instant::now(), Duration::from_secs(1));
        let (early, _a) = peer();
        let (late, _b) = peer();
        rests(&poller, early, Waiting::ForRequest, now + second);
        rests(&poller, late, Waiting::ForRest, now + 3 * second);
        assert_eq!(poller.sweep(now).len(), 0);
        assert_eq!(poller.sweep(now + 2 * second).len(), 1);
        assert_eq!(poller.sweep(now + 2 * second).len(), 0);
        assert_eq!(poller.dismiss_all().len(), 1);
    }

    #[test]
    fn a_sweep_leaves_a_request_that_has_come_meanwhile() {
        let poller = Poller::new().unwrap();
        let now = Instant::now();
        let (asking, mut theirs) = peer();
        let (slow, mut of_slow) = peer();
        rests(&poller, asking, Waiting::ForRequest, now);
        rests(&poller, slow, Waiting::ForRest, now);
        // The process was stopped for a while, say; or all workers wait.
        theirs.write_all(b"x").unwrap();
        of_slow.write_all(b"x").unwrap();
        assert_eq!(poller.sweep(now).len(), 1);
        assert_eq!(poller.dismiss_idle(|_| None).len(), 1);
    }

    #[test]
    fn the_longest_idle_one_makes_room_and_one_with_a_request_never() {
        let poller = Poller::new().unwrap();
        let later = later();
        let (busy, _a) = peer();
        let (first, _b) = peer();
        let (second, _c) = peer();
        let (busy_fd, first_fd) = (format!("{:?}", busy.as_fd()), format!("{:?}", first.as_fd()));
        rests(&poller, busy, Waiting::ForRest, later);
        rests(&poller, first, Waiting::ForRequest, later);
        rests(&poller, second, Waiting::ForRequest, later);
        let longest = poller.longest_idle(later).unwrap();
        assert_eq!(format!("{:?}", longest.as_fd()), first_fd);
        assert!(poller.longest_idle(later).is_some());
        assert!(poller.longest_idle(later).is_none());
        let left = poller.dismiss_all();
        assert_eq!(format!("{:?}", left[0].as_fd()), busy_fd);
    }

    #[test]
    fn one_that_is_about_to_ask_or_has_asked_makes_no_room() {
        let poller = Poller::new().unwrap();
        let later = later();
        let (asking, mut theirs) = peer();
        rests(&poller, asking, Waiting::ForRequest, later);
        let now = Instant::now();
        assert!(poller.longest_idle(now).is_none(), "it has just come");
        let (mut served, _a) = peer();
        served.session = Some(());
        let served_fd = format!("{:?}", served.as_fd());
        rests(&poller, served, Waiting::ForRequest, later);
        let longest = poller.longest_idle(now).unwrap();
        assert_eq!(format!("{:?}", longest.as_fd()), served_fd);
        theirs.write_all(b"x").unwrap();
        assert!(poller.longest_idle(later).is_none(), "it has asked");
        drop(woken(&poller));
        let (gone, theirs) = peer();
        rests(&poller, gone, Waiting::ForRequest, later);
        drop(theirs);
        assert!(poller.longest_idle(later).is_some());
    }

    #[test]
    fn an_idle_connection_may_not_rest_once_idle_ones_are_dismissed() {
        let poller = Poller::new().unwrap();
        let later = later();
        let (idle, _a) = peer();
        let (busy, _b) = peer();
        assert_eq!(poller.dismiss_idle(|_| None).len(), 0);
        assert!(matches!(poller.rest(idle, Waiting::ForRequest, later), Rest::Woken(_)));
        rests(&poller, busy, Waiting::ForRest, later);
    }
}
