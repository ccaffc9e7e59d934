//! Repeats while more is asked than can be signed: they are to go on as if nothing
//! happened, since they need neither the key nor the table.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use ocsp_fcgi::demo::KeyKind;

use crate::Effort;
use crate::each::{Tally, in_a_word};
use crate::load::{Load, Outcome, Questions};
use crate::peers::{Nginx, processes};
use crate::support::client::{Client, post};
use crate::support::{OnDrop, eventually};
use crate::table::{Case, milliseconds, print};
use crate::world::{World, database_server, fill};

pub fn measure(effort: Effort) {
    let server = database_server();
    let database = server.database();
    fill(&database, ROWS);
    let world = World::new(KeyKind::Rsa2048, &database);
    let responder = world.serve_anew("");
    let question = world.question(1);
    let answer = responder.post(&question);
    assert!(answer.len() > 400, "no answer but {answer:?}");
    let nginx = Nginx::start(&world.site, &answer);
    let body = Questions::Post(world.body(&question));
    let load = |port: u16, counted: Vec<u32>| Load {
        url: format!("http://127.0.0.1:{port}/"),
        questions: body.clone(),
        connections: 8,
        time: effort.time,
        counted,
    };
    let cases = [
        Case::new("HTTP", load(responder.port, processes(&responder))),
        Case::new("nginx, FastCGI", load(nginx.responder[0], processes(&responder))),
        // What the load on the machine does by itself to who shares nothing with it.
        Case::new("nginx, return 200", load(nginx.text, nginx.workers())),
    ];
    let nonces: Vec<_> = (1..=ROWS).map(|nonce| world.question_with_nonce(nonce, nonce)).collect();
    let flood = Flood { address: responder.address(), questions: &nonces };
    let mut alone = vec![Vec::new(); cases.len()];
    let mut flooded = alone.clone();
    let mut said = vec![Tally::new(); cases.len()];
    for round in 1..=effort.rounds {
        for (index, case) in cases.iter().enumerate() {
            eprint!("\r\x1b[K{} ({round} of {})", case.name, effort.rounds);
            alone[index].push(case.load.run());
            let (outcome, tally) = flood.during(|| case.load.run());
            flooded[index].push(outcome);
            tally
                .into_iter()
                .for_each(|(word, times)| *said[index].entry(word).or_default() += times);
        }
    }
    eprint!("\r\x1b[K");
    let seconds = effort.time.as_secs_f64() * effort.rounds as f64;
    let control = Outcome::median(&flooded[CONTROL]).p99;
    for (index, case) in cases.iter().enumerate() {
        let [alone, flooded] = [&alone, &flooded].map(|of| Outcome::median(&of[index]));
        print([(case.name, alone), ("with the flood", flooded)]);
        let times = |other: Duration| flooded.p99.as_secs_f64() / other.as_secs_f64();
        println!("\n{}: p99 {:.1} times that alone,", case.name, times(alone.p99));
        println!("{:.1} times that of {} with the flood;", times(control), cases[CONTROL].name);
        println!("max {} ms, then {} ms;", milliseconds(alone.max), milliseconds(flooded.max));
        println!("the flood was told {}\n", rates(&said[index], seconds));
    }
}

fn rates(said: &Tally, seconds: f64) -> String {
    let rates = said.iter().map(|(word, times)| format!("{word} {:.0}/s", *times as f64 / seconds));
    rates.collect::<Vec<_>>().join(", ")
}

/// Clients that ask for more signatures than there are places for.
struct Flood<'q> {
    address: std::net::SocketAddr,
    questions: &'q [Vec<u8>],
}

impl Flood<'_> {
    /// Runs `act` while the queue is full; and what the clients were told.
    fn during<T>(&self, act: impl FnOnce() -> T) -> (T, Tally) {
        let (stop, next, refused) =
            (AtomicBool::new(false), AtomicUsize::new(0), AtomicUsize::new(0));
        let all = Mutex::new(Tally::new());
        let done = thread::scope(|scope| {
            let _stop = OnDrop(&stop);
            for _ in 0..CONNECTIONS {
                scope.spawn(|| self.ask(&stop, &next, (&refused, &all)));
            }
            eventually("the queue is full", || {
                (refused.load(Ordering::Relaxed) > CONNECTIONS).then_some(())
            });
            all.lock().unwrap().clear();
            act()
        });
        let tally = all.into_inner().unwrap();
        assert!(tally.contains_key("tryLater"), "the queue was not full: {tally:?}");
        assert!(!tally.contains_key("nothing"), "{tally:?}");
        (done, tally)
    }

    fn ask(&self, stop: &AtomicBool, next: &AtomicUsize, counts: (&AtomicUsize, &Mutex<Tally>)) {
        let (refused, all) = counts;
        let mut client = Client::connect(self.address);
        while !stop.load(Ordering::Relaxed) {
            let question =
                &self.questions[next.fetch_add(1, Ordering::Relaxed) % self.questions.len()];
            let start = Instant::now();
            let response = client.send(&post(question));
            let word = in_a_word(question, &response.body);
            *all.lock().unwrap().entry(word).or_default() += 1;
            if word == "tryLater" {
                refused.fetch_add(1, Ordering::Relaxed);
                // A flood that takes all of the machine for itself would measure that.
                thread::sleep(PAUSE.saturating_sub(start.elapsed()));
            }
        }
    }
}

/// Which case shares nothing with the responder but the machine.
const CONTROL: usize = 2;
/// More than are signed for (one per processor) and wait (64) at once; with those of
/// the repeats fewer than there are workers.
const CONNECTIONS: usize = 100;
/// How long a client waits that was told to try later.
const PAUSE: Duration = Duration::from_millis(20);
const ROWS: usize = 10_000;
