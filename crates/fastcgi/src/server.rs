//! Listeners and the workers that serve their connections.
//!
//! See `crew` for how the workers take turns, `worker` for how a connection is served
//! and `poller` for how it waits. Knows no protocol: [`Protocol`] is FastCGI, HTTP,
//! or what a connection's first octet says.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::listener::Listener;
use crate::pool::{Phase, Pool, Progress};
use crate::worker;

/// What one connection speaks: octets in, octets out, no I/O of its own.
pub trait Session: Send {
    /// Looks at everything received and not yet consumed (never empty), appends
    /// what is to be sent to `output`, and says how far it got.
    ///
    /// Called again at once where it has answered a request and octets are left, otherwise
    /// only after more have come. So it must take all complete messages in one call; but it
    /// ends the call behind an answer before which it had called `before_waiting`, as
    /// `output` is sent after each call, and what was asked ahead may take as long again.
    /// At most [`MAX_UNCONSUMED`] octets may be left; the connection is closed then.
    ///
    /// The thread that calls this serves other connections too: before it waits for
    /// anything, or is busy for longer than it takes to wake another thread, the session
    /// calls `before_waiting`, so that another one takes its place. To call it more than
    /// once costs nothing.
    fn advance(&mut self, input: &[u8], output: &mut Vec<u8>, before_waiting: &dyn Fn())
    -> Advance;

    /// Whether a request is under way. It decides which time-out silence meets,
    /// and what a graceful stop waits for. Unconsumed octets count as a request.
    fn activity(&self) -> Activity;

    /// How many octets it keeps of a request that has not come in whole. Where those of all
    /// connections are more than [`Settings::held_bytes`], the connection is closed.
    fn held(&self) -> usize {
        0
    }
}

/// How much a [`Session`] may leave unconsumed, in octets.
pub const MAX_UNCONSUMED: usize = 1 << 20;

/// Makes the session of a new connection.
pub trait Protocol: Send + Sync + 'static {
    /// The sessions it makes.
    type Session: Session + 'static;

    /// Called with the first octet that the peer sent.
    fn open(&self, first_octet: u8) -> Self::Session;
}

/// How far a session got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Advance {
    /// Octets of `input` that are done with.
    pub consumed: usize,
    /// Requests that were answered. What is left over then belongs to another one, which
    /// has all of [`Settings::read_timeout`] to come in.
    pub answered: usize,
    /// What follows once `output` is sent.
    pub then: Then,
}

/// What follows once the output is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    /// The connection stays; more may come.
    Read,
    /// The connection is closed.
    Close,
    /// The connection is closed although the peer has not sent all of its request:
    /// what still comes is thrown away for a bounded time first, so that the
    /// answer is not lost to a reset.
    Discard,
}

/// Whether a request is under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activity {
    /// Between requests.
    Idle,
    /// A request has begun and is not answered.
    Request,
}

/// How a server serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Threads at most, at least 1: requests that may wait at once, and one to serve
    /// the others. Started when needed.
    pub workers: usize,
    /// Connections open at once, at least 1. One more takes the place of the one
    /// that has been idle for longest, or waits where there is none.
    pub connections: usize,
    /// How long a request may take to come in, from its first octet to its last; two seconds
    /// at the most once the server is to stop.
    pub read_timeout: Duration,
    /// How long a connection may be silent between requests.
    pub idle_timeout: Duration,
    /// How long the peer may take to read an answer.
    pub write_timeout: Duration,
    /// How long a stop waits for requests under way.
    pub grace: Duration,
    /// The memory for requests that have not come in whole, of all connections together, in
    /// octets.
    pub held_bytes: usize,
}

impl Default for Settings {
    /// 64 workers, 1024 connections; 30 s to read or write, 10 min idle, 10 s grace; 64 MiB
    /// of requests that are not whole.
    fn default() -> Self {
        Self {
            workers: 64,
            connections: 1024,
            read_timeout: Duration::from_secs(30),
            idle_timeout: Duration::from_secs(600),
            write_timeout: Duration::from_secs(30),
            grace: Duration::from_secs(10),
            held_bytes: 64 << 20,
        }
    }
}

/// A server: listeners, and workers once it runs.
pub struct Server<P: Protocol> {
    pool: Arc<Pool<P>>,
}

/// Stops a server; can be given to any thread.
#[derive(Clone, Debug)]
pub struct Handle {
    progress: Arc<Progress>,
}

/// How a server has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stopped {
    /// All requests under way were answered.
    Finished,
    /// The grace period was over first; that many connections were left.
    Unfinished(usize),
}

impl Handle {
    /// Asks the server to stop: nothing is accepted any more, but for connections that wait at
    /// a socket that ends with it (not at an inherited one), idle connections are closed,
    /// requests under way are finished within [`Settings::grace`]. Who has connected and not
    /// sent anything yet has a fifth of a second for that.
    ///
    /// Returns at once; [`Server::run`] returns when it is done.
    pub fn stop(&self) {
        self.progress.reach(Phase::Stopping);
    }
}

impl<P: Protocol> Server<P> {
    /// A server without listeners.
    ///
    /// # Errors
    ///
    /// The system has no descriptors left.
    pub fn new(protocol: P, settings: Settings) -> io::Result<Self> {
        let workers = settings.workers.max(1);
        let connections = settings.connections.max(1);
        // Far enough for "never", and what a clock can add.
        let bounded = |time: Duration| time.min(LONGEST_TIME);
        let settings = Settings {
            workers,
            connections,
            read_timeout: bounded(settings.read_timeout),
            idle_timeout: bounded(settings.idle_timeout),
            write_timeout: bounded(settings.write_timeout),
            grace: bounded(settings.grace),
            held_bytes: settings.held_bytes,
        };
        Ok(Self { pool: Arc::new(Pool::new(protocol, settings)?) })
    }

    /// Adds a listening socket. Connections to it are served once the server runs.
    ///
    /// # Errors
    ///
    /// The system cannot watch it.
    pub fn listen(&mut self, listener: Listener) -> io::Result<()> {
        self.pool.listen(listener)
    }

    /// What stops it.
    pub fn handle(&self) -> Handle {
        Handle { progress: Arc::clone(&self.pool.progress) }
    }

    /// Serves until [`Handle::stop`].
    ///
    /// # Errors
    ///
    /// Not even one thread can be started.
    pub fn run(self) -> io::Result<Stopped> {
        self.pool.start_first_workers(self.pool.settings.workers.min(FIRST_WORKERS))?;
        self.supervise();
        Ok(self.drain())
    }

    /// Ends overdue connections, until it is time to stop.
    fn supervise(&self) {
        let Pool { settings, progress, poller, .. } = &*self.pool;
        let sweep = settings.read_timeout.min(settings.idle_timeout) / 4;
        let sweep = sweep.clamp(SHORTEST_SWEEP, LONGEST_SWEEP);
        let stopping = || progress.phase() != Phase::Serving;
        while !stopping() {
            progress.wait_until(sweep, || stopping() || self.pool.is_paused());
            if self.pool.is_paused() {
                // For want of descriptors or memory, not even trying is what helps; and of
                // connections, who has just come may soon have said nothing for long enough.
                progress.wait_until(PAUSE, stopping);
                self.pool.resume();
            }
            self.close_all(poller.sweep(Instant::now()));
        }
    }

    fn drain(&self) -> Stopped {
        let Pool { settings, progress, poller, .. } = &*self.pool;
        let start = Instant::now();
        let deadline = start + settings.grace;
        self.pool.close_listeners();
        self.close_all(poller.dismiss_idle(|peer| worker::rests_until(peer, settings)));
        loop {
            let now = Instant::now();
            self.close_all(poller.sweep(now));
            if now.saturating_duration_since(start) >= LAST_READING {
                self.close_all(poller.dismiss_silent());
            }
            if self.pool.open_connections() == 0 || now >= deadline {
                break;
            }
            let left = (deadline - now).min(SHORTEST_SWEEP);
            progress.wait_until(left, || self.pool.open_connections() == 0);
        }
        let unfinished = self.pool.open_connections();
        progress.reach(Phase::Ended);
        self.pool.end();
        self.close_all(poller.dismiss_all());
        progress.wait_until(LAST_WAIT, || self.pool.workers() == 0);
        self.pool.join();
        match unfinished {
            0 => Stopped::Finished,
            connections => Stopped::Unfinished(connections),
        }
    }

    fn close_all(&self, peers: Vec<Box<crate::peer::Peer<P::Session>>>) {
        for peer in peers {
            self.pool.close(peer);
        }
    }
}

/// At a stop, for requests that have not come in whole: who has sent an octet is not to hold
/// up a restart for as long as it likes.
const LAST_READING: Duration = Duration::from_secs(2);
/// Workers started at once: one to serve, one to take its place when it has to wait.
const FIRST_WORKERS: usize = 2;
const SHORTEST_SWEEP: Duration = Duration::from_millis(20);
const LONGEST_SWEEP: Duration = Duration::from_secs(1);
const LONGEST_TIME: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);
const PAUSE: Duration = Duration::from_millis(100);
/// For workers to leave what they serve, or wait for, and to see the end.
const LAST_WAIT: Duration = Duration::from_millis(500);
