//! The connections that are known, each resting or served by somebody.

use std::collections::BTreeMap;
use std::time::Instant;

use rustix::event::epoll::EventFlags;
use trouble::Trouble;

use super::Waiting;
use crate::peer::{Peer, Received};

#[derive(Debug)]
pub(super) struct Watched<S> {
    /// By a number that only grows, so that a late event finds no other connection.
    pub(super) peers: BTreeMap<u64, State<S>>,
    pub(super) next: u64,
    /// Counts what has been put to rest.
    pub(super) rests: u64,
    pub(super) idle: IdlePeers,
    /// The system has no room to watch a further one.
    pub(super) trouble: Trouble,
}

#[derive(Debug)]
pub(super) enum State<S> {
    Resting(Resting<S>),
    /// Somebody serves it; what has come since then.
    Served {
        missed: EventFlags,
    },
}

#[derive(Debug)]
pub(super) struct Resting<S> {
    /// In a box, as it changes hands several times for each request.
    pub(super) peer: Box<Peer<S>>,
    pub(super) waiting: Waiting,
    pub(super) deadline: Instant,
    /// The smaller, the longer it rests.
    pub(super) since: u64,
}

/// Whether connections without a request may stay.
#[derive(Debug)]
pub(super) enum IdlePeers {
    Stay,
    Leave,
}

impl<S> Resting<S> {
    /// Whether something has come that nobody has taken yet.
    pub(super) fn has_sent(&self) -> bool {
        matches!(self.peer.look(), Received::Octets(_))
    }
}

impl<S> Watched<S> {
    /// The connection that something has come from, unless somebody serves it already or
    /// it is gone.
    pub(super) fn wake(&mut self, token: u64, flags: EventFlags) -> Option<Box<Peer<S>>> {
        let state = self.peers.get_mut(&token)?;
        match std::mem::replace(state, State::Served { missed: EventFlags::empty() }) {
            State::Resting(mut resting) => {
                // The end may be there behind octets, and is told once.
                resting.peer.ending |= flags.intersects(END_EVENTS);
                Some(resting.peer)
            }
            State::Served { missed } => {
                *state = State::Served { missed: missed | flags };
                None
            }
        }
    }

    pub(super) fn resting(&self) -> impl Iterator<Item = (u64, &Resting<S>)> {
        self.peers.iter().filter_map(|(token, state)| match state {
            State::Resting(resting) => Some((*token, resting)),
            State::Served { .. } => None,
        })
    }

    pub(super) fn remove(&mut self, token: u64) -> Option<Box<Peer<S>>> {
        match self.peers.remove(&token)? {
            State::Resting(resting) => Some(resting.peer),
            State::Served { .. } => None,
        }
    }

    pub(super) fn take_out(&mut self, which: impl Fn(&Resting<S>) -> bool) -> Vec<Box<Peer<S>>> {
        let chosen = self.resting().filter(|(_, resting)| which(resting));
        let tokens: Vec<u64> = chosen.map(|(token, _)| token).collect();
        tokens.into_iter().filter_map(|token| self.remove(token)).collect()
    }
}

pub(super) const END_EVENTS: EventFlags =
    EventFlags::RDHUP.union(EventFlags::HUP).union(EventFlags::ERR);
