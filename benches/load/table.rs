//! Figures in lines and columns, as Markdown has it.

use std::time::Duration;

use crate::load::{Load, Outcome};

/// A load with its name.
pub struct Case {
    pub name: &'static str,
    pub load: Load,
}

impl Case {
    pub fn new(name: &'static str, load: Load) -> Self {
        Self { name, load }
    }
}

/// Runs all, in turn, `rounds` times; the medians.
pub fn in_turn(cases: &[Case], rounds: usize) -> Vec<Outcome> {
    let mut outcomes = vec![Vec::new(); cases.len()];
    for round in 1..=rounds {
        for (case, outcomes) in cases.iter().zip(&mut outcomes) {
            eprint!("\r\x1b[K{} ({round} of {rounds})", case.name);
            outcomes.push(case.load.run());
        }
    }
    eprint!("\r\x1b[K");
    outcomes.iter().map(|outcomes| Outcome::median(outcomes)).collect()
}

pub const HEAD: &str = "\
| | answers/s | of the first | p50 ms | p99 ms | CPU µs | RSS MiB | octets | failed |
| --- | --: | --: | --: | --: | --: | --: | --: | --: |";

/// A line for each; rates as part of the first one's.
pub fn print<'a>(lines: impl IntoIterator<Item = (&'a str, Outcome)>) {
    println!("{HEAD}");
    let mut first = None;
    for (name, outcome) in lines {
        let first = *first.get_or_insert(outcome.rate);
        println!("{}", line(name, &outcome, first));
    }
}

pub fn line(name: &str, outcome: &Outcome, first: f64) -> String {
    format!(
        "| {name} | {:.0} | {:.2} | {} | {} | {:.1} | {:.0} | {:.0} | {} |",
        outcome.rate,
        outcome.rate / first,
        milliseconds(outcome.p50),
        milliseconds(outcome.p99),
        outcome.processor,
        outcome.resident as f64 / 1024.0,
        outcome.octets,
        outcome.failed
    )
}

pub fn milliseconds(time: Duration) -> String {
    format!("{:.2}", time.as_secs_f64() * 1e3)
}
