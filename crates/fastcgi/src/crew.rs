//! Whose turn it is: one worker polls for all, and serves what it finds itself.
//!
//! As long as answers come at once, one worker reads and writes for many connections
//! in turn, without giving up the processor between them: waking another thread for each
//! request costs more than the request. A worker about to wait says so first, and
//! another one takes its turn. So does one more where there is more to serve than one
//! can, up to a worker for each processor.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use state::State;
pub(crate) use state::{Patience, Turn, Wanted};

#[cfg(test)]
mod orders;
mod state;

/// The workers' agreement; `E` is what they are to see to.
#[derive(Debug)]
pub(crate) struct Crew<E> {
    state: Mutex<State<E>>,
    bell: Condvar,
}

impl<E> Crew<E> {
    /// `processors`: workers that may be awake at once where nobody waits.
    pub(crate) fn new(processors: usize) -> Self {
        Self { state: Mutex::new(State::new(processors)), bell: Condvar::new() }
    }

    /// A worker begins, and will ask for its turn.
    pub(crate) fn join(&self) {
        self.lock().join();
    }

    /// A worker that has joined does not come. Who has counted on it may wait by now: one
    /// that sleeps takes its place; a further one is not to be had.
    pub(crate) fn leave(&self) {
        let _no_further_one = self.before_waiting();
    }

    /// What the calling worker does next; it may sleep until there is something.
    pub(crate) fn turn(&self) -> Turn<E> {
        let mut state = self.lock();
        loop {
            if let Some(turn) = state.turn() {
                return turn;
            }
            while !state.gets_up() {
                state = self.bell.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
        }
    }

    /// The calling worker has polled, and found this.
    pub(crate) fn found(&self, events: impl Iterator<Item = E>) -> Wanted {
        self.calling(|state| state.found(events))
    }

    /// The calling worker has found this besides what it serves.
    pub(crate) fn also(&self, event: E) {
        self.lock().also(event);
    }

    /// Something is to be seen to once more, after all that is ready or can be found.
    pub(crate) fn again(&self, event: E) {
        self.lock().again(event);
    }

    /// The calling worker is about to wait for something else than the poller.
    pub(crate) fn before_waiting(&self) -> Wanted {
        self.calling(State::before_waiting)
    }

    /// The calling worker waits no longer, and will ask for its turn.
    pub(crate) fn after_waiting(&self) {
        self.lock().join();
    }

    /// Whether there is something to serve, and who polls sleeps till the next event.
    pub(crate) fn is_overslept(&self) -> bool {
        self.lock().is_overslept()
    }

    /// All workers go home when they ask for their turn, those that sleep at once. Who
    /// polls has to be woken too.
    pub(crate) fn end(&self) {
        self.lock().end();
        self.bell.notify_all();
    }

    fn calling(&self, change: impl FnOnce(&mut State<E>) -> Wanted) -> Wanted {
        // Not while it is locked: who is called would have to wait.
        let wanted = change(&mut self.lock());
        if wanted == Wanted::Sleeper {
            self.bell.notify_one();
        }
        wanted
    }

    fn lock(&self) -> MutexGuard<'_, State<E>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::state::ENOUGH_FOR_ONE;
    use super::*;

    const POLL: Turn<u32> = Turn::Poll(Patience::Endless);

    /// A crew of two, of whom the first polls.
    fn crew() -> Crew<u32> {
        let crew = Crew::new(2);
        crew.join();
        assert_eq!(crew.turn(), POLL);
        crew
    }

    /// Runs `call` once another worker sleeps; the turn that the other then gets.
    fn turn_of_another(crew: &Crew<u32>, call: impl FnOnce()) -> Turn<u32> {
        crew.join();
        std::thread::scope(|scope| {
            let other = scope.spawn(|| crew.turn());
            while crew.lock().asleep == 0 {
                std::thread::yield_now();
            }
            call();
            other.join().unwrap()
        })
    }

    #[test]
    fn who_polls_serves_what_it_finds_and_polls_again() {
        let crew = crew();
        assert_eq!(crew.found([1, 2].into_iter()), Wanted::Nobody);
        assert_eq!(crew.turn(), Turn::Serve(1));
        assert_eq!(crew.turn(), Turn::Serve(2));
        assert_eq!(crew.turn(), POLL);
    }

    #[test]
    fn what_is_served_again_comes_after_what_is_ready_and_what_is_found() {
        let crew = crew();
        assert_eq!(crew.found([1, 2].into_iter()), Wanted::Nobody);
        assert_eq!(crew.turn(), Turn::Serve(1));
        crew.again(1);
        assert_eq!(crew.turn(), Turn::Serve(2));
        assert_eq!(crew.turn(), Turn::Poll(Patience::None));
        // While somebody polls, another one need not.
        crew.join();
        assert_eq!(crew.turn(), Turn::Serve(1));
        crew.again(1);
        assert_eq!(crew.found([3].into_iter()), Wanted::Nobody);
        assert_eq!(crew.turn(), Turn::Serve(3));
        assert_eq!(crew.turn(), Turn::Serve(1));
    }

    #[test]
    fn a_worker_that_is_about_to_wait_calls_another_one() {
        let crew = crew();
        let turn = turn_of_another(&crew, || {
            assert_eq!(crew.found([1, 2].into_iter()), Wanted::Nobody);
            assert_eq!(crew.turn(), Turn::Serve(1));
            assert_eq!(crew.before_waiting(), Wanted::Sleeper);
        });
        assert_eq!(turn, Turn::Serve(2));
        crew.after_waiting();
        assert_eq!(crew.turn(), POLL);
    }

    #[test]
    fn who_is_counted_on_and_does_not_come_is_replaced_by_one_that_sleeps() {
        let crew = crew();
        let turn = turn_of_another(&crew, || {
            crew.join();
            assert_eq!(crew.found([1, 2].into_iter()), Wanted::Nobody);
            assert_eq!(crew.turn(), Turn::Serve(1));
            assert_eq!(crew.before_waiting(), Wanted::Nobody);
            assert_eq!(crew.lock().called, 0);
            crew.leave();
        });
        assert_eq!(turn, Turn::Serve(2));
    }

    #[test]
    fn who_is_about_to_wait_while_another_one_polls_calls_nobody() {
        let crew = crew();
        assert_eq!(crew.found([1].into_iter()), Wanted::Nobody);
        assert_eq!(crew.turn(), Turn::Serve(1));
        crew.join();
        assert_eq!(crew.turn(), POLL);
        assert_eq!(crew.before_waiting(), Wanted::Nobody);
        // The one that polls is about to wait in turn, and nobody sleeps.
        assert_eq!(crew.found([2].into_iter()), Wanted::Nobody);
        assert_eq!(crew.turn(), Turn::Serve(2));
        assert_eq!(crew.before_waiting(), Wanted::OneMore);
    }

    #[test]
    fn much_to_serve_calls_a_worker_for_each_processor() {
        let much = || 0..=u32::try_from(ENOUGH_FOR_ONE).unwrap();
        let crew = crew();
        let turn = turn_of_another(&crew, || {
            assert_eq!(crew.found(much().skip(1)), Wanted::Nobody);
            assert_eq!(crew.lock().called, 0, "one is enough for these");
            assert_eq!(crew.found(std::iter::once(7)), Wanted::Sleeper);
        });
        assert_eq!(turn, Turn::Serve(1));
        // Both are awake now.
        assert_eq!(crew.found(much()), Wanted::Nobody);
        assert_eq!(crew.lock().called, 0);
        let alone = Crew::new(2);
        alone.join();
        assert_eq!(alone.found(much()), Wanted::OneMore);
    }

    #[test]
    fn all_go_home_at_the_end() {
        let crew = crew();
        assert_eq!(turn_of_another(&crew, || crew.end()), Turn::End);
        assert_eq!(crew.found(std::iter::empty()), Wanted::Nobody);
        assert_eq!(crew.turn(), Turn::End);
        assert_eq!(crew.lock().awake, 0);
    }

    #[test]
    fn what_is_found_besides_while_another_one_polls_does_not_wait_for_who_waits() {
        let crew = crew();
        assert_eq!(crew.found([1].into_iter()), Wanted::Nobody);
        assert_eq!(crew.turn(), Turn::Serve(1));
        crew.join();
        assert_eq!(crew.turn(), POLL);
        assert!(!crew.is_overslept());
        crew.also(2);
        assert_eq!(crew.before_waiting(), Wanted::OneMore);
        assert!(crew.is_overslept(), "where there is no further one, who polls is to be woken");
    }
}
