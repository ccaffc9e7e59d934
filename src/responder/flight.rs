//! One piece of work for all who ask for its result at the same time.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use crate::time::Timestamp;

/// The pieces of work under way, by what they are about.
pub struct Flights<T> {
    under_way: Mutex<UnderWay<T>>,
    window: Duration,
}

type UnderWay<T> = HashMap<Box<[u8]>, Arc<Flight<T>>>;

struct Flight<T> {
    began: Timestamp,
    state: Mutex<State<T>>,
    /// Those who wait: to wake nobody costs a system call too.
    waiting: AtomicUsize,
    landed: Condvar,
}

enum State<T> {
    UnderWay,
    Landed(T),
    /// Whoever did the work panicked.
    Lost,
}

impl<T: Clone> Flights<T> {
    /// None under way. Results serve those who come less than `window` after the work
    /// for them has begun.
    #[must_use]
    pub fn new(window: Duration) -> Self {
        Self { under_way: Mutex::default(), window }
    }

    /// Does `work`, or waits for whoever is doing it for the same `key`. `None`
    /// when that takes longer than `patience`, or was lost.
    pub fn join(
        &self,
        key: &[u8],
        now: Timestamp,
        patience: Duration,
        work: impl FnOnce() -> T,
    ) -> Option<T> {
        let mut under_way = self.under_way.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(flight) = under_way.get(key).filter(|flight| flight.serves(now, self.window)) {
            let flight = Arc::clone(flight);
            drop(under_way);
            return flight.wait(patience);
        }
        let flight = Arc::new(Flight::begun(now));
        under_way.insert(Box::from(key), Arc::clone(&flight));
        drop(under_way);
        let landing = Landing { flights: self, key, flight };
        let result = work();
        landing.flight.set(State::Landed(result.clone()));
        Some(result)
    }
}

impl<T: Clone> Flight<T> {
    fn wait(&self, patience: Duration) -> Option<T> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        // Under the lock, as is the look at it: nobody begins to wait in between.
        self.waiting.fetch_add(1, Ordering::Relaxed);
        let under_way = |state: &mut State<T>| matches!(state, State::UnderWay);
        let waited = self.landed.wait_timeout_while(state, patience, under_way);
        match &*waited.unwrap_or_else(PoisonError::into_inner).0 {
            State::Landed(result) => Some(result.clone()),
            State::Lost | State::UnderWay => None,
        }
    }
}

impl<T> Flight<T> {
    fn begun(at: Timestamp) -> Self {
        Self {
            began: at,
            state: Mutex::new(State::UnderWay),
            waiting: AtomicUsize::new(0),
            landed: Condvar::new(),
        }
    }

    fn serves(&self, now: Timestamp, window: Duration) -> bool {
        !now.left_of(window, self.began).is_zero()
    }

    fn set(&self, state: State<T>) {
        *self.state.lock().unwrap_or_else(PoisonError::into_inner) = state;
    }
}

/// Takes the flight off the list and wakes those who wait, even after a panic.
struct Landing<'a, T> {
    flights: &'a Flights<T>,
    key: &'a [u8],
    flight: Arc<Flight<T>>,
}

impl<T> Drop for Landing<'_, T> {
    fn drop(&mut self) {
        let mut under_way = self.flights.under_way.lock().unwrap_or_else(PoisonError::into_inner);
        // A later one may have taken its place.
        if under_way.get(self.key).is_some_and(|flight| Arc::ptr_eq(flight, &self.flight)) {
            under_way.remove(self.key);
        }
        drop(under_way);
        let mut state = self.flight.state.lock().unwrap_or_else(PoisonError::into_inner);
        if matches!(*state, State::UnderWay) {
            *state = State::Lost;
        }
        let is_awaited = self.flight.waiting.load(Ordering::Relaxed) > 0;
        drop(state);
        if is_awaited {
            self.flight.landed.notify_all();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(20);
    const WINDOW: Duration = Duration::from_secs(10);
    const NOW: Timestamp = Timestamp::EPOCH;

    #[test]
    fn those_who_ask_while_it_is_done_share_one_piece_of_work() {
        let flights = Flights::new(WINDOW);
        let done = AtomicUsize::new(0);
        let (arrived, release) = (std::sync::Barrier::new(2), std::sync::Barrier::new(2));
        let results: Vec<_> = std::thread::scope(|scope| {
            let leader = scope.spawn(|| {
                flights.join(b"key", NOW, LONG, || {
                    arrived.wait();
                    release.wait();
                    done.fetch_add(1, Ordering::SeqCst) + 1
                })
            });
            arrived.wait();
            let followers: Vec<_> = (0..8)
                .map(|_| scope.spawn(|| flights.join(b"key", NOW, LONG, || unreachable!())))
                .collect();
            // The map holds one Arc, the leader two more by its landing and itself.
            let flight = Arc::clone(flights.under_way.lock().unwrap().get(&b"key"[..]).unwrap());
            while Arc::strong_count(&flight) < 3 + 8 {
                std::thread::yield_now();
            }
            release.wait();
            followers.into_iter().chain([leader]).map(|thread| thread.join().unwrap()).collect()
        });
        assert_eq!(results, vec![Some(1); 9]);
        assert_eq!(flights.join(b"key", NOW, LONG, || 7), Some(7));
    }

    #[test]
    fn who_comes_when_the_window_is_over_has_it_done_anew_and_the_next_ones_share_that() {
        let flights = Flights::new(WINDOW);
        let at = |seconds| Timestamp::from_unix(NOW.unix() + seconds);
        let began =
            || flights.under_way.lock().unwrap().get(&b"key"[..]).map(|flight| flight.began);
        // The last one: the clock went back.
        for later in [10, 15, -1] {
            let result = flights.join(b"key", at(0), LONG, || {
                let again = flights.join(b"key", at(later), LONG, || {
                    assert_eq!(began(), Some(at(later)));
                    later
                });
                assert_eq!(again, Some(later));
                0
            });
            assert_eq!((result, began()), (Some(0), None));
        }
        let flight = Flight::<()>::begun(at(0));
        assert!(flight.serves(at(0), WINDOW) && flight.serves(at(9), WINDOW));
        assert!(!flight.serves(at(0), Duration::ZERO));
    }

    #[test]
    fn an_earlier_piece_of_work_that_ends_leaves_the_later_one_on_the_list() {
        let flights = Flights::new(WINDOW);
        let (began, ended) = (std::sync::Barrier::new(2), std::sync::Barrier::new(2));
        std::thread::scope(|scope| {
            flights.join(b"key", NOW, LONG, || {
                scope.spawn(|| {
                    let later = Timestamp::from_unix(NOW.unix() + 10);
                    flights.join(b"key", later, LONG, || {
                        began.wait();
                        ended.wait();
                    })
                });
                began.wait();
            });
            let is_listed = flights.under_way.lock().unwrap().contains_key(&b"key"[..]);
            ended.wait();
            assert!(is_listed);
        });
        assert!(flights.under_way.lock().unwrap().is_empty());
    }

    #[test]
    fn a_panic_is_not_waited_for() {
        let flights: Flights<u8> = Flights::new(WINDOW);
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            flights.join(b"key", NOW, LONG, || panic!("on purpose"))
        }));
        assert!(panicked.is_err());
        assert_eq!(flights.join(b"key", NOW, LONG, || 1), Some(1));
    }
}
