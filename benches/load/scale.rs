//! A table of a million rows, and a cache folder with an answer about each: nothing is
//! to cost more for their number.

use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use ocsp_fcgi::demo::KeyKind;

use crate::Effort;
use crate::each::{Each, in_a_word};
use crate::load::Outcome;
use crate::peers::processes;
use crate::process;
use crate::support::free_port;
use crate::support::site::{PROGRAM, Running};
use crate::table::{milliseconds, print};
use crate::world::{World, database_server, fill};

pub fn measure(effort: Effort) {
    let server = database_server();
    let [few_rows, many_rows] = [server.database(), server.database()];
    fill(&few_rows, FEW_ROWS);
    fill(&many_rows, effort.rows);
    // Both live to the end: ext4 without a journal looks long for an inode that was not
    // freed a moment ago.
    let few = World::new(KeyKind::P256, &few_rows);
    let many = World::new(KeyKind::P256, &many_rows);
    println!("{} rows, and {FEW_ROWS}\n", effort.rows);
    misses([(&few, FEW_ROWS), (&many, effort.rows)], effort.rounds);
    memory(&many, effort.rows);
    from_disk([&few, &many], effort.rounds);
    first_answer(&many);
}

/// New questions, spread over all of a table.
fn misses(worlds: [(&World<'_>, usize); 2], rounds: usize) {
    let mut outcomes = [Vec::new(), Vec::new()];
    for round in 0..=rounds {
        for ((world, rows), outcomes) in worlds.into_iter().zip(&mut outcomes) {
            eprint!("\r\x1b[Kmisses of {rows} rows ({round} of {rounds})");
            let step = (rows / MISSES).max(1);
            let questions: Vec<_> =
                (0..rows.min(MISSES)).map(|number| world.question(1 + number * step)).collect();
            let responder = world.serve_anew("");
            let outcome = ask_all(&responder, &questions);
            // The first time the database has just been filled, and is not yet at rest.
            if round > 0 {
                outcomes.push(outcome);
            }
        }
    }
    eprint!("\r\x1b[K");
    compare("misses", ["few rows", "many rows"], &outcomes);
}

/// Every row asked, of so many: what stays in memory is bounded.
fn memory(world: &World<'_>, rows: usize) {
    let asked = rows.min(MOST_ASKED);
    eprint!("\r\x1b[Kasking for {asked} rows");
    let questions: Vec<_> = (1..=asked).map(|number| world.question(number)).collect();
    let responder = world.serve_anew("");
    ask_all(&responder, &questions[..1]);
    let before = process::resident(responder.child.id());
    let outcome = ask_all(&responder, &questions);
    let files = files_below(&world.cache_folder());
    eprint!("\r\x1b[K");
    print([(format!("{asked} rows, once").as_str(), outcome)]);
    let [before, after] = [before, outcome.resident].map(|kib| kib as f64 / 1024.0);
    println!("\nRSS {before:.1} MiB before, {after:.1} MiB after; {files} files\n");
    assert_eq!(files, asked);
}

/// Kept answers, none of them in memory. The folder of `many` is full already.
fn from_disk([few, many]: [&World<'_>; 2], rounds: usize) {
    let questions = [few, many]
        .map(|world| (1..=KEPT).map(|number| world.question(number)).collect::<Vec<_>>());
    ask_all(&few.serve_anew(""), &questions[0]);
    let questions = questions.map(|all| vec![all; TIMES].concat());
    let mut outcomes = [Vec::new(), Vec::new()];
    for round in 1..=rounds {
        for (index, world) in [few, many].into_iter().enumerate() {
            eprint!("\r\x1b[Kanswers from disk ({round} of {rounds})");
            let responder = world.serve("memory = 0\nfreshness = \"1h\"");
            // Its sweep at the start looks at each file.
            settle(&responder);
            outcomes[index].push(ask_all(&responder, &questions[index]));
        }
    }
    eprint!("\r\x1b[K");
    compare("from disk", ["few files", "many files"], &outcomes);
}

/// Waits until a process has nothing to do.
fn settle(responder: &Running) {
    let pids = processes(responder);
    let mut before = Duration::MAX;
    while before != process::processor_time(&pids) {
        before = process::processor_time(&pids);
        thread::sleep(Duration::from_millis(300));
    }
}

/// From the start of the program to an answer that is on disk.
fn first_answer(world: &World<'_>) {
    let mut times: Vec<Duration> = (1..=STARTS)
        .map(|number| {
            let port = free_port();
            let config = world.configure(port, "freshness = \"1h\"");
            start_and_ask(&config, port, &world.question(number))
        })
        .collect();
    times.sort_unstable();
    let [middle, longest] = [times[STARTS / 2], times[STARTS - 1]].map(milliseconds);
    println!("start to first answer: p50 {middle} ms, max {longest} ms of {STARTS}");
}

fn start_and_ask(config: &Path, port: u16, question: &[u8]) -> Duration {
    let mut command = Command::new(PROGRAM);
    command.args(["serve", "--until-eof", "--config"]).arg(config);
    command.stdin(Stdio::piped()).stderr(Stdio::null());
    let start = Instant::now();
    let responder = Running { child: command.spawn().unwrap(), port };
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    while TcpStream::connect(address).is_err() {
        assert!(start.elapsed() < Duration::from_secs(10), "the responder does not listen");
        thread::sleep(Duration::from_micros(200));
    }
    let answer = responder.post(question);
    let time = start.elapsed();
    assert_ne!(in_a_word(question, &answer), "nothing");
    time
}

fn ask_all(responder: &Running, questions: &[Vec<u8>]) -> Outcome {
    let (address, counted) = (responder.address(), processes(responder));
    let (outcome, tally) = Each { address, questions, connections: 32, counted }.run();
    let answered = ["good", "revoked"].iter().filter_map(|said| tally.get(said)).sum::<usize>();
    assert_eq!(answered, questions.len(), "{tally:?}");
    outcome
}

fn compare(what: &str, names: [&str; 2], outcomes: &[Vec<Outcome>; 2]) {
    let [few, many] = [&outcomes[0], &outcomes[1]].map(|outcomes| Outcome::median(outcomes));
    print([(names[0], few), (names[1], many)]);
    let (processor, rate) = (many.processor / few.processor, many.rate / few.rate);
    println!("\n{what}: processor time {processor:.2} times, answers/s {rate:.2} times\n");
}

fn files_below(folder: &Path) -> usize {
    let entries = fs::read_dir(folder).unwrap().map(Result::unwrap);
    entries
        .map(|entry| match entry.file_type().unwrap().is_dir() {
            true => files_below(&entry.path()),
            false => 1,
        })
        .sum()
}

const FEW_ROWS: usize = 10_000;
/// Questions to a table in each round.
const MISSES: usize = 10_000;
/// Rows asked for once, and so files: many times what fits into memory.
const MOST_ASKED: usize = 1_000_000;
/// Answers asked for that are on disk alone, and how often each is.
const KEPT: usize = 1_000;
const TIMES: usize = 20;
/// Of the program, for its first answer.
const STARTS: usize = 11;
