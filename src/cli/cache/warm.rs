//! `cache warm`: signs answers before anybody asks.

use std::num::NonZeroU32;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::ValueEnum;
use rustix::process::{getpriority_process, setpriority_process};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;

use super::folder;
use super::meter::Meter;
use crate::app::{self, Keys, Shared};
use crate::cli::{self, NO_THREAD, report, say};
use crate::config;
use crate::logging::Launcher;
use crate::ocsp::{HashAlgorithm, Parameters, Spelling};
use crate::responder::Responder;
use crate::responder::issuers::{Acting, Issuer};
use crate::warming::{self, Choice, Ended, Outcome, Plan, Progress};

#[derive(clap::Args)]
pub struct Arguments {
    /// Only certificates that begin no longer ago than this: 30d, 12h
    #[arg(long, value_name = "TIME", value_parser = duration)]
    issued_within: Option<Duration>,
    /// Only certificates that end within this time, and have not ended
    #[arg(long, value_name = "TIME", value_parser = duration)]
    ends_within: Option<Duration>,
    /// Only certificates that have not ended
    #[arg(long)]
    unexpired: bool,
    /// Only those of this CA: its subject as `check` prints it, or its number in the log
    #[arg(long, value_name = "CA")]
    issuer: Option<String>,
    /// The hash function that clients will name the CA by; several options for several
    #[arg(long, value_name = "HASH", default_value = "sha1")]
    hash: Vec<Hash>,
    /// Whether they write NULL parameters beside it, as nearly all do
    #[arg(long, value_name = "HOW", default_value = "null")]
    parameters: HashParameters,
    /// Sign anew what ends within this time, though half of its validity is not over
    #[arg(long, value_name = "TIME", default_value = "0s", value_parser = duration)]
    left: Duration,
    /// Threads that sign [default: one for each processor]
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,
    /// The most signatures in a second [default: as many as there can be]
    #[arg(long, value_name = "NUMBER")]
    rate: Option<NonZeroU32>,
    /// How far to stand back for other programs, 0 to 19, see nice(1)
    #[arg(long, value_name = "NUMBER", default_value_t = 10,
        value_parser = clap::value_parser!(i32).range(0..=19))]
    nice: i32,
    /// Sign with the successor (`next_key`) that has not taken over yet
    #[arg(long)]
    next: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum Hash {
    Sha1,
    Sha256,
    Sha384,
    Sha512,
}

#[derive(Clone, Copy, ValueEnum)]
enum HashParameters {
    Null,
    Absent,
    Both,
}

pub const AFTER_HELP: &str = "\
The dates of certificates are in the column `certificate` of [database.columns] (cert by
default), as PEM or DER, or for their end in index.txt. One whose dates cannot be read is
left out where they are asked for, and counted.

Each hash function, with NULL parameters or without, makes an answer of its own. Nearly all
clients name the CA by SHA-1 with NULL.

Exit codes: 0 done, 1 interrupted, or not all could be signed.

Examples:
  ocsp-fcgi cache warm                           everything
  ocsp-fcgi cache warm --unexpired --left 60h    once a day with a validity of 3d: what
                                                 would be half over before the next day
  ocsp-fcgi cache warm --issued-within 30d --rate 200";

pub fn run(config: Option<PathBuf>, arguments: &Arguments) -> Result<ExitCode> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        // The second one ends it at once: the first has set the flag.
        flag::register_conditional_shutdown(signal, 1, Arc::clone(&stop))?;
        flag::register(signal, Arc::clone(&stop))?;
    }
    let (mut config, _log) = crate::cli::start(config, Launcher::Operator)?;
    folder(&config)?;
    let plan = arguments.plan();
    config.limits.signing_threads = plan.threads;
    config.limits.signing_queue = plan.threads;
    let (responder, warnings) = app::responder(&config, &Shared::new(&config), Keys::AtOnce)?;
    report(&warnings);
    let chosen = chosen(&responder, arguments)?;
    stand_back(arguments.nice);
    let (progress, begun) = (Progress::default(), Instant::now());
    let outcomes = thread::scope(|scope| {
        // Dropped also by a panic, which would wait for the thread otherwise.
        let (_going_on, over) = mpsc::channel();
        let progress = &progress;
        let shown = move || show(progress, &over);
        thread::Builder::new().spawn_scoped(scope, shown).context(NO_THREAD)?;
        // Each CA for itself: the database of one may be away.
        let each = chosen.iter().map(|issuer| one(&responder, *issuer, &plan, (progress, &stop)));
        anyhow::Ok(each.collect::<Vec<_>>())
    });
    tell(&progress, begun.elapsed());
    let outcomes = outcomes?;
    let errors = outcomes.iter().filter_map(|outcome| outcome.as_ref().err());
    let failed = errors.inspect(|error| cli::tell(error)).count();
    if outcomes.iter().any(|outcome| matches!(outcome, Ok(Outcome::Stopped))) {
        say(format_args!("interrupted; the same command goes on from there"));
        return Ok(ExitCode::FAILURE);
    }
    match count(&progress.failed) + failed as u64 {
        0 => Ok(ExitCode::SUCCESS),
        _ => Ok(ExitCode::FAILURE),
    }
}

impl Arguments {
    fn plan(&self) -> Plan {
        let parameters = match self.parameters {
            HashParameters::Null => &[Parameters::Null][..],
            HashParameters::Absent => &[Parameters::Absent],
            HashParameters::Both => &[Parameters::Null, Parameters::Absent],
        };
        let mut spellings: Vec<Spelling> = Vec::new();
        for hash in self.hash.iter().map(|hash| hash.algorithm()) {
            for parameters in parameters.iter().copied() {
                let spelling = Spelling { hash, parameters };
                if !spellings.contains(&spelling) {
                    spellings.push(spelling);
                }
            }
        }
        let processors = || thread::available_parallelism().map_or(1, usize::from);
        Plan {
            choice: Choice {
                issued_within: self.issued_within,
                ends_within: self.ends_within,
                ended: if self.unexpired { Ended::LeftOut } else { Ended::Included },
            },
            spellings,
            left: self.left,
            threads: self.threads.map_or_else(processors, usize::from),
            rate: self.rate.map(NonZeroU32::get),
        }
    }
}

impl Hash {
    fn algorithm(self) -> HashAlgorithm {
        match self {
            Self::Sha1 => HashAlgorithm::Sha1,
            Self::Sha256 => HashAlgorithm::Sha256,
            Self::Sha384 => HashAlgorithm::Sha384,
            Self::Sha512 => HashAlgorithm::Sha512,
        }
    }
}

fn one(
    responder: &Responder,
    issuer: Acting<'_>,
    plan: &Plan,
    (progress, stop): (&Progress, &AtomicBool),
) -> Result<Outcome> {
    let disk = issuer.cache().disk().context("no cache folder")?;
    warming::run(responder, (issuer, disk), plan, progress, stop).with_context(|| {
        format!(
            "issuer {} ({}): stopped, what was signed stays",
            issuer.id().0,
            issuer.certificate().subject()
        )
    })
}

/// The CAs that are meant, each with who signs.
fn chosen<'r>(responder: &'r Responder, arguments: &Arguments) -> Result<Vec<Acting<'r>>> {
    let is_meant = |issuer: &&Issuer| match &arguments.issuer {
        None => true,
        Some(text) => *text == issuer.id().0.to_string() || *text == issuer.certificate().subject(),
    };
    let issuers: Vec<&Issuer> = responder.issuers().iter().filter(is_meant).collect();
    if let (Some(text), []) = (&arguments.issuer, &issuers[..]) {
        let subjects: Vec<_> =
            responder.issuers().iter().map(|issuer| issuer.certificate().subject()).collect();
        bail!("no issuer {text}, wanted a number from 0 or one of: {}", subjects.join("; "));
    }
    let now = responder.now();
    let acting = |issuer: &'r Issuer| match arguments.next {
        false => issuer.acting(now),
        true => issuer.each_acting().find(|acting| acting.takes_over() > now),
    };
    let acting: Vec<_> = issuers.into_iter().filter_map(acting).collect();
    if acting.is_empty() {
        bail!("no successor that has not taken over yet, wanted next_key in the configuration");
    }
    for one in acting.iter().filter(|_| arguments.next) {
        let ends = now.saturating_add(one.policy().validity);
        if ends <= one.takes_over() {
            bail!(
                "successor {} takes over on {}, when answers signed now have ended ({ends})",
                one.signer().certificate().subject(),
                one.takes_over()
            );
        }
    }
    Ok(acting)
}

/// Never forward: that takes rights, and whoever has stood back further meant it.
fn stand_back(nice: i32) {
    let present = getpriority_process(None).unwrap_or(0);
    if nice > present
        && let Err(error) = setpriority_process(None, nice)
    {
        log::warn!("priority stays as it is: nice={present} error={error}");
    }
}

/// Until the other end of `over` is gone.
fn show(progress: &Progress, over: &Receiver<()>) {
    let (mut meter, begun) = (Meter::new(), Instant::now());
    loop {
        let total = Some(count(&progress.total)).filter(|total| *total > 0);
        let signed = count(&progress.signed);
        let rate = rate(signed, begun.elapsed());
        meter.show(
            count(&progress.rows),
            total,
            format_args!("signed {signed} ({rate}/s), already there {}", count(&progress.kept)),
        );
        if over.recv_timeout(LOOK_AGAIN) == Err(RecvTimeoutError::Disconnected) {
            break;
        }
    }
    meter.end();
}

fn tell(progress: &Progress, elapsed: Duration) {
    let signed = count(&progress.signed);
    say(format_args!(
        "signed {signed}, already there {}, revoked among them {}, failed {}, {}.{} s, {}/s",
        count(&progress.kept),
        count(&progress.revoked),
        count(&progress.failed),
        elapsed.as_secs(),
        elapsed.subsec_millis() / 100,
        rate(signed, elapsed)
    ));
    for (number, what) in [
        (count(&progress.undated), "certificates left out, as their dates cannot be read"),
        (count(&progress.lost), "rows left out, as they are not found by their serial number"),
    ] {
        if number > 0 {
            say(format_args!("{what}: {number}"));
        }
    }
}

fn count(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

fn rate(signed: u64, elapsed: Duration) -> u64 {
    let millis = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX).max(1);
    signed.saturating_mul(1_000) / millis
}

fn duration(text: &str) -> Result<Duration, String> {
    config::duration(text).ok_or_else(|| "wanted a duration such as 30d, 12h or 1h30m".to_owned())
}

const LOOK_AGAIN: Duration = Duration::from_millis(100);
