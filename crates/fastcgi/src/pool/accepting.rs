//! Accepts connections, where there is room for them.

use std::io;
use std::sync::PoisonError;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Instant;

use rustix::io::Errno;
use rustix::net::{SocketFlags, accept_with};

use super::{Phase, Pool, one_more};
use crate::accept::Failure;
use crate::listener::{BACKLOG, Listener};
use crate::peer::{Held, Peer};
use crate::poller::{Event, Waiting};
use crate::server::Protocol;

impl<P: Protocol> Pool<P> {
    /// Accepts the connections that wait at a listener, several at a time: until the next poll
    /// everybody has a turn who never stops asking. The first is the caller's to serve.
    pub(super) fn accept(&self, number: usize) -> Option<Box<Peer<P::Session>>> {
        if self.progress.phase() != Phase::Serving || !self.enter() {
            return None;
        }
        let first = self.accept_one(number).ok()?;
        for _ in 1..ACCEPTED_AT_ONCE {
            // To make room for one more somebody has to go: not before it is there.
            if one_more(&self.open, self.settings.connections).is_none() {
                break;
            }
            match self.accept_one(number) {
                Ok(peer) => self.crew.also(Event::Peer(peer)),
                // Edge-triggered: where none waits, an event comes with the next one.
                Err(Failure::Nothing | Failure::NoRoom) => return Some(first),
                Err(Failure::Lost) => {}
            }
        }
        self.look_again(number);
        Some(first)
    }

    /// Accepts the connections that wait at a listener about to be closed, which would reset
    /// them.
    pub(super) fn accept_last(&self, listener: &Listener) {
        let later = Instant::now() + self.settings.idle_timeout;
        for _ in 0..BACKLOG {
            if one_more(&self.open, self.settings.connections).is_none() {
                return;
            }
            match accept_with(listener, SocketFlags::CLOEXEC) {
                Ok(socket) => {
                    let peer = Box::new(Peer::new(socket, Held::of(&self.held)));
                    self.rest(peer, Waiting::ForRequest, later);
                }
                Err(error) => {
                    self.leave();
                    if Failure::from(error) != Failure::Lost {
                        return;
                    }
                }
            }
        }
    }

    /// Accepts one, for which there is a place; gives that back where there is none.
    fn accept_one(&self, number: usize) -> Result<Box<Peer<P::Session>>, Failure> {
        let accepted = {
            let listeners = self.listeners.read().unwrap_or_else(PoisonError::into_inner);
            let accept = |listener| accept_with(listener, SocketFlags::CLOEXEC);
            listeners.get(number).map_or(Err(Errno::AGAIN), accept)
        };
        let error = match accepted {
            Ok(socket) => {
                for trouble in [&self.full, &self.no_room] {
                    trouble.end(format_args!("connections are accepted again:"));
                }
                return Ok(Box::new(Peer::new(socket, Held::of(&self.held))));
            }
            Err(error) => error,
        };
        let failure = Failure::from(error);
        match failure {
            Failure::Nothing => self.leave(),
            Failure::Lost => {
                self.leave();
                self.look_again(number); // others may wait behind it
            }
            Failure::NoRoom => {
                let error = io::Error::from(error);
                self.no_room.begin(format_args!("connections have to wait: error={error}"));
                self.open.fetch_sub(1, SeqCst);
                self.paused.store(true, SeqCst);
                match self.poller.longest_idle(Instant::now()) {
                    Some(longest_idle) => self.close(longest_idle), // and look again
                    None => self.progress.ring(),                   // and look again in a while
                }
            }
        }
        Err(failure)
    }

    fn look_again(&self, number: usize) {
        let listeners = self.listeners.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(listener) = listeners.get(number) {
            self.poller.look_again(listener, number);
        }
    }

    /// Takes a place for one more connection, if need be that of one without a request.
    pub(super) fn enter(&self) -> bool {
        let limit = self.settings.connections;
        if self.open.fetch_add(1, SeqCst) < limit {
            return true;
        }
        if let Some(longest_idle) = self.poller.longest_idle(Instant::now()) {
            drop(longest_idle);
            self.open.fetch_sub(1, SeqCst);
            return true;
        }
        self.open.fetch_sub(1, SeqCst);
        self.paused.store(true, SeqCst);
        self.full.begin(format_args!(
            "connections have to wait: all that may be are in use: connections={limit}"
        ));
        if self.open.load(SeqCst) < limit {
            self.resume(); // one has been closed in between
        }
        self.progress.ring(); // and look again in a while: one that has just come may be silent
        false
    }
}

/// More than that many connections that wait are accepted in turns.
const ACCEPTED_AT_ONCE: usize = 16;
