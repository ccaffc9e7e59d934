//! Signs answers ahead of time, page by page, on all cores.
//!
//! Which certificates, how fast and until when is the caller's to say; whether an answer
//! is due, and what it says, is the responder's.

use std::io;
use std::panic::resume_unwind;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::cache::Disk;
use crate::logging::{chain, quoted};
use crate::ocsp::{CertId, Spelling};
use crate::responder::Responder;
use crate::responder::ahead::{AheadError, Due, Seen};
use crate::responder::issuers::Acting;
use crate::serial::Serial;
use crate::status::{CertRecord, CertStatus};
use crate::store::{Found, Listed, Page, StoreError, Walk, WalkError, Wanted};

mod choice;

pub use choice::{Choice, Ended};

/// What is to be done.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Which certificates.
    pub choice: Choice,
    /// How clients will ask; at least one.
    pub spellings: Vec<Spelling>,
    /// Answers that end within this time are signed anew too.
    pub left: Duration,
    /// Threads that sign.
    pub threads: usize,
    /// The most signatures in a second.
    pub rate: Option<u32>,
}

/// How far it has come; read by others meanwhile.
#[derive(Debug, Default)]
pub struct Progress {
    /// Rows counted, once all of them are.
    pub total: AtomicU64,
    /// Rows that are done with.
    pub rows: AtomicU64,
    /// Answers signed.
    pub signed: AtomicU64,
    /// Answers that were there, or that another process knows better.
    pub kept: AtomicU64,
    /// Those of the two that say revoked.
    pub revoked: AtomicU64,
    /// Rows, and places in the cache folder, that somebody must mend.
    pub failed: AtomicU64,
    /// Rows that are not found by their serial number, or no longer.
    pub lost: AtomicU64,
    /// Certificates whose dates cannot be told.
    pub undated: AtomicU64,
}

/// How it ended, unless by an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// All of it is done.
    Done,
    /// It was told to stop.
    Stopped,
}

/// Why it did not go on. What was done until then stays.
#[derive(Debug, thiserror::Error)]
pub enum WarmError {
    /// The certificates cannot be gone through.
    #[error(transparent)]
    Walk(#[from] WalkError),
    /// The database went away, say.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// An answer cannot be signed, or not kept.
    #[error(transparent)]
    Ahead(#[from] AheadError),
    /// As many threads as the plan wants are not to be had.
    #[error(
        "the system gives no thread, wanted: fewer, or more of LimitNPROC=, TasksMax= or memory"
    )]
    Thread(#[source] io::Error),
}

/// Signs for `issuer` what the plan says, until it is done or `stop` is set.
///
/// # Errors
///
/// The first [`WarmError`] of any thread.
pub fn run(
    responder: &Responder,
    (issuer, disk): (Acting<'_>, &Disk),
    plan: &Plan,
    progress: &Progress,
    stop: &AtomicBool,
) -> Result<Outcome, WarmError> {
    let store = issuer.store();
    let run = Run {
        responder,
        issuer,
        disk,
        plan,
        progress,
        stop,
        walk: Mutex::new(store.walk(plan.choice.wanted())?),
        pace: plan.rate.map(Pace::new),
        error: Mutex::default(),
        not_kept: AtomicU64::new(0),
        over: AtomicBool::new(false),
    };
    let mut counting = store.walk(Wanted::Serials)?;
    thread::scope(|scope| {
        let start = || thread::Builder::new().spawn_scoped(scope, || run.work());
        let started = (0..plan.threads.max(1)).map(|_| start()).collect::<Vec<_>>();
        let workers: Vec<_> = started
            .into_iter()
            .filter_map(|started| started.map_err(|error| run.fail(WarmError::Thread(error))).ok())
            .collect();
        let count = || run.count(&mut *counting);
        if let Err(error) = thread::Builder::new().spawn_scoped(scope, count) {
            log::debug!("rows not counted: error={}", quoted(error));
        }
        let panicked = workers.into_iter().filter_map(|worker| worker.join().err()).last();
        run.over.store(true, Ordering::Relaxed);
        if let Some(panic) = panicked {
            // Not to end as if all were signed.
            resume_unwind(panic);
        }
    });
    let error = run.error.into_inner().unwrap_or_else(PoisonError::into_inner);
    match (error, stop.load(Ordering::Relaxed)) {
        (Some(error), _) => Err(error),
        (None, true) => Ok(Outcome::Stopped),
        (None, false) => Ok(Outcome::Done),
    }
}

impl Progress {
    fn add(counter: &AtomicU64, number: usize) {
        counter.fetch_add(number as u64, Ordering::Relaxed);
    }
}

struct Run<'a> {
    responder: &'a Responder,
    issuer: Acting<'a>,
    disk: &'a Disk,
    plan: &'a Plan,
    progress: &'a Progress,
    stop: &'a AtomicBool,
    walk: Mutex<Box<dyn Walk + 'a>>,
    pace: Option<Pace>,
    error: Mutex<Option<WarmError>>,
    /// Answers one after the other that the cache folder has not taken.
    not_kept: AtomicU64,
    /// Whether one of the threads has met an error, or all have ended.
    over: AtomicBool,
}

impl Run<'_> {
    fn work(&self) {
        if let Err(error) = self.try_work() {
            self.fail(error);
        }
    }

    fn fail(&self, error: WarmError) {
        self.over.store(true, Ordering::Relaxed);
        self.error.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
    }

    fn try_work(&self) -> Result<(), WarmError> {
        while !self.is_over() {
            let page = {
                let mut walk = self.walk.lock().unwrap_or_else(PoisonError::into_inner);
                walk.next_page()?
            };
            let Some(page) = page else { return Ok(()) };
            let rows = page.listed.len() + page.unreadable.len();
            let serials = self.chosen(page);
            // So many as are signed in a fiftieth of a second, after which a row would have to be
            // read again (`sign_ahead`): other processes may find out meanwhile, and leave no
            // trace, that it is not good.
            let threads = u32::try_from(self.plan.threads.max(1)).unwrap_or(u32::MAX);
            let of_each = |rate: u32| (rate / threads / 50) as usize;
            let most = self.plan.rate.map_or(MOST_AT_ONCE, of_each).clamp(1, MOST_AT_ONCE);
            let most = (most / self.plan.spellings.len().max(1)).max(1);
            // Those that are left out are done.
            self.note_done(rows - serials.len());
            for serials in serials.chunks(most) {
                self.sign_all(serials)?;
                self.note_done(serials.len());
            }
        }
        Ok(())
    }

    fn note_done(&self, rows: usize) {
        if !self.is_over() {
            Progress::add(&self.progress.rows, rows);
        }
    }

    /// The certificates of a page that the plan is about.
    fn chosen(&self, page: Page) -> Vec<Serial> {
        for key in page.unreadable {
            self.note_broken(&key, "its serial number cannot be read");
        }
        let now = self.responder.now();
        let is_chosen = |listed: &Listed| {
            self.plan.choice.includes(&listed.dates, now).unwrap_or_else(|| {
                Progress::add(&self.progress.undated, 1);
                false
            })
        };
        page.listed.into_iter().filter(is_chosen).map(|listed| listed.serial).collect()
    }

    fn sign_all(&self, serials: &[Serial]) -> Result<(), WarmError> {
        if serials.is_empty() || self.is_over() {
            return Ok(());
        }
        let (at, begun) = (self.responder.now(), Instant::now());
        let found = self.issuer.store().find_many(serials)?;
        for (serial, found) in serials.iter().zip(found) {
            if self.is_over() {
                return Ok(());
            }
            let Some(record) = self.record(serial, found) else { continue };
            let hashes = self.issuer.certificate().hashes();
            for spelling in &self.plan.spellings {
                let der = hashes.cert_id(serial, *spelling).unwrap_or_default();
                let Ok(cert_id) = CertId::from_der(&der) else { continue };
                self.sign(&cert_id, Seen { record, at, begun })?;
            }
        }
        Ok(())
    }

    fn record(&self, serial: &Serial, found: Found) -> Option<CertRecord> {
        match found {
            Ok(Some(record)) => Some(self.responder.as_of_now(self.issuer, serial, record)),
            Ok(None) => {
                log::debug!("row is not found by its serial number: serial={serial}");
                Progress::add(&self.progress.lost, 1);
                None
            }
            Err(error) => {
                self.note_broken(&serial.to_string(), chain(&error));
                None
            }
        }
    }

    fn sign(&self, cert_id: &CertId<'_>, seen: Seen) -> Result<(), WarmError> {
        let place = (self.issuer, self.disk);
        let progress = self.progress;
        let mut due = self.responder.due(place, cert_id, seen, self.plan.left);
        if due.is_now() {
            if self.pace.as_ref().is_some_and(|pace| !pace.wait(|| self.is_over())) {
                return Ok(());
            }
            due = match self.responder.sign_ahead(place, cert_id, seen, due) {
                Err(AheadError::NotKept(error)) => return self.note_not_kept(cert_id, error),
                signed => signed?,
            };
            self.not_kept.store(0, Ordering::Relaxed);
        } else if due == Due::Overtaken {
            log::debug!("another process has seen the row later: serial={}", cert_id.serial());
        }
        let counter = if due.is_now() { &progress.signed } else { &progress.kept };
        Progress::add(counter, 1);
        if seen.record.status != CertStatus::Good {
            Progress::add(&progress.revoked, 1);
        }
        Ok(())
    }

    fn note_broken(&self, key: &str, problem: impl std::fmt::Display) {
        let before = self.progress.failed.fetch_add(1, Ordering::Relaxed);
        if before < MOST_TOLD {
            log::error!(
                "row cannot be understood, not signed: issuer={} key={} error={}",
                self.issuer.id().0,
                quoted(key),
                quoted(problem)
            );
        }
    }

    /// One spoilt place costs its own answer; a folder that takes none ends it.
    fn note_not_kept(&self, cert_id: &CertId<'_>, error: io::Error) -> Result<(), WarmError> {
        let before = self.not_kept.fetch_add(1, Ordering::Relaxed);
        let path = self.disk.path(cert_id);
        if is_of_all_places(&error, &path) || before >= MOST_NOT_KEPT {
            return Err(AheadError::NotKept(error).into());
        }
        if self.progress.failed.fetch_add(1, Ordering::Relaxed) < MOST_TOLD {
            log::error!(
                "answer cannot be kept, going on with the next: path={} error={}",
                quoted(path.display()),
                quoted(error)
            );
        }
        Ok(())
    }

    /// Counts the rows beside those who sign: only a number to be shown.
    fn count(&self, walk: &mut dyn Walk) {
        let mut total = 0;
        while !self.is_over() {
            let begun = Instant::now();
            match walk.skip() {
                Ok(Some(rows)) => total += rows,
                Ok(None) => {
                    self.progress.total.fetch_add(total, Ordering::Relaxed);
                    return;
                }
                Err(error) => {
                    log::debug!("rows not counted: error={}", quoted(chain(&error)));
                    return;
                }
            }
            // Half of the time the database is left to the others.
            thread::sleep(begun.elapsed());
        }
    }

    fn is_over(&self) -> bool {
        self.stop.load(Ordering::Relaxed) || self.over.load(Ordering::Relaxed)
    }
}

/// Signatures at even distances.
struct Pace {
    next: Mutex<Instant>,
    distance: Duration,
}

impl Pace {
    fn new(rate: u32) -> Self {
        Self { next: Mutex::new(Instant::now()), distance: Duration::from_secs(1) / rate.max(1) }
    }

    /// Waits for the next turn; whether there is one before it is over.
    fn wait(&self, is_over: impl Fn() -> bool) -> bool {
        let turn = {
            let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
            let turn = (*next).max(Instant::now());
            *next = turn + self.distance;
            turn
        };
        loop {
            if is_over() {
                return false;
            }
            let left = turn.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return true;
            }
            thread::sleep(left.min(LOOK_AGAIN));
        }
    }
}

/// Whether a write would fail at other places in the folder as well.
fn is_of_all_places(error: &io::Error, path: &Path) -> bool {
    use io::ErrorKind::{PermissionDenied, QuotaExceeded, ReadOnlyFilesystem, StorageFull};
    let of_disk = [PermissionDenied, QuotaExceeded, ReadOnlyFilesystem, StorageFull];
    // Of this signer, with a folder for a part of the serial numbers below.
    let folder = path.ancestors().nth(2);
    of_disk.contains(&error.kind()) || !folder.is_some_and(Path::is_dir)
}

/// Signatures after which the next rows are read: some 15 ms with RSA-2048.
const MOST_AT_ONCE: usize = 32;
/// So many one after the other are spoilt places; more are a spoilt folder.
const MOST_NOT_KEPT: u64 = 10;
/// More broken rows and places are counted, not told one by one.
const MOST_TOLD: u64 = 20;
/// How soon a wait notices the end.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pace_lets_no_more_through_than_its_rate_and_ends_at_once() {
        let pace = Pace::new(50);
        let begun = Instant::now();
        assert!((0..6).all(|_| pace.wait(|| false)));
        assert!(begun.elapsed() >= Duration::from_millis(100));
        assert!(!pace.wait(|| true));
    }
}
