//! What the table says of each certificate, as far as somebody outside can know it.

use std::ops::Range;
use std::sync::{PoisonError, RwLock};
use std::time::{Duration, Instant};

/// The rows: certificates 0 to this.
pub const ROWS: u32 = 100_000;

/// Certificates that are revoked while the bench runs, each by its phase.
pub const REVOKED_ALONE: [u32; 7] = [5, 15, 25, 35, 45, 55, 65];

/// Certificates that nobody asks about before they are revoked, all at once.
pub const REVOKED_TOGETHER: Range<u32> = 90_000..92_000;

/// The certificates that are asked about again and again.
pub const REPEATED: u32 = 70;

/// As `[cache] freshness` has it by default: how long after a change the answer from
/// before it may be given.
pub const FRESHNESS: Duration = Duration::from_secs(10);

/// What an answer says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    Good,
    Revoked,
    Unknown,
}

/// The changes made so far.
#[derive(Default)]
pub struct Truth {
    changes: RwLock<Vec<Change>>,
}

struct Change {
    certificates: Range<u32>,
    begun: Instant,
    /// When the node said that it was written.
    committed: Option<Instant>,
}

impl Truth {
    /// Certificates are about to be revoked.
    pub fn begin(&self, certificates: Range<u32>) {
        let change = Change { certificates, begun: Instant::now(), committed: None };
        self.changes.write().unwrap_or_else(PoisonError::into_inner).push(change);
    }

    /// They are, as of now.
    pub fn commit(&self, certificates: &Range<u32>) -> Instant {
        let now = Instant::now();
        let mut changes = self.changes.write().unwrap_or_else(PoisonError::into_inner);
        let change = changes.iter_mut().find(|change| change.certificates == *certificates);
        change.unwrap().committed = Some(now);
        now
    }

    /// Why an answer that came to a question sent at `sent` is wrong.
    pub fn refutes(&self, certificate: u32, said: Status, sent: Instant) -> Option<String> {
        let changes = self.changes.read().unwrap_or_else(PoisonError::into_inner);
        let change = changes.iter().find(|change| change.certificates.contains(&certificate));
        let (may_be, must_be) = match change {
            None if certificate >= ROWS => (Status::Unknown, true),
            None if is_revoked_from_the_start(certificate) => (Status::Revoked, true),
            None => (Status::Good, true),
            // Revocations do not go back: an answer after `begun` may know it already.
            Some(Change { committed: Some(at), .. }) if sent > *at + window(certificate) => {
                (Status::Revoked, true)
            }
            Some(_) => (Status::Good, false),
        };
        let is_right = said == may_be || (!must_be && said == Status::Revoked);
        let since = change.map(|change| sent.saturating_duration_since(change.begun));
        (!is_right).then(|| format!("certificate {certificate} is {said:?}, revoked {since:?} ago"))
    }
}

/// How the bench fills the table.
pub fn is_revoked_from_the_start(certificate: u32) -> bool {
    certificate % 10 == 9
}

/// Nothing is kept of what was not asked before.
fn window(certificate: u32) -> Duration {
    if certificate < REPEATED { FRESHNESS } else { Duration::ZERO }
}
