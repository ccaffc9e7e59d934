//! Questions that nothing is kept of: each costs a look into the table and a signature.

use std::num::NonZero;
use std::thread;

use ocsp_fcgi::demo::KeyKind;

use crate::Effort;
use crate::bare::{self, Files};
use crate::each::Each;
use crate::load::Outcome;
use crate::peers::{Nginx, processes};
use crate::process::openssl_speed;
use crate::table::print;
use crate::world::{World, database_server, fill};

pub fn measure(effort: Effort) {
    let server = database_server();
    let database = server.database();
    fill(&database, ROWS);
    // To the end, as each has many files: ext4 without a journal looks long for inodes
    // when many were freed a moment ago.
    let mut worlds = Vec::new();
    for (kind, algorithm) in [(KeyKind::Rsa2048, "rsa2048"), (KeyKind::P256, "ecdsap256")] {
        let world = World::new(kind, &database);
        let (lines, Signature { alone, together }) = of_one_kind(&world, algorithm, effort);
        println!(
            "{algorithm}: a signature takes {alone:.1} µs by openssl speed, {together:.1} µs where \
             every processor makes them\n\nProcessor time, against that; against the bare \
             program:\n"
        );
        for group in lines.chunks(3) {
            let bare = group[0].1.processor;
            for (name, Outcome { processor, .. }) in group {
                let [alone, together, bare] = [alone, together, bare].map(|time| processor / time);
                println!("{name}: {alone:.2} and {together:.2} times that; {bare:.2}");
            }
        }
        println!();
        print(lines);
        println!();
        worlds.push(world);
    }
}

/// What one takes, in µs of a processor.
struct Signature {
    /// While nothing else runs.
    alone: f64,
    /// While all processors do the same, as with the responder: they may share a core.
    together: f64,
}

impl Signature {
    fn measure(algorithm: &str) -> Self {
        let processors = thread::available_parallelism().map_or(1, NonZero::get);
        let alone = 1e6 / openssl_speed(algorithm, 1);
        let together = 1e6 * processors as f64 / openssl_speed(algorithm, processors);
        Self { alone, together }
    }
}

fn of_one_kind(
    world: &World<'_>,
    algorithm: &str,
    effort: Effort,
) -> (Vec<(&'static str, Outcome)>, Signature) {
    let new: Vec<_> = (1..=ROWS).map(|number| world.question(number)).collect();
    let nonces: Vec<_> = (1..=ROWS).map(|nonce| world.question_with_nonce(1, nonce)).collect();
    let ask = |address, questions, counted| {
        let (outcome, tally) = Each { address, questions, connections: CLIENTS, counted }.run();
        let answered = ["good", "revoked"].iter().filter_map(|said| tally.get(said)).sum::<usize>();
        assert_eq!(answered, ROWS, "{tally:?}");
        outcome
    };
    // Of any of them; only its signature and serial are to be replaced.
    let answer = world.serve_anew("").post(&new[0]);
    let kinds = [
        (&new, "", Files::Written),
        (&new, "files = \"asked-again\"", Files::None),
        (&nonces, "", Files::None),
    ];
    let mut outcomes = [const { Vec::new() }; 9];
    let mut signatures = Vec::new();
    for round in 1..=effort.rounds {
        signatures.push(Signature::measure(algorithm));
        for ((questions, more, files), outcomes) in kinds.into_iter().zip(outcomes.chunks_mut(3)) {
            eprint!("\r\x1b[Knew questions ({round} of {})", effort.rounds);
            let (bare, address) = bare::start(world, &answer, files, CLIENTS);
            outcomes[0].push(ask(address, questions, bare.processes()));
            drop(bare);
            let responder = world.serve_anew(more);
            outcomes[1].push(ask(responder.address(), questions, processes(&responder)));
            drop(responder);
            let responder = world.serve_anew(more);
            let nginx = Nginx::start(&world.site, b"none");
            let address = ([127, 0, 0, 1], nginx.responder[0]).into();
            outcomes[2].push(ask(address, questions, processes(&responder)));
        }
    }
    eprint!("\r\x1b[K");
    let names = [
        "bare program, new, HTTP",
        "new, HTTP",
        "new, FastCGI",
        "bare program without files, new, HTTP",
        "new, files when asked again, HTTP",
        "new, files when asked again, FastCGI",
        "bare program without files, nonces, HTTP",
        "nonces, HTTP",
        "nonces, FastCGI",
    ];
    let lines = outcomes.iter().map(|outcomes| Outcome::median(outcomes));
    let signature = Signature {
        alone: median(signatures.iter().map(|signature| signature.alone)),
        together: median(signatures.iter().map(|signature| signature.together)),
    };
    (names.into_iter().zip(lines).collect(), signature)
}

fn median(times: impl Iterator<Item = f64>) -> f64 {
    let mut times: Vec<f64> = times.collect();
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

const ROWS: usize = 10_000;
const CLIENTS: usize = 32;
