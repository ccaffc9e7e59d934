//! The whole program under load, beside what else could answer on the same machine.
//!
//! `make bench` runs all of it (docs/performance.md says how to read it);
//! `cargo bench --bench load -- repeats scale` parts. Figures of one run can be compared
//! with each other, those of two machines, or of a busy one, cannot.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::print_stdout, clippy::print_stderr)]
#![allow(missing_docs, reason = "not a library")]

mod bare;
mod each;
mod load;
mod overload;
mod peers;
mod process;
mod programs;
mod questions;
mod repeats;
mod scale;
#[path = "../../tests/integration/support/mod.rs"]
#[allow(dead_code, reason = "made for the tests")]
mod support;
mod table;
mod world;

use std::time::Duration;

/// How often, and for how long.
#[derive(Clone, Copy)]
pub struct Effort {
    /// Each load is run so many times, in turn with the others; medians count.
    pub rounds: usize,
    /// For so long.
    pub time: Duration,
    /// Rows of the large table.
    pub rows: usize,
}

type Part = (&'static str, &'static str, fn(Effort));

const PARTS: [Part; 5] = [
    ("repeats", "the same questions, through nginx and without", repeats::measure),
    ("questions", "new questions, and nonces", questions::measure),
    ("overload", "repeats while more is asked than can be signed", overload::measure),
    ("programs", "one process for one question", programs::measure),
    // Last: ext4 is slow for a while when so many files have been removed.
    ("scale", "a large table, a large cache", scale::measure),
];

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|it| it != "--bench").collect();
    if let Some(unknown) = arguments.iter().find(|it| !PARTS.iter().any(|part| part.0 == **it)) {
        eprintln!("no part {unknown:?}; there are:");
        PARTS.iter().for_each(|(name, about, _)| eprintln!("  {name:10} {about}"));
        eprintln!("ROUNDS, ROUND_SECONDS and ROWS in the environment change the effort");
        std::process::exit(2);
    }
    let effort = Effort {
        rounds: from_environment("ROUNDS", 3),
        time: Duration::from_secs(from_environment("ROUND_SECONDS", 4) as u64),
        rows: from_environment("ROWS", 1_000_000),
    };
    println!("{}", world::versions());
    for (name, about, measure) in PARTS {
        if arguments.is_empty() || arguments.iter().any(|it| it == name) {
            println!("\n## {about}\n");
            measure(effort);
        }
    }
}

fn from_environment(name: &str, default: usize) -> usize {
    std::env::var(name).map_or(default, |text| {
        text.parse().unwrap_or_else(|_| panic!("{name}={text}: a number is wanted"))
    })
}
