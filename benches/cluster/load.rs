//! Threads that ask through nginx, each at its own steady pace.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::client::Client;
use crate::question::{Examiner, Form, Outcome, Signature};
use crate::support::web::Dice;
use crate::tally::{Kind, Tally};
use crate::truth::{REPEATED, REVOKED_TOGETHER, ROWS};

/// What the threads share.
pub struct Load<'w> {
    pub examiner: &'w Examiner<'w>,
    pub nginx: SocketAddr,
    /// The number of the phase under way.
    pub phase: AtomicUsize,
    /// From here on those that were revoked together are asked about too.
    pub late_phase: usize,
    pub over: AtomicBool,
    next_new: AtomicU32,
    next_late: AtomicU32,
}

/// Of each phase: repeats, then new questions.
pub type Tallies = Vec<[Tally; 2]>;

impl<'w> Load<'w> {
    pub fn new(examiner: &'w Examiner<'w>, nginx: SocketAddr, late_phase: usize) -> Self {
        Self {
            examiner,
            nginx,
            phase: AtomicUsize::new(0),
            late_phase,
            over: AtomicBool::new(false),
            next_new: AtomicU32::new(REPEATED),
            next_late: AtomicU32::new(REVOKED_TOGETHER.start),
        }
    }

    /// Asks until it is over, with [`THREADS`] threads.
    pub fn run(&self, phases: usize) -> Tallies {
        let mut all = vec![<[Tally; 2]>::default(); phases];
        thread::scope(|scope| {
            let threads: Vec<_> =
                (0..THREADS).map(|number| scope.spawn(move || self.ask(number, phases))).collect();
            for tallies in threads.into_iter().map(|thread| thread.join().unwrap()) {
                for (sum, tally) in all.iter_mut().flatten().zip(tallies.into_iter().flatten()) {
                    sum.merge(tally);
                }
            }
        });
        all
    }

    fn ask(&self, number: u32, phases: usize) -> Tallies {
        let mut tallies = vec![<[Tally; 2]>::default(); phases];
        let mut dice = Dice(number.into());
        let mut client = Client::new(self.nginx);
        let mut due = Instant::now() + PACE * number / THREADS;
        for count in 0_u32.. {
            thread::sleep(due.saturating_duration_since(Instant::now()));
            if self.over.load(Ordering::Relaxed) {
                break;
            }
            let phase = self.phase.load(Ordering::Relaxed);
            let (kind, form, certificate) = self.next(count, phase, &mut dice);
            let signature =
                if count.is_multiple_of(16) { Signature::Checked } else { Signature::Taken };
            let begun = Instant::now();
            let id = (number << 16 | count, signature);
            let outcome = self.examiner.ask(&mut client, certificate, form, id);
            if matches!(outcome, Outcome::Http | Outcome::Nothing) {
                client = Client::new(self.nginx);
            }
            tallies[phase][kind as usize].add(outcome, begun.elapsed());
            // What came too late for its turn is not made up for.
            due = (due + PACE).max(Instant::now());
        }
        tallies
    }

    /// Of ten questions six are repeats, three new, one has a nonce.
    fn next(&self, count: u32, phase: usize, dice: &mut Dice) -> (Kind, Form, u32) {
        let known = u32::try_from(dice.below(REPEATED as usize)).unwrap();
        match count % 10 {
            0 | 2 | 4 => (Kind::Repeat, Form::Get, known),
            1 | 3 | 5 => (Kind::Repeat, Form::Post, known),
            6 => (Kind::New, Form::Nonce, known),
            7 if phase >= self.late_phase => {
                let late = self.next_late.fetch_add(1, Ordering::Relaxed);
                (Kind::New, Form::Post, late.min(REVOKED_TOGETHER.end - 1))
            }
            _ => {
                let new = self.next_new.fetch_add(1, Ordering::Relaxed);
                // Now and then one that was never issued.
                let certificate = if new.is_multiple_of(50) { ROWS + new } else { new };
                (
                    Kind::New,
                    if count.is_multiple_of(2) { Form::Get } else { Form::Post },
                    certificate,
                )
            }
        }
    }
}

/// Fewer than the responders have places for questions that wait.
pub const THREADS: u32 = 48;

/// From one question of a thread to its next.
pub const PACE: Duration = Duration::from_millis(40);
