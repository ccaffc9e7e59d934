//! Answers that are kept: in memory for this process, on disk for all of them.
//!
//! Decides nothing: whether an answer is fresh enough is the responder's to say.
//! It gives nothing past nextUpdate.

use std::path::Path;
use std::sync::Arc;

use serde::Deserialize;
use trouble::Trouble;

use crate::ocsp::CertId;
use crate::ocsp::response::SignedAnswer;
use crate::serial::Serial;
use crate::status::CertStatus;
use crate::time::Timestamp;

pub mod disk;
pub mod entry;
pub mod kept;
pub mod making;
pub mod memory;
pub mod survey;
mod unremoved;
mod writing;

pub use disk::Disk;
use disk::{Unreadable, Written};
use entry::HasFile;
pub use entry::{Entry, SignerTag};
pub use kept::Kept;
pub use making::Making;
use making::UnderWay;
pub use memory::Memory;

/// When an answer gets its file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Files {
    /// As soon as it is signed.
    #[default]
    AtOnce,
    /// When its row is read again for it, which is when it is asked for again after the
    /// freshness window. What says `revoked`, or takes the place of another answer, as
    /// soon as it is signed.
    AskedAgain,
}

/// The answers signed by one certificate.
pub struct ResponseCache {
    memory: Arc<Memory>,
    signer: SignerTag,
    disk: Option<Disk>,
    files: Files,
    under_way: UnderWay,
    foreign: Trouble,
}

impl ResponseCache {
    /// A cache in `memory`, which other signers may share, and, with a folder,
    /// on disk below a name made of the signer's certificate.
    #[must_use]
    pub fn new(memory: Arc<Memory>, folder: Option<&Path>, signer_certificate: &[u8]) -> Self {
        let disk = folder.map(|folder| Disk::new(folder, signer_certificate));
        Self {
            memory,
            signer: SignerTag::of(signer_certificate),
            disk,
            files: Files::default(),
            under_way: UnderWay::default(),
            foreign: Trouble::new(log::Level::Warn),
        }
    }

    /// The same, where answers get their files at another time.
    #[must_use]
    pub fn with_files(self, files: Files) -> Self {
        Self { files, ..self }
    }

    /// The answer in memory, unless it has ended.
    #[must_use]
    pub fn get(&self, cert_id: &CertId<'_>, now: Timestamp) -> Option<Arc<Entry>> {
        // Memory may hold an answer of the predecessor, whom this signer has relieved.
        self.memory
            .get(cert_id.der())
            .filter(|entry| entry.signer() == self.signer && entry.validity().contains(now))
    }

    /// The answer on disk, unless it has ended, brought into memory if that holds
    /// none that was confirmed later.
    ///
    /// `is_ours` checks what only the signer can: the signature and the
    /// responder's name. A file that is no answer to this question is removed.
    pub fn load(
        &self,
        cert_id: &CertId<'_>,
        now: Timestamp,
        is_ours: impl FnOnce(&SignedAnswer<'_>) -> bool,
    ) -> Option<Arc<Entry>> {
        let disk = self.disk.as_ref()?;
        let file = disk.read(cert_id)?;
        let kept = Kept::of(&file, cert_id).filter(|kept| is_ours(&kept.answer));
        let Some(Kept { answer, .. }) = kept else {
            self.foreign.begin(format_args!(
                "cached answer is not ours as we sign now, signing anew: serial={} folder={}",
                cert_id.serial(),
                disk.quoted_folder()
            ));
            disk.remove(cert_id);
            return None;
        };
        let validity = answer.response.validity;
        if !validity.contains(now) {
            return None;
        }
        // Whoever has found out that it is overtaken would have left it there.
        if answer.response.status == CertStatus::Good && !file.is_removable() {
            return None;
        }
        // A modification time in the future is a clock that went back: not confirmed.
        let confirmed = if file.modified <= now { file.modified } else { Timestamp::EPOCH };
        let entry = Arc::new(Entry::new(
            (&file.der, self.signer),
            answer.response.status,
            validity,
            confirmed,
        ));
        entry.note_file(Written::Yes);
        let in_memory = self.memory.get(cert_id.der());
        let is_later =
            |other: Arc<Entry>| other.signer() != self.signer || entry.supersedes(&other, now);
        if in_memory.is_none_or(is_later) {
            self.memory.put(cert_id.der(), Arc::clone(&entry));
        }
        Some(entry)
    }

    /// The folder of these answers, where they are kept in one.
    #[must_use]
    pub fn disk(&self) -> Option<&Disk> {
        self.disk.as_ref()
    }

    /// Who signs what is kept here.
    #[must_use]
    pub fn signer(&self) -> SignerTag {
        self.signer
    }

    /// Says that an answer about this certificate is being made: before its row is read.
    #[must_use]
    pub fn begin(&self, serial: &Serial) -> Making<'_> {
        self.under_way.begin(*serial)
    }

    /// Tells those who are making an answer about this certificate that its row is not
    /// good: before what is kept about it is removed, so that whichever of the two comes
    /// last finds out about the other. Who has read the row later than `at` is not meant.
    pub fn overtake(&self, serial: &Serial, at: Timestamp) {
        self.under_way.overtake(serial, at);
    }

    /// Whether an answer `good` has lost its file: another process has found out that it no
    /// longer holds.
    #[must_use]
    pub fn is_removed(&self, cert_id: &CertId<'_>, entry: &Entry) -> bool {
        let had_file = entry.is_good() && entry.has_file() == HasFile::Yes;
        had_file && self.disk.as_ref().is_some_and(|disk| disk.is_removed(cert_id))
    }

    /// The same, or another process has put another answer into its place, also where it was to
    /// have no file; or it could not be written, so that none could tell.
    #[must_use]
    pub fn is_replaced(&self, cert_id: &CertId<'_>, entry: &Entry) -> bool {
        let Some(disk) = &self.disk else { return false };
        entry.is_good()
            && match entry.has_file() {
                HasFile::No => disk.holds_another(cert_id, entry.der()),
                HasFile::Yes => disk.is_replaced(cert_id, entry.der()),
                HasFile::Refused => true,
            }
    }

    /// Forgets an answer that says anything but `status`, or whatever it says where that is
    /// `None`: also one that is not given now, as it is to come by the clock.
    pub fn forget_unless(&self, cert_id: &CertId<'_>, status: Option<CertStatus>) {
        self.forget_if(
            cert_id,
            Some(Timestamp::NEVER),
            |entry| Some(entry.status()) != status,
            |kept| status.is_none_or(|status| !kept.says(status)),
        );
    }

    /// Forgets an answer that says something else than `status`, and whose row was not read
    /// after `at`.
    pub fn forget_superseded(
        &self,
        cert_id: &CertId<'_>,
        (status, at): (CertStatus, Timestamp),
        now: Timestamp,
    ) {
        self.forget_if(
            cert_id,
            Some(at),
            |entry| entry.status() != status && entry.confirmed_by(now) <= at,
            |kept| !kept.says(status) && (kept.confirmed <= at || kept.confirmed > now),
        );
    }

    /// Forgets an answer that says `good`.
    pub fn forget_good(&self, cert_id: &CertId<'_>) {
        self.forget_if(cert_id, None, Entry::is_good, |kept| kept.says(CertStatus::Good));
    }

    /// Forgets this answer if memory holds it still, and leaves the file.
    pub fn forget_in_memory(&self, cert_id: &CertId<'_>, entry: &Arc<Entry>) {
        if self.memory.get(cert_id.der()).is_some_and(|present| Arc::ptr_eq(&present, entry)) {
            self.memory.remove(cert_id.der());
        }
    }

    /// A file that is no answer to the question is forgotten, too. With a time, those who are
    /// making an answer are told as by [`ResponseCache::overtake`].
    fn forget_if(
        &self,
        cert_id: &CertId<'_>,
        at: Option<Timestamp>,
        in_memory: impl FnOnce(&Entry) -> bool,
        on_disk: impl FnOnce(&Kept<'_>) -> bool,
    ) {
        if let Some(disk) = &self.disk {
            let is_to_go = match disk.try_read(cert_id) {
                Ok(Some(file)) => Kept::of(&file, cert_id).is_none_or(|kept| on_disk(&kept)),
                Ok(None) => false,
                // It may say anything.
                Err(Unreadable) => true,
            };
            if is_to_go {
                disk.remove(cert_id);
            }
        }
        // In this order: who has found the file a moment ago either has it in memory by now, or
        // is told before that.
        if let Some(at) = at {
            self.under_way.overtake(&cert_id.serial(), at);
        }
        if self.memory.get(cert_id.der()).is_some_and(|entry| in_memory(&entry)) {
            self.memory.remove(cert_id.der());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::ocsp::response::{ExtendedRevoke, assemble};
    use crate::ocsp::{Answer, IssuerHashes, ResponderId, SignatureAlgorithm, SingleAnswer};
    use crate::status::Basis;
    use crate::time::{Clock, SystemClock, Validity};

    pub(super) fn at(second: i64) -> Timestamp {
        Timestamp::from_unix(second)
    }

    /// That of a process.
    pub(super) fn cache_in(folder: &tempfile::TempDir) -> ResponseCache {
        ResponseCache::new(Arc::new(Memory::new(1 << 20)), Some(folder.path()), b"signer")
    }

    /// Signed by who signs for all of these caches, and valid from 10 to 20.
    pub(super) fn entry(der: &[u8], status: CertStatus, confirmed: i64) -> Arc<Entry> {
        let validity = Validity { this_update: at(10), next_update: at(20) };
        let signer = SignerTag::of(b"signer");
        Arc::new(Entry::new((der, signer), status, validity, at(confirmed)))
    }

    /// As [`entry`], valid from now on.
    pub(super) fn good_at(now: Timestamp) -> Arc<Entry> {
        let der_and_signer = (&b"answer"[..], SignerTag::of(b"signer"));
        Arc::new(Entry::new(der_and_signer, CertStatus::Good, from(now), now))
    }

    /// What another process signs.
    pub(super) fn revoked_since(cert_id: &CertId<'_>, time: Timestamp, now: Timestamp) -> Vec<u8> {
        let status = CertStatus::Revoked { time, reason: None };
        let (cert_id, validity) = (cert_id.der(), from(now));
        let answer = Answer {
            responder_id: &ResponderId::ByKey([7; 20]),
            produced_at: now,
            responses: vec![SingleAnswer { cert_id, status, validity, archive_cutoff: None }],
            nonce: None,
            extended_revoke: ExtendedRevoke::Absent,
        };
        let to_be_signed = answer.to_be_signed().unwrap();
        assemble(&to_be_signed, SignatureAlgorithm::Ed25519, b"signature", None).unwrap()
    }

    fn from(now: Timestamp) -> Validity {
        let next_update = now.saturating_add(Duration::from_secs(3600));
        Validity { this_update: now, next_update }
    }

    pub(super) fn spelling() -> Vec<u8> {
        IssuerHashes::new(b"name", b"key").cert_ids(&Serial::PROBE).swap_remove(0)
    }

    // rule: ANS-6
    #[test]
    fn an_answer_in_memory_is_not_given_at_its_next_update_nor_for_another_signer() {
        let memory = Arc::new(Memory::new(1 << 20));
        let cache = ResponseCache::new(Arc::clone(&memory), None, b"signer");
        let successor = ResponseCache::new(memory, None, b"successor");
        let spelling = spelling();
        let cert_id = CertId::from_der(&spelling).unwrap();
        cache.put(&cert_id, entry(b"answer", CertStatus::Good, 19), None, Basis::Listed, || true);
        assert!(cache.get(&cert_id, at(19)).is_some());
        assert!(successor.get(&cert_id, at(19)).is_none());
        assert!(cache.get(&cert_id, at(20)).is_none());
        assert!(cache.get(&cert_id, at(9)).is_none());
    }

    // rule: ANS-6
    #[test]
    fn an_answer_that_was_to_have_no_file_is_replaced_by_that_of_another_process() {
        let folder = tempfile::tempdir().unwrap();
        let cache = cache_in(&folder).with_files(Files::AskedAgain);
        let spelling = spelling();
        let cert_id = CertId::from_der(&spelling).unwrap();
        let (now, good) = (SystemClock.now(), good_at(SystemClock.now()));
        cache.put(&cert_id, Arc::clone(&good), None, Basis::Listed, || true);
        assert!(!cache.is_replaced(&cert_id, &good));
        let revoked = revoked_since(&cert_id, at(1), now);
        cache.disk().unwrap().write(&cert_id, &revoked, now);
        assert!(cache.is_replaced(&cert_id, &good));
        // Nobody can tell whether there was one.
        cache.forget_unless(&cert_id, None);
        assert!(!cache.is_replaced(&cert_id, &good));
    }

    // rule: ANS-6
    #[test]
    fn what_cannot_be_read_is_forgotten_whatever_it_says() {
        let folder = tempfile::tempdir().unwrap();
        let cache = cache_in(&folder);
        let spelling = spelling();
        let cert_id = CertId::from_der(&spelling).unwrap();
        let disk = cache.disk().unwrap();
        // Opened, and neither read nor removed.
        std::fs::create_dir_all(disk.path(&cert_id)).unwrap();
        assert!(!disk.is_removed(&cert_id));
        cache.forget_unless(&cert_id, Some(CertStatus::Good));
        assert!(disk.is_removed(&cert_id));
    }
}
