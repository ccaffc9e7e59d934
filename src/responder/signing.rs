//! How many signatures are made at once, how many more wait, and at whose cost.
//!
//! A question waits for a place at the key in its own worker, and signs there. When half
//! of the queue waits so, the others hand their signatures to threads that stand back:
//! with more new questions than can be signed, repeats still find a processor.

use std::collections::VecDeque;
use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use rustix::process::{getpriority_process, setpriority_process};

use crate::responder::gate::Busy;

/// The places at the keys, and the queue for them.
pub struct Signing(Arc<Inner>);

struct Inner {
    places: usize,
    queue: usize,
    /// Of each thread that stands back.
    stack_bytes: usize,
    state: Mutex<State>,
    /// There may be a place for a worker that waits.
    place: Condvar,
    /// There may be something to do for a thread that stands back.
    work: Condvar,
}

/// Those who wait for a place themselves came before all jobs: nobody does so while
/// there are jobs.
#[derive(Default)]
struct State {
    inside: usize,
    waiting: usize,
    jobs: VecDeque<Job>,
    next: u64,
    /// Threads that stand back, started when first needed; and those with nothing to do.
    threads: usize,
    idle: usize,
    /// The system has refused one: each further one that is wanted tries again, told once.
    short_of_threads: bool,
    over: bool,
}

struct Job {
    number: u64,
    work: Box<dyn FnOnce() + Send>,
}

impl Signing {
    /// With `places` at a time (at least one), and room for `queue` more to wait.
    #[must_use]
    pub fn new(places: usize, queue: usize) -> Self {
        Self::with_stacks(places, queue, STACK_BYTES)
    }

    fn with_stacks(places: usize, queue: usize, stack_bytes: usize) -> Self {
        Self(Arc::new(Inner {
            places: places.max(1),
            queue,
            stack_bytes,
            state: Mutex::default(),
            place: Condvar::new(),
            work: Condvar::new(),
        }))
    }

    /// Does `work`, after a wait of up to `patience` where all places are taken.
    ///
    /// # Errors
    ///
    /// [`Busy`]; the work is not done, or nobody sees its outcome.
    pub fn run<T: Send + 'static>(
        &self,
        patience: Duration,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Busy> {
        let mut state = self.0.state();
        let ahead = state.waiting + state.jobs.len();
        if state.jobs.is_empty() && state.inside < self.0.places {
            return Ok(Place::take(&self.0, state).occupied_by(work));
        }
        if ahead >= self.0.queue {
            return Err(Busy);
        }
        let is_early = state.jobs.is_empty() && ahead < self.0.queue.div_ceil(2);
        // Where the system gives no thread at all, all wait themselves.
        if is_early || !self.has_threads(&mut state) {
            return Ok(self.0.wait_for_place(state, patience)?.occupied_by(work));
        }
        self.hand_over(state, patience, work)
    }

    fn hand_over<T: Send + 'static>(
        &self,
        mut state: MutexGuard<'_, State>,
        patience: Duration,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Busy> {
        let (sender, outcome) = mpsc::sync_channel(1);
        let number = state.next;
        state.next += 1;
        // Nobody listens any more when it took too long.
        let work = Box::new(move || drop(sender.send(work())));
        state.jobs.push_back(Job { number, work });
        self.0.call_one(state);
        outcome.recv_timeout(patience).map_err(|_| {
            self.0.state().jobs.retain(|job| job.number != number);
            Busy
        })
    }

    /// Starts as many as there are places, as far as the system lets them be; whether
    /// there are any.
    fn has_threads(&self, state: &mut State) -> bool {
        while state.threads < self.0.places {
            let inner = Arc::clone(&self.0);
            let builder = thread::Builder::new().name("signing".into());
            let started = builder.stack_size(self.0.stack_bytes).spawn(move || inner.run());
            if let Err(error) = started {
                if !mem::replace(&mut state.short_of_threads, true) {
                    let threads = state.threads;
                    log::warn!("no thread for the signing queue: threads={threads} error={error}");
                }
                break;
            }
            state.threads += 1;
        }
        state.threads > 0
    }
}

impl Drop for Signing {
    fn drop(&mut self) {
        self.0.state().over = true;
        self.0.work.notify_all();
    }
}

impl Inner {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait_for_place<'a>(
        &'a self,
        mut state: MutexGuard<'a, State>,
        patience: Duration,
    ) -> Result<Place<'a>, Busy> {
        state.waiting += 1;
        let is_full = |state: &mut State| state.inside >= self.places;
        let waited = self.place.wait_timeout_while(state, patience, is_full);
        let (mut state, waited) = waited.unwrap_or_else(PoisonError::into_inner);
        state.waiting -= 1;
        if waited.timed_out() {
            return Err(Busy);
        }
        Ok(Place::take(self, state))
    }

    /// Wakes one who can use the place that is free, if there is one.
    fn call_one(&self, state: MutexGuard<'_, State>) {
        let free = state.inside < self.places;
        let worker = free && state.waiting > 0;
        let thread = free && !worker && state.idle > 0 && !state.jobs.is_empty();
        drop(state);
        if worker {
            self.place.notify_one();
        } else if thread {
            self.work.notify_one();
        }
    }

    /// What a thread that stands back does until the end.
    fn run(&self) {
        stand_back();
        while let Some((place, job)) = self.next() {
            // What the work touched goes with it: whoever waits finds nobody there.
            if catch_unwind(AssertUnwindSafe(job.work)).is_err() {
                log::error!("a signature was lost to a panic");
            }
            drop(place);
            // Standing back decides how often it runs, not for how long: it would go on with
            // the next signature for as long as others get at a time.
            thread::yield_now();
        }
    }

    /// The first of the queue, with a place.
    fn next(&self) -> Option<(Place<'_>, Job)> {
        let mut state = self.state();
        while !state.over {
            if state.inside < self.places
                && state.waiting == 0
                && let Some(job) = state.jobs.pop_front()
            {
                return Some((Place::take(self, state), job));
            }
            state.idle += 1;
            state = self.work.wait(state).unwrap_or_else(PoisonError::into_inner);
            state.idle -= 1;
        }
        None
    }
}

/// A place at a key, given back when dropped, even after a panic.
struct Place<'a>(&'a Inner);

impl<'a> Place<'a> {
    fn take(inner: &'a Inner, mut state: MutexGuard<'a, State>) -> Self {
        state.inside += 1;
        inner.call_one(state); // there may be another place
        Self(inner)
    }

    fn occupied_by<T>(self, work: impl FnOnce() -> T) -> T {
        work()
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.inside -= 1;
        self.0.call_one(state);
    }
}

/// The calling thread alone. Where the system refuses, it goes on as it is.
fn stand_back() {
    let wanted = getpriority_process(None).unwrap_or(0).saturating_add(NICE);
    if let Err(error) = setpriority_process(None, wanted) {
        log::debug!("threads of the signing queue do not stand back: error={error}");
    }
}

/// By how much threads of the queue stand back, see nice(1): about a tenth of a
/// processor is theirs where others want all of it.
const NICE: i32 = 10;
/// As the standard library gives by itself.
const STACK_BYTES: usize = 2 << 20;

#[cfg(test)]
mod tests {
    use std::sync::Barrier;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Instant;

    use super::*;

    const LONG: Duration = Duration::from_secs(20);

    /// Takes a place until the barrier is met, while `meanwhile` goes on.
    fn with_a_place_taken<T>(signing: &Signing, meanwhile: impl FnOnce(&Barrier) -> T) -> T {
        let barrier = Arc::new(Barrier::new(2));
        thread::scope(|scope| {
            let held = Arc::clone(&barrier);
            scope.spawn(move || {
                signing.run(LONG, move || {
                    held.wait();
                    held.wait();
                })
            });
            barrier.wait();
            meanwhile(&barrier)
        })
    }

    fn until(mut condition: impl FnMut() -> bool) {
        let end = Instant::now() + LONG;
        while !condition() {
            assert!(Instant::now() < end);
            thread::yield_now();
        }
    }

    #[test]
    fn no_more_run_at_once_than_there_are_places_and_all_are_done() {
        let signing = Signing::new(2, 30); // some in their workers, some handed over
        let (inside, most, done) = <(Arc<AtomicUsize>, Arc<AtomicUsize>, AtomicUsize)>::default();
        thread::scope(|scope| {
            for _ in 0..32 {
                scope.spawn(|| {
                    let (inside, most) = (Arc::clone(&inside), Arc::clone(&most));
                    let outcome = signing.run(LONG, move || {
                        let now = inside.fetch_add(1, Ordering::SeqCst) + 1;
                        most.fetch_max(now, Ordering::SeqCst);
                        thread::sleep(Duration::from_millis(1));
                        inside.fetch_sub(1, Ordering::SeqCst);
                        7
                    });
                    assert_eq!(outcome, Ok(7));
                    done.fetch_add(1, Ordering::SeqCst);
                });
            }
        });
        assert_eq!(done.load(Ordering::SeqCst), 32);
        assert_eq!(most.load(Ordering::SeqCst), 2);
        until(|| signing.0.state().inside == 0); // an outcome is told before its place is free
    }

    #[test]
    fn who_finds_the_queue_full_is_refused_and_who_waits_is_served() {
        let signing = Signing::new(1, 2);
        with_a_place_taken(&signing, |release| {
            thread::scope(|scope| {
                let waiting = scope.spawn(|| signing.run(LONG, || 1));
                until(|| signing.0.state().waiting == 1);
                let handed_over = scope.spawn(|| signing.run(LONG, || 2));
                until(|| signing.0.state().jobs.len() == 1);
                assert_eq!(signing.run(LONG, || 3), Err(Busy));
                release.wait();
                assert_eq!(waiting.join().unwrap(), Ok(1));
                assert_eq!(handed_over.join().unwrap(), Ok(2));
            });
        });
        until(|| {
            let state = signing.0.state();
            (state.inside, state.waiting, state.jobs.len()) == (0, 0, 0)
        });
    }

    #[test]
    fn who_has_lost_patience_is_not_worked_for() {
        const SHORT: Duration = Duration::from_millis(5);
        let signing = Signing::new(1, 2);
        with_a_place_taken(&signing, |release| {
            let outcome = signing.run(SHORT, || unreachable!());
            assert_eq!(outcome, Err::<(), _>(Busy));
            assert_eq!(signing.0.state().waiting, 0);
            thread::scope(|scope| {
                let waiting = scope.spawn(|| signing.run(LONG, || 1));
                until(|| signing.0.state().waiting == 1);
                let outcome = signing.run(SHORT, || unreachable!());
                assert_eq!(outcome, Err::<(), _>(Busy));
                assert!(signing.0.state().jobs.is_empty());
                release.wait();
                assert_eq!(waiting.join().unwrap(), Ok(1));
            });
        });
        assert_eq!(signing.run(LONG, || 3), Ok(3));
    }

    /// While the only place is taken and half of the queue waits: what `work` gives when
    /// it is handed over.
    fn handed_over<T: Send + 'static>(
        signing: &Signing,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Busy> {
        with_a_place_taken(signing, |release| {
            thread::scope(|scope| {
                let waiting = scope.spawn(|| signing.run(LONG, || ()));
                until(|| signing.0.state().waiting == 1);
                let handed_over = scope.spawn(|| signing.run(LONG, work));
                until(|| signing.0.state().jobs.len() == 1);
                release.wait();
                assert_eq!(waiting.join().unwrap(), Ok(()));
                handed_over.join().unwrap()
            })
        })
    }

    #[test]
    fn the_later_half_of_the_queue_is_done_by_threads_that_stand_back() {
        let signing = Signing::new(1, 2);
        let priority = || getpriority_process(None).unwrap();
        let own = priority();
        assert_eq!(signing.run(LONG, priority), Ok(own));
        with_a_place_taken(&signing, |release| {
            thread::scope(|scope| {
                let waiting = scope.spawn(|| signing.run(LONG, priority));
                until(|| signing.0.state().waiting == 1);
                release.wait();
                assert_eq!(waiting.join().unwrap(), Ok(own));
            });
        });
        for _ in 0..2 {
            assert_eq!(handed_over(&signing, priority), Ok((own + NICE).min(19)));
        }
        assert_eq!(priority(), own);
    }

    #[test]
    fn while_there_are_jobs_nobody_overtakes_them() {
        let signing = Signing::new(1, 4);
        let (sender, order) = mpsc::channel();
        let of_the_job = sender.clone();
        let work = Box::new(move || of_the_job.send(1).unwrap());
        signing.0.state().jobs.push_back(Job { number: u64::MAX, work });
        // The place is free, and nobody waits for it.
        assert_eq!(signing.run(LONG, move || sender.send(2)), Ok(Ok(())));
        assert_eq!(order.iter().collect::<Vec<_>>(), [1, 2]);
    }

    #[test]
    fn who_waits_in_its_worker_came_before_all_jobs() {
        let signing = Signing::new(2, 4);
        let (sender, order) = mpsc::channel();
        let work = Box::new(move || sender.send(2).unwrap());
        let mut state = signing.0.state();
        assert!(signing.has_threads(&mut state));
        state.waiting += 1; // one who has been called, and is not awake yet
        state.jobs.push_back(Job { number: u64::MAX, work });
        drop(state);
        until(|| signing.0.state().idle == 2);
        signing.0.work.notify_all();
        assert_eq!(order.recv_timeout(Duration::from_millis(50)).ok(), None);
        let mut state = signing.0.state();
        state.waiting -= 1;
        drop(Place::take(&signing.0, state));
        assert_eq!(order.recv_timeout(LONG), Ok(2));
    }

    #[test]
    fn without_threads_all_of_the_queue_wait_themselves() {
        let signing = Signing::with_stacks(1, 3, 1 << 60); // more than any system gives
        with_a_place_taken(&signing, |release| {
            thread::scope(|scope| {
                let waiting = [0, 1, 2].map(|number| {
                    let signing = &signing;
                    scope.spawn(move || signing.run(LONG, move || number))
                });
                until(|| signing.0.state().waiting == 3);
                assert!(signing.0.state().short_of_threads);
                assert_eq!(signing.run(LONG, || 4), Err(Busy));
                release.wait();
                for (number, waiting) in waiting.into_iter().enumerate() {
                    assert_eq!(waiting.join().unwrap(), Ok(number));
                }
            });
        });
    }

    #[test]
    fn a_panic_costs_its_asker_alone() {
        let signing = Signing::new(1, 2);
        for _ in 0..2 {
            let outcome: Result<(), _> = handed_over(&signing, || panic!("on purpose"));
            assert_eq!(outcome, Err(Busy));
        }
        let own = || signing.run(LONG, || panic!("on purpose")).unwrap();
        assert!(catch_unwind(AssertUnwindSafe(own)).is_err());
        until(|| signing.0.state().inside == 0);
        assert_eq!(signing.run(LONG, || 4), Ok(4));
    }

    #[test]
    fn its_threads_end_with_it() {
        let signing = Signing::new(2, 1);
        with_a_place_taken(&signing, |release| {
            assert!(signing.has_threads(&mut signing.0.state()));
            release.wait();
        });
        let inner = Arc::downgrade(&signing.0);
        drop(signing);
        until(|| inner.strong_count() == 0);
    }
}
