//! Keeps connections to the database and decides which host is asked.
//!
//! Last in, first out, at most [`Options::connections`]; made outside the lock.
//! While every host fails, questions fail at once for a pause, then one of them
//! tries again. While only the preferred ones fail, the next is asked and a
//! thread of its own looks whether they are back.
//!
//! [`Options::connections`]: crate::store::mysql::Options::connections

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use crate::logging::{Trouble, quoted};
use crate::serial::Serial;
use crate::store::StoreError;
use crate::store::mapping::{Dialect, Parameter};
use crate::store::mysql::dial::{Dialler, Link};
use crate::store::mysql::errors::{is_of_the_server, not_now, refusal, timed_out, words};
use crate::store::row::{self, Row};

/// Why a question has no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    /// Every host was tried; what each said.
    #[error("{0}")]
    Hosts(Arc<str>),
    /// They failed a moment ago, and are left alone for the pause.
    #[error("not tried again yet after: {0}")]
    Paused(Arc<str>),
    /// Others held every connection for longer than the time-out.
    #[error("all {0} connections are in use")]
    Busy(usize),
    /// The server is well, and refuses this question: a row that a view cannot show, say.
    #[error("{0}")]
    Refused(String),
    /// The server answers others, and cannot answer this question, which is not its fault.
    #[error("{0}")]
    Unable(String),
}

/// What a question brings, or why a server that is well refuses it alone.
type Told<T> = Result<T, Failure>;

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

impl Failure {
    /// Of a question about this serial.
    pub(super) fn about(self, serial: &Serial) -> StoreError {
        match self {
            Self::Refused(problem) => StoreError::BadRow { key: row::key(serial), problem },
            failure => StoreError::unavailable(failure),
        }
    }
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

    /// The rows under any of the keys.
    pub(super) fn ask(self: &Arc<Self>, parameters: &[Parameter]) -> Result<Vec<Row>, Failure> {
        self.ask_by(&|link| link.rows(parameters))
    }

    /// What a question over a connection brings; it may be asked more than once. Where no
    /// further connection can be made (the server has as many as it takes, the password has
    /// changed), it waits for one of the others.
    pub(super) fn ask_by<T>(
        self: &Arc<Self>,
        question: &impl Fn(&mut Link) -> mysql::Result<T>,
    ) -> Result<T, Failure> {
        let options = &self.dialler.options;
        // Longer than a silent host needs to be found out by those who hold one.
        let deadline = Instant::now() + options.timeout + options.connect_timeout;
        let mut problem = None;
        loop {
            let lease = self.lease(deadline);
            let lease = lease.map_err(|error| problem.map_or(error, Failure::Hosts))?;
            let is_new = lease.link.is_none();
            match self.ask_over(lease, question) {
                Err(Failure::Hosts(error)) if is_new && self.has_connections() => {
                    self.tell_shortage(&error);
                    problem = Some(error);
                }
                outcome => return outcome.and_then(|told| told),
            }
        }
    }

    fn ask_over<T>(
        &self,
        mut lease: Lease<'_>,
        question: &impl Fn(&mut Link) -> mysql::Result<T>,
    ) -> Result<Told<T>, Failure> {
        if let Some(link) = &mut lease.link {
            match self.ask_patiently(link, question) {
                Ok(rows) => {
                    if let Some(trouble) = self.host_troubles.get(link.host) {
                        let name = quoted(self.dialler.name(link.host));
                        let now = Instant::now();
                        trouble.end(now, format_args!("database host answers again: host={name}"));
                    }
                    link.questions = link.questions.saturating_add(1);
                    return Ok(rows);
                }
                // Servers close idle connections, and restart: worth a new one.
                Err(error) => self.lost(&mut lease, &error),
            }
        }
        let (link, rows) = self.ask_anew(question)?;
        lease.fill(link);
        Ok(rows)
    }

    /// Asks over a new connection to the first host that answers.
    fn ask_anew<T>(
        &self,
        question: &impl Fn(&mut Link) -> mysql::Result<T>,
    ) -> Result<(Link, Told<T>), Failure> {
        let mut problems = Vec::new();
        let order = self.lock().order(Instant::now());
        for host in order {
            match self.ask_host(host, question) {
                Ok(answer) => return Ok(answer),
                Err(problem) => problems.push(problem),
            }
        }
        Err(Failure::Hosts(problems.join("; ").into()))
    }

    fn ask_host<T>(
        &self,
        host: usize,
        question: &impl Fn(&mut Link) -> mysql::Result<T>,
    ) -> Result<(Link, Told<T>), String> {
        let answer = self.dialler.dial(host).and_then(|mut link| {
            let rows = self.ask_patiently(&mut link, question).map_err(|error| words(&error))?;
            Ok((link, rows))
        });
        match answer {
            Ok(answer) => {
                self.host_answered(host);
                Ok(answer)
            }
            Err(problem) => Err(self.host_failed(host, &problem)),
        }
    }

    /// Asks again for as long as [`Options::timeout`] while a server that is well cannot
    /// tell at the moment: in the pause of a host that fails nobody would be told. From the
    /// first question on, as a lock that has lasted for so long ends with the same error.
    ///
    /// [`Options::timeout`]: crate::store::mysql::Options::timeout
    fn ask_patiently<T>(
        &self,
        link: &mut Link,
        question: &impl Fn(&mut Link) -> mysql::Result<T>,
    ) -> mysql::Result<Told<T>> {
        let begun = Instant::now();
        let mut outcome = question(link);
        while outcome.as_ref().is_err_and(not_now) && begun.elapsed() < self.dialler.options.timeout
        {
            thread::sleep(BEFORE_ASKING_AGAIN);
            outcome = question(link);
        }
        match outcome {
            Ok(answer) => Ok(Ok(answer)),
            Err(error) => self.refused(link, question, error),
        }
    }

    /// Whether a server that has refused a question is well, and refuses this one alone: it
    /// answers another one, and says the same again. Were that taken for a server that is
    /// away, nobody would be told of any other serial, and what is kept about this one would
    /// be given. It is where the fault is the server's: another host, if there is one, is
    /// asked then.
    fn refused<T>(
        &self,
        link: &mut Link,
        question: &impl Fn(&mut Link) -> mysql::Result<T>,
        error: mysql::Error,
    ) -> mysql::Result<Told<T>> {
        let probe = self.dialler.options.mapping.parameters(&Serial::PROBE, Dialect::Mysql);
        let number = refusal(&error);
        if number.is_none() || link.rows(&probe).is_err() {
            return Err(error);
        }
        match question(link) {
            Err(again) if refusal(&again) == number => match number.is_some_and(is_of_the_server) {
                true if self.dialler.options.hosts.len() > 1 => Err(again),
                true => Ok(Err(Failure::Unable(words(&again)))),
                false => Ok(Err(Failure::Refused(words(&again)))),
            },
            again => again.map(Ok),
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
        self.shortage.begin(Instant::now(), what);
    }

    fn host_answered(&self, host: usize) {
        let what = format_args!("further database connections can be made again");
        self.shortage.end(Instant::now(), what);
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
            trouble.begin(now, format_args!("database host fails: host={name} error={error}"));
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

/// Between questions to a server that cannot tell at the moment.
const BEFORE_ASKING_AGAIN: Duration = Duration::from_millis(50);
