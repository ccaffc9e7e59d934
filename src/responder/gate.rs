//! A bound on what goes on at once.

use std::sync::atomic::{AtomicUsize, Ordering};

/// Lets as many through at a time as there are places; nobody waits.
pub struct Gate {
    places: usize,
    inside: AtomicUsize,
}

/// A place behind the gate, given back when dropped.
pub struct Pass<'a>(&'a Gate);

/// All places are taken, and so is the queue, or the wait was too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("too many at once")]
pub struct Busy;

impl Gate {
    /// A gate with `places` behind it (at least one).
    #[must_use]
    pub fn new(places: usize) -> Self {
        Self { places: places.max(1), inside: AtomicUsize::new(0) }
    }

    /// Goes through.
    ///
    /// # Errors
    ///
    /// [`Busy`].
    #[allow(deprecated, reason = "its other name, try_update, is newer than Rust 1.90")]
    pub fn enter(&self) -> Result<Pass<'_>, Busy> {
        let one_more = |inside| (inside < self.places).then_some(inside + 1);
        let entered = self.inside.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more);
        entered.map(|_| Pass(self)).map_err(|_| Busy)
    }
}

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        self.0.inside.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_pass_than_there_are_places() {
        let gate = Gate::new(2);
        let first = gate.enter().unwrap();
        let _second = gate.enter().unwrap();
        assert_eq!(gate.enter().err(), Some(Busy));
        drop(first);
        assert!(gate.enter().is_ok());
    }
}
