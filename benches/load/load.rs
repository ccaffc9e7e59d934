//! The load: `wrk`, and what it and the kernel say of a run.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::process;

/// What is asked, where, and whose processor time is counted.
#[derive(Clone, Debug)]
pub struct Load {
    pub url: String,
    pub questions: Questions,
    /// Connections, which wrk keeps where the server does.
    pub connections: u32,
    pub time: Duration,
    /// The processes under test.
    pub counted: Vec<u32>,
}

#[derive(Clone, Debug)]
pub enum Questions {
    /// The URL again and again.
    Get,
    /// The body in the file, again and again.
    Post(PathBuf),
}

/// What came of it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Outcome {
    pub answers: u64,
    /// Answers a second.
    pub rate: f64,
    /// Octets of an answer, its head included: tells errors from answers.
    pub octets: f64,
    /// Connections and requests that failed, and statuses from 400 on.
    pub failed: u64,
    pub p50: Duration,
    pub p99: Duration,
    pub max: Duration,
    /// Processor time of the counted processes for an answer, in microseconds.
    pub processor: f64,
    /// VmRSS of the counted processes at the end, in KiB.
    pub resident: u64,
}

impl Load {
    pub fn run(&self) -> Outcome {
        let before = process::processor_time(&self.counted);
        let output = self.command().output().expect("no wrk here; on Debian: apt-get install wrk");
        let after = process::processor_time(&self.counted);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        let line = text.lines().find_map(|line| line.strip_prefix("figures "));
        let line = line.unwrap_or_else(|| panic!("wrk said:\n{text}{errors}"));
        let figures: Vec<u64> = line.split(' ').map(|figure| figure.parse().unwrap()).collect();
        let [answers, time, octets, failed, p50, p99, max] = figures[..] else {
            panic!("{line}");
        };
        let each = |whole: f64| whole / (answers.max(1) as f64);
        Outcome {
            answers,
            rate: answers as f64 * 1e6 / time as f64,
            octets: each(octets as f64),
            failed,
            p50: Duration::from_micros(p50),
            p99: Duration::from_micros(p99),
            max: Duration::from_micros(max),
            processor: each((after - before).as_secs_f64() * 1e6),
            resident: self.counted.iter().map(|pid| process::resident(*pid)).sum(),
        }
    }

    pub fn command(&self) -> Command {
        let mut command = Command::new("wrk");
        command.args(["-t1", "-c", &self.connections.to_string()]);
        command.args(["-d", &format!("{}s", self.time.as_secs()), "-s"]);
        command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/load/load.lua"));
        command.arg(&self.url).arg("--");
        match &self.questions {
            Questions::Get => command.arg("GET"),
            Questions::Post(body) => command.arg("POST").arg(body),
        };
        command
    }
}

impl Outcome {
    /// The median of each figure by itself.
    pub fn median(outcomes: &[Self]) -> Self {
        fn middle<T: Copy + PartialOrd>(outcomes: &[Outcome], figure: impl Fn(&Outcome) -> T) -> T {
            let mut figures: Vec<T> = outcomes.iter().map(figure).collect();
            figures.sort_by(|one, other| one.partial_cmp(other).unwrap());
            figures[figures.len() / 2]
        }
        Self {
            answers: middle(outcomes, |it| it.answers),
            rate: middle(outcomes, |it| it.rate),
            octets: middle(outcomes, |it| it.octets),
            failed: outcomes.iter().map(|it| it.failed).sum(),
            p50: middle(outcomes, |it| it.p50),
            p99: middle(outcomes, |it| it.p99),
            max: middle(outcomes, |it| it.max),
            processor: middle(outcomes, |it| it.processor),
            resident: middle(outcomes, |it| it.resident),
        }
    }
}
