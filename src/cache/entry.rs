//! One cached answer: its DER, its validity, what the row said, and when.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU8, AtomicU64, Ordering};
use std::time::Duration;

use crate::cache::disk::Written;
use crate::digest::sha256;
use crate::http::caching::Representation;
use crate::status::{CertRecord, CertStatus};
use crate::time::{Timestamp, Validity, uptime};

/// Tells the certificates of signers apart: the first octets of their SHA-256.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SignerTag([u8; 8]);

impl SignerTag {
    /// The tag of a certificate in DER.
    #[must_use]
    pub fn of(certificate: &[u8]) -> Self {
        Self(sha256(certificate).first_chunk().copied().unwrap_or_default())
    }

    /// Its octets.
    #[must_use]
    pub fn octets(&self) -> &[u8] {
        &self.0
    }
}

/// A signed answer about one certificate, with the header fields that go with it.
#[derive(Debug)]
pub struct Entry {
    representation: Representation,
    /// Who has signed it.
    signer: SignerTag,
    status: CertStatus,
    validity: Validity,
    /// Seconds since the epoch at which the row was last read and found to say `status`.
    confirmed: AtomicI64,
    /// The same by [`uptime`], which is not set: a clock that was ahead, and comes to that
    /// second once more, does not make an old confirmation a new one.
    confirmed_uptime: AtomicU64,
    /// What this process knows of its file, a [`HasFile`].
    has_file: AtomicU8,
    /// The last second in which somebody set out to read the row ahead of time.
    attempted: AtomicI64,
}

/// Whether an answer has a file, by which other processes tell that it is overtaken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum HasFile {
    /// It was not to have one.
    No,
    /// There was one in its place, its own or that of another process; somebody may have
    /// removed it.
    Yes,
    /// It could not be written: there is none that anybody could remove.
    Refused,
}

impl Entry {
    /// An answer that says `status`, as the row did when it was read at `confirmed`.
    #[must_use]
    pub fn new(
        (der, signer): (&[u8], SignerTag),
        status: CertStatus,
        validity: Validity,
        confirmed: Timestamp,
    ) -> Self {
        Self {
            signer,
            representation: Representation::new(Arc::from(der), &validity),
            status,
            validity,
            confirmed: AtomicI64::new(confirmed.unix()),
            confirmed_uptime: AtomicU64::new(uptime()),
            has_file: AtomicU8::new(HasFile::No as u8),
            attempted: AtomicI64::new(i64::MIN),
        }
    }

    /// The OCSPResponse.
    #[must_use]
    pub fn der(&self) -> &Arc<[u8]> {
        self.representation.der()
    }

    /// The reply, ready to be sent.
    #[must_use]
    pub fn representation(&self) -> &Representation {
        &self.representation
    }

    /// Who has signed it.
    #[must_use]
    pub fn signer(&self) -> SignerTag {
        self.signer
    }

    /// What the answer says.
    #[must_use]
    pub fn status(&self) -> CertStatus {
        self.status
    }

    /// Whether the store still says what the answer says, and for as long.
    #[must_use]
    pub fn is_borne_out_by(&self, record: &CertRecord) -> bool {
        let reaches_further = record.ends().is_some_and(|until| until < self.validity.next_update);
        record.status == self.status && !reaches_further
    }

    /// thisUpdate and nextUpdate.
    #[must_use]
    pub fn validity(&self) -> Validity {
        self.validity
    }

    /// When the row was last read and said the same.
    #[must_use]
    pub fn confirmed(&self) -> Timestamp {
        Timestamp::from_unix(self.confirmed.load(Ordering::Relaxed))
    }

    /// Moves the confirmation forward; back only where the clock went back.
    pub fn confirm(&self, at: Timestamp) {
        let at = at.unix();
        if self.confirmed.fetch_max(at, Ordering::Relaxed) > at.saturating_add(LONGEST_READING) {
            self.confirmed.store(at, Ordering::Relaxed);
        }
        self.confirmed_uptime.store(uptime(), Ordering::Relaxed);
    }

    /// The same, or never, where that is still to come: the clock went back.
    #[must_use]
    pub fn confirmed_by(&self, now: Timestamp) -> Timestamp {
        Some(self.confirmed()).filter(|confirmed| *confirmed <= now).unwrap_or(Timestamp::EPOCH)
    }

    /// Whether the row was read later for this one than for `other`; within the same
    /// second, which tells nothing, one that says revoked is believed.
    #[must_use]
    pub fn supersedes(&self, other: &Self, now: Timestamp) -> bool {
        let (own, others) = (self.confirmed_by(now), other.confirmed_by(now));
        own > others || (own == others && self.status != other.status && !self.is_good())
    }

    /// Notes what has become of its file.
    pub fn note_file(&self, written: Written) {
        let has_file = match written {
            Written::Yes | Written::Not => HasFile::Yes,
            Written::Failed => HasFile::Refused,
        };
        self.has_file.store(has_file as u8, Ordering::Relaxed);
    }

    /// What this process knows of its file.
    #[must_use]
    pub fn has_file(&self) -> HasFile {
        const NO: u8 = HasFile::No as u8;
        const YES: u8 = HasFile::Yes as u8;
        match self.has_file.load(Ordering::Relaxed) {
            NO => HasFile::No,
            YES => HasFile::Yes,
            _ => HasFile::Refused,
        }
    }

    /// Whether it says `good`.
    #[must_use]
    pub fn is_good(&self) -> bool {
        self.status == CertStatus::Good
    }

    /// What is left of the freshness window; zero when the row must be read again.
    #[must_use]
    pub fn fresh_for(&self, now: Timestamp, window: Duration) -> Duration {
        let since = uptime().saturating_sub(self.confirmed_uptime.load(Ordering::Relaxed));
        let since = Duration::from_millis(since);
        if since >= window {
            return Duration::ZERO;
        }
        // In whole seconds, as the other is: both are the same unless the clock was set.
        let left = window.saturating_sub(Duration::from_secs(since.as_secs()));
        left.min(now.left_of(window, self.confirmed()))
    }

    /// Whether the caller is the first in this second to read the row ahead of time.
    #[must_use]
    pub fn claim_attempt(&self, now: Timestamp) -> bool {
        let last = self.attempted.load(Ordering::Relaxed);
        last != now.unix()
            && self
                .attempted
                .compare_exchange(last, now.unix(), Ordering::Relaxed, Ordering::Relaxed)
                .is_ok()
    }

    /// About how many bytes of memory it takes.
    #[must_use]
    pub fn weight(&self) -> u64 {
        let bytes = self.representation.footprint() + size_of::<Self>() + OVERHEAD;
        u64::try_from(bytes).unwrap_or(u64::MAX)
    }
}

/// Seconds: another who confirms the same is not further ahead, unless the clock was.
const LONGEST_READING: i64 = 60;

/// Keys, reference counts, allocator and table slots, and what the allocator cannot give
/// out again while entries come and go: with a million certificates asked once, 64 MiB of
/// entries counted with 300 were 90 MiB of memory.
const OVERHEAD: usize = 650;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_goes_back_does_not_prolong_the_window() {
        let at = Timestamp::from_unix;
        let validity = Validity { this_update: at(0), next_update: at(100_000) };
        let signer = SignerTag::of(b"certificate");
        let entry = Entry::new((b"answer", signer), CertStatus::Good, validity, at(1_000));
        let window = Duration::from_secs(10);
        assert_eq!(entry.fresh_for(at(1_000), window), window);
        assert_eq!(entry.fresh_for(at(1_004), window), Duration::from_secs(6));
        std::thread::sleep(Duration::from_secs(1));
        assert!(entry.fresh_for(at(1_000), window) <= Duration::from_secs(9));
        assert_eq!(entry.fresh_for(at(1_000), Duration::from_secs(1)), Duration::ZERO);
    }
}
