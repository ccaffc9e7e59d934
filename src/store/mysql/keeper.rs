//! Keeps connections to the database and decides which host is asked; `asking` asks.
//!
//! Last in, first out, at most [`Options::connections`]; made outside the lock.
//! While every host fails, questions fail at once for a pause, then one of them
//! tries again. While only the preferred ones fail, the next is asked and a
//! thread of its own looks whether they are back.
//!
//! [`Options::connections`]: crate::store::mysql::Options::connections

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread;
use std::time::Instant;

use trouble::Trouble;

use crate::logging::quoted;
use crate::serial::Serial;
use crate::store::mapping::Dialect;
use crate::store::mysql::dial::{Dialler, Link};
use crate::store::mysql::errors::{timed_out, words};

pub(super) use asking::Failure;

mod asking;

/// The connections.
pub(super) struct Keeper {
    pub dialler: Arc<Dialler>,
    state: Mutex<State>,
    /// A connection came back, or the state of a host has changed.
    freed: Condvar,
    /// Of each host, where there are several.
    host_troubles: Vec<Trouble>,
    /// Some connections are there, and no further one can be made.
    shortage: Trouble,
}

struct State {
    idle: Vec<Link>,
    /// Connections in all: idle, lent, and those being made.
    open: usize,
    /// Questions that wait for one: to wake nobody costs a system call too.
    waiting: usize,
    /// Those being made.
    making: usize,
    /// For each host that failed last, when its pause ends.
    pauses: Vec<Option<Instant>>,
    /// Set while every host fails.
    down: Option<Down>,
    /// A thread looks whether a preferred host is back.
    looking: bool,
    /// A thread makes a connection in place of a worn one.
    renewing: bool,
}

struct Down {
    until: Instant,
    problem: Arc<str>,
}

impl Keeper {
    pub(super) fn new(dialler: Dialler) -> Self {
        let pauses = vec![None; dialler.options.hosts.len()];
        let state = State {
            idle: Vec::new(),
            open: 0,
            waiting: 0,
            making: 0,
            pauses,
            down: None,
            looking: false,
            renewing: false,
        };
        let hosts = Some(dialler.options.hosts.len()).filter(|hosts| *hosts > 1).unwrap_or(0);
        Self {
            state: Mutex::new(state),
            freed: Condvar::new(),
            host_troubles: (0..hosts).map(|_| Trouble::new(log::Level::Warn)).collect(),
            shortage: Trouble::new(log::Level::Warn),
            dialler: Arc::new(dialler),
        }
    }

    /// A kept connection, or the right to make one.
    fn lease(self: &Arc<Self>, deadline: Instant) -> Result<Lease<'_>, Failure> {
        let options = &self.dialler.options;
        let mut now = Instant::now();
        let mut state = self.lock();
        loop {
            if let Some(link) = state.idle.pop() {
                let look = state.returned_host(link.host, now);
                drop(state);
                look.into_iter().for_each(|host| self.look_at(host));
                return Ok(Lease { keeper: self, link: Some(link) });
            }
            match state.refusal(now) {
                None if state.open < options.connections.max(1) => {
                    state.open += 1;
                    state.making += 1;
                    return Ok(Lease { keeper: self, link: None });
                }
                // Nobody holds a connection that could be waited for.
                Some(problem) if state.open == state.making => {
                    return Err(Failure::Paused(problem));
                }
                _ => {}
            }
            let left = deadline.saturating_duration_since(now);
            if left.is_zero() {
                return Err(Failure::Busy(options.connections));
            }
            state.waiting += 1;
            let wait = self.freed.wait_timeout(state, left);
            state = wait.unwrap_or_else(PoisonError::into_inner).0;
            state.waiting -= 1;
            now = Instant::now();
        }
    }

    /// Gives up a kept connection, and the idle ones to the same host with it.
    fn lost(&self, lease: &mut Lease<'_>, error: &mysql::Error) {
        let Some(host) = lease.empty() else { return };
        let name = self.dialler.name(host);
        log::debug!(
            "database connection lost, connecting again: host={} error={}",
            quoted(name),
            quoted(error)
        );
        let closing = self.lock().remove_idle(|link| link.host == host);
        drop(closing);
        if timed_out(error) {
            // Silent: the others are asked first.
            self.host_failed(host, &words(error));
        }
    }

    /// Looks in the background whether a preferred host is back.
    fn look_at(self: &Arc<Self>, host: usize) {
        let keeper = Arc::clone(self);
        let look = move || {
            let mapping = &keeper.dialler.options.mapping;
            let probe = mapping.parameters(&Serial::PROBE, Dialect::Mysql);
            let answer = keeper.ask_host(host, &|link: &mut Link| link.rows(&probe));
            let mut state = keeper.lock();
            state.looking = false;
            let Ok((link, _)) = answer else { return };
            let mut closing = state.remove_idle(|link| link.host > host);
            if state.open < keeper.dialler.options.connections {
                state.open += 1;
                state.idle.push(link);
            } else {
                closing.push(link);
            }
            drop(state);
            keeper.freed.notify_all();
        };
        if thread::Builder::new().name("database host".into()).spawn(look).is_err() {
            self.lock().looking = false;
        }
    }

    /// Makes a connection in place of a worn one, in the background: that is used for
    /// longer if no other can be had.
    fn renew(self: &Arc<Self>, worn: Link) {
        let keeper = Arc::clone(self);
        let (sender, receiver) = mpsc::sync_channel::<Link>(1);
        let renew = move || {
            let Ok(worn) = receiver.recv() else { return };
            let made = keeper.dialler.dial(worn.host).map_err(|problem| {
                let name = quoted(keeper.dialler.name(worn.host));
                log::debug!("database connection not renewed: host={name} error={problem}");
            });
            keeper.renewed(made.unwrap_or(worn));
        };
        match thread::Builder::new().name("database renewal".into()).spawn(renew) {
            Ok(_) => drop(sender.send(worn)), // it waits for it
            Err(_) => self.renewed(worn),
        }
    }

    fn renewed(&self, mut link: Link) {
        link.questions = 0;
        let mut state = self.lock();
        state.renewing = false;
        let closing = state.take_back(link);
        drop(state);
        self.freed.notify_one();
        drop(closing);
    }

    /// Whether there are connections that may come free.
    fn has_connections(&self) -> bool {
        let state = self.lock();
        state.open > state.making
    }

    fn tell_shortage(&self, problem: &str) {
        let error = quoted(problem);
        let what = format_args!("no further database connection: error={error}");
        self.shortage.begin(what);
    }

    fn host_answered(&self, host: usize) {
        let what = format_args!("further database connections can be made again:");
        self.shortage.end(what);
        let mut state = self.lock();
        state.down = None;
        if let Some(pause) = state.pauses.get_mut(host) {
            *pause = None;
        }
        drop(state);
        self.freed.notify_all();
    }

    /// Begins the pause of a host; the problem with the host's name.
    fn host_failed(&self, host: usize, problem: &str) -> String {
        let now = Instant::now();
        let until = now + self.dialler.options.retry_pause;
        let text = format!("{}: {problem}", self.dialler.name(host));
        let mut state = self.lock();
        if let Some(pause) = state.pauses.get_mut(host) {
            *pause = Some(until);
        }
        if state.pauses.iter().all(Option::is_some) {
            state.down = Some(Down { until, problem: text.as_str().into() });
        }
        drop(state);
        self.freed.notify_all();
        if let Some(trouble) = self.host_troubles.get(host) {
            let (name, error) = (quoted(self.dialler.name(host)), quoted(problem));
            trouble.begin(format_args!("database host fails: host={name} error={error}"));
        }
        text
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it is locked.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// The hosts in the order they are tried: those that work, those whose
    /// pause is over, those that failed a moment ago; each in order of preference.
    fn order(&self, now: Instant) -> Vec<usize> {
        let mut order: Vec<usize> = (0..self.pauses.len()).collect();
        order.sort_by_key(|host| match self.pauses.get(*host) {
            Some(Some(until)) if *until > now => 2,
            Some(Some(_)) => 1,
            _ => 0,
        });
        order
    }

    /// Why no connection may be made now: a pause, or somebody tries already.
    fn refusal(&self, now: Instant) -> Option<Arc<str>> {
        let down = self.down.as_ref()?;
        (now < down.until || self.making > 0).then(|| Arc::clone(&down.problem))
    }

    /// A host preferred to this one whose pause is over, for one look at it.
    fn returned_host(&mut self, host: usize, now: Instant) -> Option<usize> {
        let preferred = self.pauses.get(..host).filter(|_| !self.looking)?;
        let over = |pause: &Option<Instant>| pause.is_some_and(|until| until <= now);
        let returned = preferred.iter().position(over)?;
        self.looking = true;
        Some(returned)
    }

    fn remove_idle(&mut self, gone: impl Fn(&Link) -> bool) -> Vec<Link> {
        let removed: Vec<Link> = self.idle.extract_if(.., |link| gone(link)).collect();
        self.open -= removed.len();
        removed
    }

    /// Takes a connection back, unless a preferred host works.
    fn take_back(&mut self, link: Link) -> Option<Link> {
        let preferred = self.pauses.get(..link.host).unwrap_or_default();
        if preferred.iter().any(Option::is_none) {
            self.open -= 1;
            return Some(link);
        }
        self.idle.push(link);
        None
    }
}

/// One of the connections, lent; without a link while it is being made.
struct Lease<'k> {
    keeper: &'k Arc<Keeper>,
    link: Option<Link>,
}

impl Lease<'_> {
    fn fill(&mut self, link: Link) {
        self.keeper.lock().making -= 1;
        self.link = Some(link);
    }

    /// Closes the connection; its host.
    fn empty(&mut self) -> Option<usize> {
        let link = self.link.take()?;
        self.keeper.lock().making += 1;
        Some(link.host)
    }
}

impl Drop for Lease<'_> {
    fn drop(&mut self) {
        let limit = self.keeper.dialler.options.renew_after;
        let mut state = self.keeper.lock();
        let closing = match self.link.take() {
            // What comes next over it may be the rest of an answer to the question before.
            Some(link) if thread::panicking() => {
                state.open -= 1;
                Some(link)
            }
            // One after the other, so that most stay usable if none can be made.
            Some(worn) if worn.questions >= limit && !state.renewing => {
                state.renewing = true;
                drop(state);
                return self.keeper.renew(worn);
            }
            Some(link) => state.take_back(link),
            None => {
                state.open -= 1;
                state.making -= 1;
                None
            }
        };
        let is_awaited = state.waiting > 0;
        drop(state);
        if is_awaited {
            self.keeper.freed.notify_one();
        }
        // Closing says goodbye to the server, which may take a while.
        drop(closing);
    }
}
