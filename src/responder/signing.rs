//! How many signatures are made at once, how many more wait, and at whose cost.
//!
//! A question for which there is a place signs in its own worker. The others queue up,
//! and threads that stand back make their signatures: with more new questions than can
//! be signed, repeats still find a processor.

use std::collections::VecDeque;
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
    state: Mutex<State>,
    /// There may be something to do for a thread of the queue.
    work: Condvar,
}

#[derive(Default)]
struct State {
    inside: usize,
    jobs: VecDeque<Job>,
    next: u64,
    /// Threads that take from the queue; started when first needed.
    threads: usize,
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
        let places = places.max(1);
        let (state, work) = (Mutex::default(), Condvar::new());
        Self(Arc::new(Inner { places, queue, state, work }))
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
        if state.inside < self.0.places && state.jobs.is_empty() {
            state.inside += 1;
            drop(state);
            let _place = Place(&self.0);
            return Ok(work());
        }
        if state.jobs.len() >= self.0.queue {
            return Err(Busy);
        }
        self.start_threads(&mut state);
        if state.threads == 0 {
            return Err(Busy);
        }
        let (sender, outcome) = mpsc::sync_channel(1);
        let number = state.next;
        state.next += 1;
        // Nobody listens any more when it took too long.
        let work = Box::new(move || drop(sender.send(work())));
        state.jobs.push_back(Job { number, work });
        let has_place = state.inside < self.0.places;
        drop(state);
        if has_place {
            self.0.work.notify_one();
        }
        outcome.recv_timeout(patience).map_err(|_| {
            self.0.state().jobs.retain(|job| job.number != number);
            Busy
        })
    }

    /// As many as there are places, as far as the system lets them be.
    fn start_threads(&self, state: &mut State) {
        while state.threads < self.0.places {
            let inner = Arc::clone(&self.0);
            let started = thread::Builder::new().name("signing".into()).spawn(move || inner.run());
            if let Err(error) = started {
                log::warn!("no thread for the signing queue: error={error}");
                return;
            }
            state.threads += 1;
        }
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

    /// What a thread of the queue does until the end.
    fn run(&self) {
        stand_back();
        while let Some(job) = self.next() {
            let _place = Place(self);
            // What the work touched goes with it: whoever waits finds nobody there.
            if catch_unwind(AssertUnwindSafe(job.work)).is_err() {
                log::error!("a signature was lost to a panic");
            }
        }
    }

    /// The first of the queue, with a place.
    fn next(&self) -> Option<Job> {
        let mut state = self.state();
        loop {
            if state.over {
                return None;
            }
            if state.inside < self.places
                && let Some(job) = state.jobs.pop_front()
            {
                state.inside += 1;
                return Some(job);
            }
            state = self.work.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// A place at a key, given back when dropped, even after a panic.
struct Place<'a>(&'a Inner);

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.inside -= 1;
        let waits = !state.jobs.is_empty();
        drop(state);
        if waits {
            self.0.work.notify_one();
        }
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

#[cfg(test)]
mod tests {
    use std::sync::Barrier;
    use std::sync::atomic::{AtomicUsize, Ordering};

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
        while !condition() {
            thread::yield_now();
        }
    }

    #[test]
    fn no_more_run_at_once_than_there_are_places_and_all_are_done() {
        let signing = Signing::new(2, 30);
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
        assert_eq!(signing.0.state().inside, 0);
    }

    #[test]
    fn who_finds_the_queue_full_is_refused_and_who_waits_is_served() {
        let signing = Signing::new(1, 1);
        with_a_place_taken(&signing, |release| {
            thread::scope(|scope| {
                let waiting = scope.spawn(|| signing.run(LONG, || 1));
                until(|| signing.0.state().jobs.len() == 1);
                assert_eq!(signing.run(LONG, || 2), Err(Busy));
                release.wait();
                assert_eq!(waiting.join().unwrap(), Ok(1));
            });
        });
    }

    #[test]
    fn who_has_lost_patience_is_not_worked_for() {
        let signing = Signing::new(1, 1);
        with_a_place_taken(&signing, |release| {
            let outcome = signing.run(Duration::from_millis(5), || unreachable!());
            assert_eq!(outcome, Err::<(), _>(Busy));
            assert!(signing.0.state().jobs.is_empty());
            release.wait();
        });
        assert_eq!(signing.run(LONG, || 3), Ok(3));
    }

    #[test]
    fn what_has_queued_up_is_done_by_a_thread_that_stands_back() {
        let signing = Signing::new(1, 1);
        let priority = || getpriority_process(None).unwrap();
        let own = priority();
        assert_eq!(signing.run(LONG, priority), Ok(own));
        with_a_place_taken(&signing, |release| {
            thread::scope(|scope| {
                let waiting = scope.spawn(|| signing.run(LONG, priority));
                until(|| signing.0.state().jobs.len() == 1);
                release.wait();
                assert_eq!(waiting.join().unwrap(), Ok((own + NICE).min(19)));
            });
        });
        assert_eq!(priority(), own);
    }

    #[test]
    fn a_panic_in_the_queue_costs_its_asker_alone() {
        let signing = Signing::new(1, 1);
        for _ in 0..2 {
            with_a_place_taken(&signing, |release| {
                thread::scope(|scope| {
                    let waiting = scope.spawn(|| signing.run(LONG, || panic!("on purpose")));
                    until(|| signing.0.state().jobs.len() == 1);
                    release.wait();
                    assert_eq!(waiting.join().unwrap(), Err::<(), _>(Busy));
                });
            });
        }
        until(|| signing.0.state().inside == 0);
        assert_eq!(signing.run(LONG, || 4), Ok(4));
    }

    #[test]
    fn its_threads_end_with_it() {
        let signing = Signing::new(2, 1);
        with_a_place_taken(&signing, |release| {
            signing.start_threads(&mut signing.0.state());
            release.wait();
        });
        let inner = Arc::downgrade(&signing.0);
        drop(signing);
        until(|| inner.strong_count() == 0);
    }
}
