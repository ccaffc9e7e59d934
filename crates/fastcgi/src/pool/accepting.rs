//! Accepts connections, where there is room for them.

use std::fmt;
use std::io;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::{MutexGuard, PoisonError};
use std::time::Instant;

use rustix::io::Errno;
use rustix::net::{SocketFlags, accept_with};

use super::{Phase, Pool, one_more};
use crate::accept::{Failure, Trouble};
use crate::peer::{Held, Peer};
use crate::poller::Event;
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

    /// Accepts one, for which there is a place; gives that back where there is none.
    fn accept_one(&self, number: usize) -> Result<Box<Peer<P::Session>>, Failure> {
        let accepted = {
            let listeners = self.listeners.read().unwrap_or_else(PoisonError::into_inner);
            let accept = |listener| accept_with(listener, SocketFlags::CLOEXEC);
            listeners.get(number).map_or(Err(Errno::AGAIN), accept)
        };
        let error = match accepted {
            Ok(socket) => {
                self.report_end();
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
                self.report(log::Level::Error, format_args!("error={}", io::Error::from(error)));
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
        self.report(
            log::Level::Warn,
            format_args!("all that may be are in use: connections={limit}"),
        );
        if self.open.load(SeqCst) < limit {
            self.resume(); // one has been closed in between
        }
        self.progress.ring(); // and look again in a while: one that has just come may be silent
        false
    }

    fn report(&self, level: log::Level, why: fmt::Arguments<'_>) {
        self.troubled.store(true, SeqCst);
        if let Some(notice) = self.trouble().failed(Instant::now()) {
            log::log!(level, "connections have to wait: {why}{notice}");
        }
    }

    fn report_end(&self) {
        if self.troubled.load(SeqCst) {
            self.troubled.store(false, SeqCst);
            if let Some(notice) = self.trouble().ended(Instant::now()) {
                log::info!("connections are accepted again:{notice}");
            }
        }
    }

    fn trouble(&self) -> MutexGuard<'_, Trouble> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// More than that many connections that wait are accepted in turns.
const ACCEPTED_AT_ONCE: usize = 16;
