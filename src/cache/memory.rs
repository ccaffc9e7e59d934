//! The finished replies, bounded by bytes.

use std::sync::Arc;

use quick_cache::Weighter;
use quick_cache::sync::Cache;

use crate::cache::entry::Entry;

/// Answers by the DER of their CertID, which names one issuer. Shared by all threads,
/// and by all signers.
pub struct Memory {
    entries: Cache<Box<[u8]>, Arc<Entry>, ByBytes>,
}

impl Memory {
    /// Holds about `bytes` of answers at the most; the least asked go first.
    #[must_use]
    pub fn new(bytes: u64) -> Self {
        let entries = usize::try_from(bytes / TYPICAL_WEIGHT).unwrap_or(usize::MAX).max(1);
        Self { entries: Cache::with_weighter(entries, bytes, ByBytes) }
    }

    /// The answer to this question.
    #[must_use]
    pub fn get(&self, cert_id: &[u8]) -> Option<Arc<Entry>> {
        self.entries.get(cert_id)
    }

    /// Keeps an answer, in place of an older one.
    pub fn put(&self, cert_id: &[u8], entry: Arc<Entry>) {
        self.entries.insert(Box::from(cert_id), entry);
    }

    /// Forgets an answer.
    pub fn remove(&self, cert_id: &[u8]) {
        self.entries.remove(cert_id);
    }
}

#[derive(Clone)]
struct ByBytes;

impl Weighter<Box<[u8]>, Arc<Entry>> for ByBytes {
    fn weight(&self, key: &Box<[u8]>, entry: &Arc<Entry>) -> u64 {
        entry.weight() + u64::try_from(key.len()).unwrap_or(u64::MAX)
    }
}

/// An RSA-2048 answer with its header fields.
const TYPICAL_WEIGHT: u64 = 1_600;
