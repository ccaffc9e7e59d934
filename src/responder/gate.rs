//! Bounds on what runs, and on what waits, at once.

use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Lets `places` through at a time, and `queue` more wait.
pub struct Gate {
    places: usize,
    queue: usize,
    state: Mutex<State>,
    left: Condvar,
}

/// A place behind the gate, given back when dropped.
pub struct Pass<'a>(&'a Gate);

/// The queue is full, or the wait was too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("too many at once")]
pub struct Busy;

#[derive(Default)]
struct State {
    inside: usize,
    waiting: usize,
}

impl Gate {
    /// A gate with `places` behind it (at least one), and room for `queue` in front.
    #[must_use]
    pub fn new(places: usize, queue: usize) -> Self {
        Self { places: places.max(1), queue, state: Mutex::default(), left: Condvar::new() }
    }

    /// Goes through, or waits for up to `patience`.
    ///
    /// # Errors
    ///
    /// [`Busy`].
    pub fn enter(&self, patience: Duration) -> Result<Pass<'_>, Busy> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.inside >= self.places {
            if state.waiting >= self.queue {
                return Err(Busy);
            }
            state.waiting += 1;
            let until = Instant::now() + patience;
            while state.inside >= self.places {
                let left = until.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    state.waiting -= 1;
                    return Err(Busy);
                }
                state =
                    self.left.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
            }
            state.waiting -= 1;
        }
        state.inside += 1;
        Ok(Pass(self))
    }
}

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        let mut state = self.0.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.inside -= 1;
        let waits = state.waiting > 0;
        drop(state);
        if waits {
            self.0.left.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_pass_than_there_are_places() {
        let gate = Gate::new(2, 0);
        let first = gate.enter(Duration::ZERO).unwrap();
        let _second = gate.enter(Duration::ZERO).unwrap();
        assert_eq!(gate.enter(Duration::from_secs(9)).err(), Some(Busy));
        drop(first);
        assert!(gate.enter(Duration::ZERO).is_ok());
    }

    #[test]
    fn one_that_waits_passes_when_another_leaves() {
        let gate = Gate::new(1, 1);
        let first = gate.enter(Duration::ZERO).unwrap();
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| gate.enter(Duration::from_secs(20)).is_ok());
            while gate.state.lock().unwrap().waiting == 0 {
                std::thread::yield_now();
            }
            assert_eq!(gate.enter(Duration::from_secs(9)).err(), Some(Busy));
            drop(first);
            assert!(waiting.join().unwrap());
        });
    }

    #[test]
    fn waiting_ends() {
        let gate = Gate::new(1, 1);
        let _first = gate.enter(Duration::ZERO).unwrap();
        assert_eq!(gate.enter(Duration::from_millis(5)).err(), Some(Busy));
        assert_eq!(gate.state.lock().unwrap().waiting, 0);
    }
}
