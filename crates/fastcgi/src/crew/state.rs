//! Whose turn it is, as numbers: what the crew guards by its lock. Pure, so that a test goes
//! through all orders in which workers come, wait and come back.

use std::collections::VecDeque;

/// What is to be seen to, and who is there.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct State<E> {
    /// Found by whoever polled last, and seen to by nobody yet.
    pub(super) ready: VecDeque<E>,
    /// To be seen to once more, after what else there may be.
    pub(super) again: VecDeque<E>,
    /// Somebody polls.
    polling: bool,
    /// Workers that will come back for their next turn without waiting for anything
    /// but the poller.
    pub(super) awake: usize,
    /// Workers that sleep until they are called.
    pub(super) asleep: usize,
    /// Of these, those called and not up yet.
    pub(super) called: usize,
    /// Workers that may be awake at once where nobody waits.
    processors: usize,
    ended: bool,
}

/// What a worker does next.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Turn<E> {
    /// See to this.
    Serve(E),
    /// Poll, and [tell](super::Crew::found) what there is.
    Poll(Patience),
    /// Go home.
    End,
}

/// Whether who polls waits until there is something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Patience {
    Endless,
    /// There is something to do already.
    None,
}

/// Who is to come where a worker waits, or has found much.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(crate) enum Wanted {
    /// Nobody: somebody is there.
    Nobody,
    /// One that sleeps, and is called.
    Sleeper,
    /// One more worker, as none sleeps: the caller's to start.
    OneMore,
}

impl<E> State<E> {
    pub(super) fn new(processors: usize) -> Self {
        Self {
            ready: VecDeque::new(),
            again: VecDeque::new(),
            polling: false,
            awake: 0,
            asleep: 0,
            called: 0,
            processors,
            ended: false,
        }
    }

    /// A worker comes, and will ask for its turn.
    pub(super) fn join(&mut self) {
        self.awake += 1;
    }

    /// What a worker does next; `None`, it sleeps from now on.
    pub(super) fn turn(&mut self) -> Option<Turn<E>> {
        if self.ended {
            self.awake -= 1;
            return Some(Turn::End);
        }
        if let Some(event) = self.ready.pop_front() {
            return Some(Turn::Serve(event));
        }
        if !self.polling {
            self.polling = true;
            let nothing_to_do = self.again.is_empty();
            let patience = if nothing_to_do { Patience::Endless } else { Patience::None };
            return Some(Turn::Poll(patience));
        }
        if let Some(event) = self.again.pop_front() {
            return Some(Turn::Serve(event));
        }
        self.awake -= 1;
        self.asleep += 1;
        None
    }

    /// Whether one that sleeps gets up now, as it is called.
    pub(super) fn gets_up(&mut self) -> bool {
        if self.called == 0 && !self.ended {
            return false;
        }
        self.called = self.called.saturating_sub(1);
        self.asleep -= 1;
        self.awake += 1;
        true
    }

    /// Who polls is back, and has found this.
    pub(super) fn found(&mut self, events: impl Iterator<Item = E>) -> Wanted {
        self.polling = false;
        self.ready.extend(events);
        self.ready.append(&mut self.again);
        if self.ready.len() <= ENOUGH_FOR_ONE || self.present() >= self.processors {
            return Wanted::Nobody;
        }
        self.call_one()
    }

    pub(super) fn also(&mut self, event: E) {
        self.ready.push_back(event);
    }

    pub(super) fn again(&mut self, event: E) {
        self.again.push_back(event);
    }

    /// A worker is about to wait for something else than the poller.
    pub(super) fn before_waiting(&mut self) -> Wanted {
        self.awake -= 1;
        if self.present() > usize::from(self.is_overslept()) || self.ended {
            return Wanted::Nobody;
        }
        self.call_one()
    }

    /// Whether there is something to serve, and who polls may have begun before that, and
    /// sleeps till the next event.
    pub(super) fn is_overslept(&self) -> bool {
        self.polling && !(self.ready.is_empty() && self.again.is_empty())
    }

    pub(super) fn end(&mut self) {
        self.ended = true;
    }

    /// Workers that are awake or will be.
    fn present(&self) -> usize {
        self.awake + self.called
    }

    fn call_one(&mut self) -> Wanted {
        if self.asleep == self.called {
            return Wanted::OneMore;
        }
        self.called += 1;
        Wanted::Sleeper
    }
}

/// What one worker serves while another one would only just wake up.
pub(super) const ENOUGH_FOR_ONE: usize = 16;
