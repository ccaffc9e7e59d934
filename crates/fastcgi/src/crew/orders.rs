//! All orders in which workers come, wait and come back, gone through: none leaves something
//! unseen to.

use std::collections::{HashMap, VecDeque};
use std::iter;
use std::mem;

use super::state::{ENOUGH_FOR_ONE, Patience, State, Turn, Wanted};

/// A worker between two things that it does at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Worker {
    /// It is about to ask for its turn.
    Free,
    Serving,
    Polling(Patience),
    Asleep,
    /// It was told that one more worker is wanted.
    Provides(Next),
    /// It has counted that one, and is about to start it.
    Starts(Next),
    /// It has started one or not, and is about to see whether who polls is to be woken.
    Looks(Next),
    /// For something that may never come.
    Waiting,
}

/// What a worker goes on with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Next {
    Turn,
    Wait,
}

/// What a pool of workers is in, one of its connections being as good as another.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Pool {
    state: State<()>,
    /// In order, as one is as good as another.
    workers: Vec<Worker>,
    /// In the poller.
    events: usize,
    woken: bool,
    /// Things that may yet come, so that there is an end.
    to_come: usize,
    limits: Limits,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Limits {
    workers: usize,
    /// The threads that the system gives.
    threads: usize,
}

impl Pool {
    fn new(processors: usize, to_come: usize, limits: Limits) -> Self {
        let mut state = State::new(processors);
        let workers = vec![Worker::Free; limits.workers.min(2)];
        workers.iter().for_each(|_| state.join());
        Self { state, workers, events: 0, woken: false, to_come, limits }
    }

    /// What can happen next of itself: no worker takes for ever over it.
    fn steps(&self) -> Vec<Self> {
        let mut steps = Vec::new();
        for (place, worker) in self.workers.iter().enumerate() {
            if place > 0 && self.workers[place - 1] == *worker {
                continue;
            }
            let mut after = |change: &dyn Fn(&mut Self) -> Worker| {
                let mut pool = self.clone();
                pool.workers[place] = change(&mut pool);
                pool.workers.sort();
                steps.push(pool);
            };
            match *worker {
                Worker::Free => after(&Self::takes_its_turn),
                Worker::Serving => {
                    after(&|_| Worker::Free);
                    after(&Self::is_about_to_wait);
                    if self.to_come > 0 {
                        after(&Self::finds_besides);
                        after(&Self::is_to_come_again);
                    }
                }
                Worker::Polling(patience) => {
                    if self.events > 0 || self.woken || patience == Patience::None {
                        after(&Self::has_polled);
                    }
                }
                Worker::Asleep => {
                    if self.state.clone().gets_up() {
                        after(&|pool| {
                            pool.state.gets_up();
                            Worker::Free
                        });
                    }
                }
                Worker::Provides(next) => after(&|pool| pool.counts_one_more(next)),
                Worker::Starts(next) => after(&|pool| pool.starts_it(next)),
                Worker::Looks(next) => after(&|pool| {
                    pool.woken |= pool.state.is_overslept();
                    next.into()
                }),
                Worker::Waiting => {}
            }
        }
        steps
    }

    /// What can happen besides.
    fn events_of_others(&self) -> Vec<Self> {
        let mut others = Vec::new();
        if self.to_come > 0 {
            for events in [1, ENOUGH_FOR_ONE + 1] {
                let mut pool = self.clone();
                pool.to_come -= 1;
                pool.events += events;
                others.push(pool);
            }
        }
        if let Some(place) = self.workers.iter().position(|it| *it == Worker::Waiting) {
            let mut pool = self.clone();
            pool.state.join();
            pool.workers[place] = Worker::Free;
            pool.workers.sort();
            others.push(pool);
        }
        others
    }

    fn takes_its_turn(&mut self) -> Worker {
        match self.state.turn() {
            Some(Turn::Serve(())) => Worker::Serving,
            Some(Turn::Poll(patience)) => Worker::Polling(patience),
            Some(Turn::End) => unreachable!("nobody ends it"),
            None => Worker::Asleep,
        }
    }

    fn has_polled(&mut self) -> Worker {
        let events = mem::take(&mut self.events);
        self.woken = false;
        let wanted = self.state.found(iter::repeat_n((), events));
        provides(wanted, Next::Turn)
    }

    fn is_about_to_wait(&mut self) -> Worker {
        provides(self.state.before_waiting(), Next::Wait)
    }

    fn finds_besides(&mut self) -> Worker {
        self.to_come -= 1;
        self.state.also(());
        Worker::Serving
    }

    fn is_to_come_again(&mut self) -> Worker {
        self.to_come -= 1;
        self.state.again(());
        Worker::Free
    }

    /// From here on as the pool of the program provides a worker.
    fn counts_one_more(&mut self, next: Next) -> Worker {
        if self.workers.len() >= self.limits.workers {
            return Worker::Looks(next);
        }
        self.state.join();
        Worker::Starts(next)
    }

    fn starts_it(&mut self, next: Next) -> Worker {
        if self.workers.len() < self.limits.workers.min(self.limits.threads) {
            self.workers.push(Worker::Free);
        } else {
            let _no_further_one = self.state.before_waiting();
        }
        Worker::Looks(next)
    }

    fn has_work(&self) -> bool {
        self.events + self.state.ready.len() + self.state.again.len() > 0
    }

    /// Whether all wait that there can be.
    fn is_exhausted(&self) -> bool {
        let limit = self.limits.workers.min(self.limits.threads.max(self.workers.len()));
        self.workers.len() == limit && self.workers.iter().all(|it| *it == Worker::Waiting)
    }
}

impl From<Next> for Worker {
    fn from(next: Next) -> Self {
        match next {
            Next::Turn => Self::Free,
            Next::Wait => Self::Waiting,
        }
    }
}

fn provides(wanted: Wanted, next: Next) -> Worker {
    if wanted == Wanted::OneMore { Worker::Provides(next) } else { next.into() }
}

/// Goes through all that can happen; the number of different moments.
fn go_through(first: Pool) -> usize {
    let mut before = HashMap::from([(first.clone(), None)]);
    let mut later = VecDeque::from([first]);
    while let Some(pool) = later.pop_front() {
        let asleep = pool.workers.iter().filter(|it| **it == Worker::Asleep).count();
        assert_eq!(pool.state.asleep, asleep, "{pool:?}");
        assert!(pool.state.called <= asleep, "{pool:?}");
        let steps = pool.steps();
        if steps.is_empty() && pool.has_work() && !pool.is_exhausted() {
            let way = iter::successors(Some(&pool), |pool| before[pool].as_ref());
            let way: Vec<String> = way.map(|pool| format!("{pool:?}\n")).collect();
            panic!("nobody sees to what there is, the last moment first:\n{}", way.concat());
        }
        for next in steps.into_iter().chain(pool.events_of_others()) {
            if !before.contains_key(&next) {
                before.insert(next.clone(), Some(pool.clone()));
                later.push_back(next);
            }
        }
    }
    before.len()
}

#[test]
fn something_to_see_to_never_waits_while_a_worker_could_come() {
    for processors in [1, 2] {
        for (workers, threads, to_come) in [(1, 1, 3), (2, 2, 3), (3, 2, 3), (3, 3, 3), (4, 4, 2)] {
            let first = Pool::new(processors, to_come, Limits { workers, threads });
            let moments = go_through(first);
            assert!(moments > 1000, "{moments}");
        }
    }
}
