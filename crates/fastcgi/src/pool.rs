//! What the workers share: connections coming and going, threads, the end.

use std::io;
use std::mem;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Condvar, Mutex, PoisonError, RwLock};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use trouble::Trouble;

use crate::crew::{Crew, Turn, Wanted};
use crate::listener::Listener;
use crate::peer::Peer;
use crate::poller::{Event, Polled, Poller, Rest, Waiting};
use crate::server::{Protocol, Settings};
use crate::worker;

mod accepting;

/// The shared state of a server.
pub(crate) struct Pool<P: Protocol> {
    pub(crate) protocol: P,
    pub(crate) settings: Settings,
    pub(crate) poller: Poller<P::Session>,
    pub(crate) progress: Arc<Progress>,
    crew: Crew<Event<P::Session>>,
    listeners: RwLock<Vec<Listener>>,
    workers: AtomicUsize,
    /// Those of them that wait for a peer to read.
    sending: AtomicUsize,
    /// Octets of requests that are not whole.
    held: Arc<AtomicUsize>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    short_of_threads: AtomicBool,
    /// Connections open, and places taken for one about to be accepted.
    open: AtomicUsize,
    /// Nobody looks at the listeners until there is room again.
    paused: AtomicBool,
    /// All connections that may be are in use.
    full: Trouble,
    /// The system has no room for another one.
    no_room: Trouble,
}

/// How far a server's life has got.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    Serving,
    /// Asked to stop: requests under way are finished.
    Stopping,
    Ended,
}

/// The phase, and a bell for whoever waits for something to change.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    phase: AtomicU8,
    lock: Mutex<()>,
    bell: Condvar,
}

impl Progress {
    pub(crate) fn phase(&self) -> Phase {
        match self.phase.load(SeqCst) {
            0 => Phase::Serving,
            1 => Phase::Stopping,
            _ => Phase::Ended,
        }
    }

    pub(crate) fn reach(&self, phase: Phase) {
        self.phase.fetch_max(phase as u8, SeqCst);
        self.ring();
    }

    /// Waits until `done`, which is asked anew after each ring; at most for `time`.
    pub(crate) fn wait_until(&self, time: Duration, mut done: impl FnMut() -> bool) {
        let guard = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        let _elapsed = self.bell.wait_timeout_while(guard, time, |()| !done());
    }

    fn ring(&self) {
        // With the lock, so that nobody is between asking and waiting.
        let _guard = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        self.bell.notify_all();
    }
}

/// A place among those who wait for a peer to read, given back when dropped.
pub(crate) struct Sending<'a>(&'a AtomicUsize);

impl Drop for Sending<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, SeqCst);
    }
}

impl<P: Protocol> Pool<P> {
    pub(crate) fn new(protocol: P, settings: Settings) -> io::Result<Self> {
        let processors = thread::available_parallelism().map_or(1, usize::from);
        Ok(Self {
            protocol,
            settings,
            poller: Poller::new()?,
            progress: Arc::default(),
            crew: Crew::new(processors),
            listeners: RwLock::default(),
            workers: AtomicUsize::new(0),
            sending: AtomicUsize::new(0),
            held: Arc::default(),
            threads: Mutex::default(),
            short_of_threads: AtomicBool::new(false),
            open: AtomicUsize::new(0),
            paused: AtomicBool::new(false),
            full: Trouble::new(log::Level::Warn),
            no_room: Trouble::new(log::Level::Error),
        })
    }

    pub(crate) fn listen(&self, listener: Listener) -> io::Result<()> {
        let mut listeners = self.listeners.write().unwrap_or_else(PoisonError::into_inner);
        self.poller.watch_listener(&listener, listeners.len())?;
        listeners.push(listener);
        Ok(())
    }

    /// Waits for a connection to serve; `None` at the end. `events` is empty before and
    /// after, and kept for its room.
    pub(crate) fn next(
        self: &Arc<Self>,
        events: &mut Vec<Event<P::Session>>,
    ) -> Option<Box<Peer<P::Session>>> {
        loop {
            match self.crew.turn() {
                Turn::Serve(Event::Peer(peer)) => return Some(peer),
                Turn::Serve(Event::Listener(number)) => {
                    if let Some(peer) = self.accept(number) {
                        return Some(peer);
                    }
                }
                Turn::Poll(patience) => {
                    if self.poller.wait(patience, events) == Polled::End {
                        self.crew.end();
                    }
                    let wanted = self.crew.found(events.drain(..));
                    self.provide(wanted);
                }
                Turn::End => return None,
            }
        }
    }

    /// The calling worker is about to wait for something else than a connection.
    pub(crate) fn before_waiting(self: &Arc<Self>) {
        let wanted = self.crew.before_waiting();
        self.provide(wanted);
    }

    /// A place among the workers that wait for a peer to read: an eighth of them, or one.
    /// More would leave none for the others, who read.
    pub(crate) fn place_to_send(&self) -> Option<Sending<'_>> {
        let places = (self.settings.workers / 8).max(1);
        one_more(&self.sending, places).map(|_| Sending(&self.sending))
    }

    /// The calling worker, after [`Pool::before_waiting`], waits no longer.
    pub(crate) fn after_waiting(&self) {
        self.crew.after_waiting();
    }

    fn provide(self: &Arc<Self>, wanted: Wanted) {
        if wanted != Wanted::OneMore {
            return;
        }
        if self.workers() < self.settings.workers {
            self.crew.join();
            if let Err(error) = self.start_worker()
                // Each further one that is wanted tries again: told once.
                && !self.short_of_threads.swap(true, SeqCst)
            {
                log::warn!("no further worker: workers={} error={error}", self.workers());
            }
        }
        // Perhaps there is none: others may have been started in between.
        if self.crew.is_overslept() {
            self.poller.wake();
        }
    }

    /// Starts so many workers. All count from the beginning, or the first of them, with
    /// much to serve already, would call for others that are about to come.
    pub(crate) fn start_first_workers(self: &Arc<Self>, number: usize) -> io::Result<()> {
        (0..number).for_each(|_| self.crew.join());
        (0..number).try_for_each(|_| self.start_worker())
    }

    /// Starts a worker that is counted already, unless there are as many as there may be.
    fn start_worker(self: &Arc<Self>) -> io::Result<()> {
        let Some(number) = one_more(&self.workers, self.settings.workers) else {
            self.crew.leave();
            return Ok(());
        };
        let pool = Arc::clone(self);
        let started = thread::Builder::new()
            .name(format!("worker-{number}"))
            .stack_size(worker::STACK_BYTES)
            .spawn(move || {
                worker::work(&pool);
                pool.workers.fetch_sub(1, SeqCst);
                pool.progress.ring();
            });
        match started {
            Ok(thread) => {
                self.threads.lock().unwrap_or_else(PoisonError::into_inner).push(thread);
                Ok(())
            }
            Err(error) => {
                self.crew.leave();
                self.workers.fetch_sub(1, SeqCst);
                Err(error)
            }
        }
    }

    /// Lets a connection rest, that has been read to the end of what had come.
    pub(crate) fn rest(&self, peer: Box<Peer<P::Session>>, waiting: Waiting, deadline: Instant) {
        match self.poller.rest(peer, waiting, deadline) {
            Rest::Refused(peer) => self.close(peer),
            Rest::Woken(peer) => self.again(peer),
            // It could make room for one that waits to be accepted.
            Rest::Resting if waiting == Waiting::ForRequest => self.resume(),
            Rest::Resting => {}
        }
    }

    /// A connection is to be served once more, after the others.
    pub(crate) fn again(&self, peer: Box<Peer<P::Session>>) {
        self.crew.again(Event::Peer(peer));
    }

    pub(crate) fn close(&self, peer: Box<Peer<P::Session>>) {
        self.poller.forget(&peer);
        drop(peer);
        self.leave();
    }

    /// Wakes all workers, now and from now on, to go home.
    pub(crate) fn end(&self) {
        self.crew.end();
        self.poller.end();
    }

    /// Looks at the listeners again if nobody has for want of room.
    pub(crate) fn resume(&self) {
        if self.paused.swap(false, SeqCst) {
            let listeners = self.listeners.read().unwrap_or_else(PoisonError::into_inner);
            for (number, listener) in listeners.iter().enumerate() {
                self.poller.look_again(listener, number);
            }
        }
    }

    /// Whether connections wait to be accepted for want of room.
    pub(crate) fn is_paused(&self) -> bool {
        self.paused.load(SeqCst)
    }

    /// No connection is accepted any more, but for those that wait at sockets of our own.
    pub(crate) fn close_listeners(&self) {
        let listeners =
            mem::take(&mut *self.listeners.write().unwrap_or_else(PoisonError::into_inner));
        for listener in listeners {
            self.poller.forget_listener(&listener);
            if listener.is_ours_alone() {
                self.accept_last(&listener);
            }
        }
    }

    pub(crate) fn open_connections(&self) -> usize {
        self.open.load(SeqCst)
    }

    pub(crate) fn workers(&self) -> usize {
        self.workers.load(SeqCst)
    }

    /// Waits for the threads of workers that have ended.
    pub(crate) fn join(&self) {
        let mut threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner);
        for thread in threads.drain(..) {
            // Others are in the middle of a request that nobody waits for any more.
            if self.workers() == 0 || thread.is_finished() {
                let _panicked = thread.join();
            }
        }
    }

    fn leave(&self) {
        self.open.fetch_sub(1, SeqCst);
        self.resume();
        if self.progress.phase() != Phase::Serving {
            self.progress.ring();
        }
    }
}

/// Counts one more, unless there are `most`; how many there were.
#[allow(deprecated, reason = "its other name, try_update, is newer than Rust 1.90")]
fn one_more(count: &AtomicUsize, most: usize) -> Option<usize> {
    count.fetch_update(SeqCst, SeqCst, |count| (count < most).then_some(count + 1)).ok()
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::unix::net::UnixStream;

    use super::*;
    use crate::peer::Held;
    use crate::server::{Activity, Advance, Session, Then};

    struct ClosesAtOnce;

    impl Session for ClosesAtOnce {
        fn advance(&mut self, _: &[u8], _: &mut Vec<u8>, _: &dyn Fn()) -> Advance {
            Advance { consumed: 1, answered: 0, then: Then::Close }
        }

        fn activity(&self) -> Activity {
            Activity::Idle
        }
    }

    impl Protocol for ClosesAtOnce {
        type Session = Self;

        fn open(&self, _: u8) -> Self {
            Self
        }
    }

    #[test]
    fn nothing_is_kept_of_a_connection_that_is_closed() {
        let pool = Arc::new(Pool::new(ClosesAtOnce, Settings::default()).unwrap());
        assert!(pool.enter());
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let later = Instant::now() + Duration::from_secs(60);
        pool.rest(Box::new(Peer::new(ours.into(), Held::default())), Waiting::ForRequest, later);
        assert_eq!((pool.poller.connections(), pool.open_connections()), (1, 1));
        theirs.write_all(b"x").unwrap();
        pool.crew.join();
        let peer = pool.next(&mut Vec::new()).unwrap();
        pool.close(peer);
        assert_eq!((pool.poller.connections(), pool.open_connections()), (0, 0));
    }

    #[test]
    fn a_connection_that_rests_without_a_request_makes_room_for_one_that_waits() {
        let settings = Settings { connections: 1, ..Settings::default() };
        let pool = Arc::new(Pool::new(ClosesAtOnce, settings).unwrap());
        assert!(pool.enter());
        assert!(!pool.enter() && pool.is_paused(), "it is being served");
        let later = Instant::now() + Duration::from_secs(60);
        let (ours, _theirs) = UnixStream::pair().unwrap();
        let mut peer = Box::new(Peer::new(ours.into(), Held::default()));
        peer.session = Some(ClosesAtOnce);
        pool.rest(peer, Waiting::ForRequest, later);
        assert!(!pool.is_paused(), "nobody would look at the listeners again");
        assert!(pool.enter());
        assert_eq!((pool.poller.connections(), pool.open_connections()), (0, 1));
    }

    #[test]
    fn connections_that_wait_are_accepted_several_at_a_time_and_cost_none_that_is_there() {
        for (connections, waiting, accepted) in
            [(100, 5, &[5][..]), (100, 40, &[16, 32, 40]), (16, 20, &[16, 16]), (3, 5, &[3, 3])]
        {
            let settings = Settings { connections, ..Settings::default() };
            let pool = Arc::new(Pool::new(ClosesAtOnce, settings).unwrap());
            let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            let address = listener.local_addr().unwrap();
            pool.listen(Listener::inherited(listener.into()).unwrap()).unwrap();
            let _clients: Vec<_> = std::iter::repeat_with(|| std::net::TcpStream::connect(address))
                .take(waiting)
                .collect();
            pool.crew.join();
            for open in accepted {
                let _served = pool.accept(0);
                assert_eq!(pool.open_connections(), *open, "{connections} {waiting}");
            }
            assert_eq!(pool.is_paused(), waiting > connections);
        }
    }

    #[test]
    fn much_to_serve_at_the_start_calls_none_in_place_of_a_worker_about_to_come() {
        for _ in 0..100 {
            let mut pool = Pool::new(ClosesAtOnce, Settings::default()).unwrap();
            pool.crew = Crew::new(2);
            let pool = Arc::new(pool);
            let later = Instant::now() + Duration::from_secs(60);
            let theirs: Vec<_> = std::iter::repeat_with(|| {
                let (ours, mut theirs) = UnixStream::pair().unwrap();
                theirs.write_all(b"x").unwrap();
                assert!(pool.enter());
                pool.rest(
                    Box::new(Peer::new(ours.into(), Held::default())),
                    Waiting::ForRequest,
                    later,
                );
                theirs
            })
            .take(64)
            .collect();
            pool.start_first_workers(2).unwrap();
            while pool.open_connections() > 0 && Instant::now() < later {
                thread::yield_now();
            }
            assert_eq!((pool.open_connections(), pool.workers()), (0, 2));
            pool.end();
            pool.join();
            drop(theirs);
        }
    }

    #[test]
    fn who_polls_is_woken_for_what_is_left_where_no_further_worker_may_be() {
        let settings = Settings { workers: 1, ..Settings::default() };
        let pool = Arc::new(Pool::new(ClosesAtOnce, settings).unwrap());
        pool.workers.store(1, SeqCst);
        pool.crew.join();
        let polling = Arc::clone(&pool);
        let (sender, served) = std::sync::mpsc::channel();
        thread::spawn(move || sender.send(polling.next(&mut Vec::new()).is_some()));
        // Another one serves, finds more besides, and waits once the first one polls.
        pool.crew.join();
        thread::sleep(Duration::from_millis(200));
        let (ours, _theirs) = UnixStream::pair().unwrap();
        pool.crew.also(Event::Peer(Box::new(Peer::new(ours.into(), Held::default()))));
        pool.before_waiting();
        assert_eq!(served.recv_timeout(Duration::from_secs(20)), Ok(true));
    }
}
