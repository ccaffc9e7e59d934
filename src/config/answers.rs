//! The keys about answers, the cache and limits: numbers, and how they agree.

use std::time::Duration;

use crate::cache::Files;
use crate::config::file::{Field, File, Section, decimal};
use crate::config::{Cache, Limits, values};
use crate::responder::policy::Policy;

/// Where answers are kept.
pub(super) fn cache(file: &File<'_>) -> Cache {
    let section = file.section("cache");
    let folder = file.root().path("cachefolder").value;
    let memory = section.size("memory", 0..=MEMORY_MOST, MEMORY).or(MEMORY);
    let files = section.choice("files");
    if let (Some(at), None) = (files.at, &folder) {
        file.report.warning(at, "files has no effect, wanted cachefolder with it".to_owned());
    }
    if let (Some(at), Some(Files::AskedAgain), 0) = (files.at, files.value, memory) {
        let problem = "files is \"asked-again\", wanted memory above 0 with it: nothing would know";
        file.report.error(at, format!("{problem} what was asked before"));
    }
    Cache { folder, files: files.or_default(), memory }
}

/// How answers are made.
pub(super) fn policy(file: &File<'_>) -> Policy {
    let default = Policy::default();
    let (answers, cache) = (file.section("answers"), file.section("cache"));
    let days = file.root().field("cachedays", DAYS, |value| {
        let seconds = decimal(value)? * DAY.as_secs_f64();
        // Whole seconds, as the answer has them.
        let validity = Duration::try_from_secs_f64(seconds.floor()).ok()?;
        (MINUTE..=LONGEST).contains(&validity).then_some(validity)
    });
    let validity = answers.duration("validity", MINUTE..=LONGEST, default.validity);
    if let (Some(at), Some(other)) = (validity.at, days.at) {
        file.report_both((validity.key, at), (days.key, other));
    }
    let validity = if days.at.is_some() { days } else { validity };
    let non_issued_validity =
        answers.duration("non_issued_validity", MINUTE..=LONGEST, default.non_issued_validity);
    let back_date = answers.duration("back_date", Duration::ZERO..=HOUR, default.back_date);
    let archive = answers.duration("archive", Duration::ZERO..=ARCHIVE, Duration::ZERO);
    let freshness = cache.duration("freshness", Duration::ZERO..=LONGEST, default.freshness);
    let policy = Policy {
        validity: validity.or(default.validity),
        non_issued_validity: non_issued_validity.or(default.non_issued_validity),
        back_date: back_date.or(default.back_date),
        non_issued: answers.choice("non_issued").or_default(),
        nonce: answers.choice("nonce").or_default(),
        responder_id: answers.choice("responder_id").or_default(),
        archive: archive.or(Duration::ZERO),
        requests: answers.choice("requests").or_default(),
        freshness: freshness.or(default.freshness),
        store_down: cache.choice("store_down").or_default(),
        max_age: answers
            .duration("max_age", Duration::ZERO..=LONGEST, default.max_age)
            .or(default.max_age),
        request_certificates: file
            .section("limits")
            .number("request_certificates", 1..=10_000)
            .or(default.request_certificates),
    };
    report_lengths(file, &policy, [&validity, &freshness, &back_date]);
    report_non_issued(file, &policy, [&non_issued_validity, &back_date]);
    policy
}

/// How answers are made for one issuer: as for all, but for what it has otherwise.
pub(super) fn policy_of_issuer(file: &File<'_>, section: &Section<'_>, all: &Policy) -> Policy {
    let validity = section.duration("validity", MINUTE..=LONGEST, all.validity);
    let non_issued_validity =
        section.duration("non_issued_validity", MINUTE..=LONGEST, all.non_issued_validity);
    let archive = section.duration("archive", Duration::ZERO..=ARCHIVE, all.archive);
    let policy = Policy {
        validity: validity.or(all.validity),
        non_issued_validity: non_issued_validity.or(all.non_issued_validity),
        non_issued: section.choice("non_issued").or(all.non_issued),
        nonce: section.choice("nonce").or(all.nonce),
        responder_id: section.choice("responder_id").or(all.responder_id),
        archive: archive.or(all.archive),
        ..*all
    };
    report_lengths(file, &policy, [&validity]);
    report_non_issued(file, &policy, [&non_issued_validity]);
    policy
}

/// An answer must live for longer than it takes to be signed anew.
fn report_lengths<const N: usize>(file: &File<'_>, policy: &Policy, fields: [&Field<Duration>; N]) {
    let [length, margin, window] =
        [policy.validity, policy.back_date, policy.freshness].map(values::duration_text);
    if fields.iter().all(|field| field.is_right())
        && policy.validity <= policy.back_date + policy.freshness * 2
        && let Some((at, first)) = fields.iter().find_map(|field| Some((field.at?, field.key)))
    {
        let key = if first == "cachedays" { first } else { "validity" };
        let sum = format!("back_date plus twice freshness ({margin} + 2 * {window})");
        let reason = "as an answer is signed anew at half of it";
        file.report.error(at, format!("{key} is {length}, must exceed {sum}, {reason}"));
    }
}

fn report_non_issued<const N: usize>(
    file: &File<'_>,
    policy: &Policy,
    fields: [&Field<Duration>; N],
) {
    if fields.iter().all(|field| field.is_right())
        && policy.non_issued_validity <= policy.back_date
        && let Some(at) = fields.iter().find_map(|field| field.at)
    {
        let [length, margin] =
            [policy.non_issued_validity, policy.back_date].map(values::duration_text);
        let problem = format!("non_issued_validity is {length}, must exceed back_date ({margin})");
        file.report.error(at, problem + ", as it begins that long ago");
    }
}

/// What peers may use.
pub(super) fn limits(file: &File<'_>) -> Limits {
    let section = file.section("limits");
    let default = Limits::default();
    let workers = section.number("workers", 1..=4_096);
    let signing_queue = section.number("signing_queue", 0..=4_095);
    let given = [signing_queue, workers];
    let workers = workers.or(default.workers);
    // Half of few workers: repeats must find one while the queue is full.
    let signing_queue = signing_queue.or(default.signing_queue.min(workers / 2));
    if given.iter().all(Field::is_right)
        && signing_queue >= workers
        && let Some(at) = given.iter().find_map(|field| field.at)
    {
        let problem =
            format!("signing_queue is {signing_queue}, must be below workers ({workers})");
        file.report.error(at, problem + ", so that kept answers always find one");
    }
    let request_bytes =
        section.size("request_bytes", 1_024..=64 << 20, default.request_bytes as u64).value;
    let timeout =
        |key, most, default| section.duration(key, MILLISECOND..=most, default).or(default);
    Limits {
        workers,
        connections: section.number("connections", 1..=1_000_000).or(default.connections),
        request_bytes: request_bytes
            .and_then(|octets| octets.try_into().ok())
            .unwrap_or(default.request_bytes),
        read_timeout: timeout("read_timeout", HOUR, default.read_timeout),
        idle_timeout: timeout("idle_timeout", DAY, default.idle_timeout),
        signing_threads: section.number("signing_threads", 1..=1_024).or(default.signing_threads),
        signing_queue,
    }
}

const DAYS: &str = "days, from 0.0007 (a minute) to 3650";
/// A century.
const ARCHIVE: Duration = Duration::from_secs(36_525 * 86_400);
const MILLISECOND: Duration = Duration::from_millis(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(86_400);
/// Ten years: longer than a responder keeps its key.
const LONGEST: Duration = Duration::from_secs(3_650 * 86_400);
const MEMORY: u64 = 64 << 20;
const MEMORY_MOST: u64 = 1 << 40;
