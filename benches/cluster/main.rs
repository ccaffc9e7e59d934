//! Three MariaDB nodes of a Galera cluster, two responders, nginx: what clients get
//! while parts fail. `make bench-cluster` runs this; it takes two minutes.
//!
//! Every answer is read and held against the table. Prints tables for
//! docs/performance.md, and ends with 1 when an answer was wrong or a repeat failed.
//! `cargo bench --bench cluster -- galera-defaults` leaves the nodes their own timers.

// clippy.toml's exceptions for tests do not reach a bench.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::print_stdout, clippy::print_stderr)]

use std::process::ExitCode;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use galera::Timers;
use load::Load;
use question::Examiner;
use support::ocsp::CertId;
use tally::Tally;
use truth::{REVOKED_ALONE, REVOKED_TOGETHER, Truth};
use watch::Seen;
use world::World;

mod client;
mod galera;
mod load;
mod question;
#[allow(dead_code, reason = "the integration tests use the rest")]
#[path = "../../tests/integration/support/mod.rs"]
mod support;
mod tally;
mod truth;
mod watch;
mod world;

/// What happens at the beginning of each phase.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Event {
    Nothing,
    NodeKilled,
    NodeStarted,
    NodeFrozen,
    NodeThawed,
    ResponderKilled,
    ResponderStarted,
}

const PHASES: [(Event, &str); 7] = [
    (Event::Nothing, "all run"),
    (Event::NodeKilled, "node 1 killed"),
    (Event::NodeStarted, "node 1 started"),
    (Event::NodeFrozen, "node 2 frozen"),
    (Event::NodeThawed, "node 2 runs on"),
    (Event::ResponderKilled, "responder 1 killed"),
    (Event::ResponderStarted, "responder 1 started"),
];

/// Longer than a revocation takes to show.
const PHASE: Duration = Duration::from_secs(13);

fn main() -> ExitCode {
    let wants_defaults = std::env::args().any(|argument| argument == "galera-defaults");
    let timers = if wants_defaults { Timers::Defaults } else { Timers::Recommended };
    eprintln!("starting three nodes, two responders and nginx");
    let mut world = World::start(timers);
    let versions = galera::versions(&world.cluster.nodes[2]);
    println!("{versions}; timers of the nodes: {timers:?}\n");
    let authority = world.site.ca.identity.certificate.clone();
    let template = CertId::new(&authority, "100000");
    let truth = Truth::default();
    let examiner = Examiner { authority, template, truth: &truth };
    let late = PHASES.iter().position(|(event, _)| *event == Event::NodeThawed);
    let load = Load::new(&examiner, world.nginx.address, late.unwrap());
    let (mut tallies, seen) = thread::scope(|scope| {
        let asking = scope.spawn(|| load.run(PHASES.len()));
        // Ends the threads when this one panics.
        let over = support::OnDrop(&load.over);
        let seen: Vec<Seen> =
            (0..PHASES.len()).map(|number| phase(&mut world, &load, number)).collect();
        drop(over);
        (asking.join().unwrap(), seen)
    });
    print(&mut tallies, &seen);
    for (number, responder) in world.responders.iter().enumerate() {
        eprintln!("log of responder {}:\n{}", number + 1, responder.log());
    }
    judge(&tallies, &seen)
}

fn phase(world: &mut World, load: &Load<'_>, number: usize) -> Seen {
    let (event, name) = PHASES[number];
    eprintln!("{name}");
    let until = Instant::now() + PHASE;
    load.phase.store(number, Ordering::Relaxed);
    happen(world, event);
    let seen = thread::scope(|scope| {
        let world = &*world;
        if event == Event::NodeStarted {
            scope.spawn(|| {
                let begun = Instant::now();
                world.cluster.nodes[0].wait_until_synced();
                let transfer = world.cluster.nodes[0].last_transfer();
                println!("node 1 was synced by {transfer:?} after {:.1?}\n", begun.elapsed());
            });
        }
        if event == Event::NodeFrozen {
            scope.spawn(|| world.revoke(load.examiner.truth, REVOKED_TOGETHER));
        }
        watch::revoke(world, load.examiner, REVOKED_ALONE[number])
    });
    thread::sleep(until.saturating_duration_since(Instant::now()));
    seen
}

fn happen(world: &mut World, event: Event) {
    let nodes = &mut world.cluster.nodes;
    match event {
        Event::Nothing => {}
        Event::NodeKilled => nodes[0].kill(),
        Event::NodeStarted => nodes[0].start(),
        Event::NodeFrozen => nodes[1].freeze(),
        Event::NodeThawed => nodes[1].thaw(),
        Event::ResponderKilled => world.responders[0].kill(),
        Event::ResponderStarted => world.responders[0].start_again(),
    }
}

fn print(tallies: &mut load::Tallies, seen: &[Seen]) {
    println!("{}", tally::HEADER);
    for ((_, phase), tallies) in PHASES.iter().zip(tallies) {
        for (kind, tally) in ["repeats", "new, nonce"].iter().zip(tallies) {
            println!("| {phase} | {kind} | {} |", tally.row());
        }
    }
    println!(
        "\n| phase | UPDATE took | {} |\n| --- | --- | --- | --- | --- | --- |",
        watch::PLACES
    );
    let shown = |after: Option<Duration>| {
        after.map_or("-".into(), |after| format!("{:.1} s", after.as_secs_f64()))
    };
    for ((_, phase), seen) in PHASES.iter().zip(seen) {
        let after = seen.after.map(shown).join(" | ");
        println!("| {phase} | {:.2} s | {after} |", seen.update.as_secs_f64());
    }
}

fn judge(tallies: &load::Tallies, seen: &[Seen]) -> ExitCode {
    let all = || tallies.iter().flatten();
    let wrong: Vec<&String> =
        all().flat_map(Tally::wrong).chain(seen.iter().flat_map(|seen| &seen.wrong)).collect();
    let failed: usize = tallies.iter().map(|[repeats, _]| repeats.failed()).sum();
    let try_later: usize = all().map(Tally::try_later).sum();
    println!("\nwrong answers: {}; failed repeats: {failed}; tryLater: {try_later}", wrong.len());
    wrong.iter().take(20).for_each(|problem| println!("wrong: {problem}"));
    if wrong.is_empty() && failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
