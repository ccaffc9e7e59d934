//! What is kept, and what is confirmed: when it gets a file, and what it gives way to.

use std::sync::Arc;

use crate::cache::disk::{Confirmed, Written};
use crate::cache::{Disk, Entry, Files, Kept, ResponseCache};
use crate::ocsp::CertId;
use crate::status::{Basis, CertStatus};
use crate::time::{Clock, SystemClock, Timestamp};

impl ResponseCache {
    /// Keeps an answer, in place of `older`, which was kept when the store was asked. One
    /// about a serial that anybody may have made up stays in memory, which is bounded: it
    /// would fill the disk.
    ///
    /// Not unless `may_be_kept`, asked now, says so; nor where it does not any more when the
    /// file is written, which takes long where the disk is slow; nor where another process has
    /// seen the row later, and kept something else.
    pub fn put(
        &self,
        cert_id: &CertId<'_>,
        entry: Arc<Entry>,
        older: Option<&Entry>,
        basis: Basis,
        may_be_kept: impl Fn() -> bool,
    ) {
        if !may_be_kept() {
            return;
        }
        if let (Some(disk), true) = (&self.disk, basis.is_of_an_entry()) {
            // Other processes are to find what is revoked, and no file is to outlast
            // what has taken its place.
            if self.files == Files::AtOnce || older.is_some() || !entry.is_good() {
                let written = write(disk, cert_id, &entry, older);
                entry.note_file(written);
                if written == Written::Not {
                    return self.make_way(cert_id, &entry);
                }
            }
        } else if let (Some(disk), Some(_)) = (&self.disk, older) {
            disk.remove(cert_id);
        }
        match may_be_kept() {
            true => self.memory.put(cert_id.der(), entry),
            false => self.forget_good(cert_id),
        }
    }

    /// Notes that the store still says what the answer says, as read at `at`. An answer
    /// without a file gets one if `may_have_file` says so, asked as by [`ResponseCache::put`],
    /// and unless it is one that only memory keeps.
    pub fn confirm(
        &self,
        cert_id: &CertId<'_>,
        entry: &Entry,
        (basis, at): (Basis, Timestamp),
        may_have_file: impl Fn() -> bool,
    ) {
        entry.confirm(at);
        let Some(disk) = &self.disk else { return };
        let is_missing = match disk.confirm(cert_id, entry.der(), at) {
            Confirmed::Yes => return entry.note_file(Written::Yes),
            Confirmed::Missing if !basis.is_of_an_entry() => return,
            Confirmed::Missing => true,
            Confirmed::Other(file) => {
                entry.note_file(Written::Not);
                // Signed anew by another process, which is as good, or by what the row said
                // in between: nobody is to find that when the store is out of reach.
                match Kept::of(&file, cert_id) {
                    Some(kept) if kept.says(entry.status()) => return,
                    Some(kept) if is_overtaken(entry.status(), at, &kept) => {
                        return self.make_way(cert_id, entry);
                    }
                    _ => false,
                }
            }
        };
        // Another process may have found out, since the row was read, that it is not good.
        if !may_have_file() {
            return;
        }
        let written = match is_missing {
            true => disk.write_new(cert_id, entry.der(), at),
            false => write(disk, cert_id, entry, None),
        };
        entry.note_file(written);
        if written == Written::Not && is_overtaken_in(disk, cert_id, entry) {
            return self.make_way(cert_id, entry);
        }
        if !may_have_file() {
            self.forget_good(cert_id);
        }
    }

    /// Another process has seen the row later than it was for this answer, and it said something
    /// else: that is found next, and who makes an answer `good` reads it once more.
    fn make_way(&self, cert_id: &CertId<'_>, entry: &Entry) {
        if entry.is_good() {
            self.overtake(&cert_id.serial(), Timestamp::NEVER);
        }
        self.memory.remove(cert_id.der());
    }
}

/// Writes an answer in place of `older`, unless another process has seen the row later
/// and kept something else: to sign takes seconds where many wait.
fn write(disk: &Disk, cert_id: &CertId<'_>, entry: &Entry, older: Option<&Entry>) -> Written {
    let at = entry.confirmed();
    if older.is_none() {
        match disk.write_new(cert_id, entry.der(), at) {
            Written::Not => {}
            written => return written,
        }
    }
    let file = disk.read(cert_id);
    let other = file.as_ref().filter(|file| older.is_none_or(|older| **older.der() != *file.der));
    let other = other.and_then(|file| Kept::of(file, cert_id));
    if other.is_some_and(|other| is_overtaken(entry.status(), at, &other)) {
        return Written::Not;
    }
    disk.write(cert_id, entry.der(), at)
}

/// Whether another process has seen the row later and kept something else.
fn is_overtaken_in(disk: &Disk, cert_id: &CertId<'_>, entry: &Entry) -> bool {
    let file = disk.read(cert_id);
    let kept = file.as_ref().and_then(|file| Kept::of(file, cert_id));
    kept.is_some_and(|kept| is_overtaken(entry.status(), entry.confirmed(), &kept))
}

fn is_overtaken(status: CertStatus, at: Timestamp, by: &Kept<'_>) -> bool {
    by.is_seen_later(status, at, SystemClock.now())
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::time::Duration;

    use super::*;
    use crate::cache::entry::HasFile;
    use crate::cache::tests::{at, cache_in, entry, good_at, revoked_since, spelling};

    // rule: ANS-6
    #[test]
    fn an_answer_knows_of_the_file_that_another_process_has_written_for_it() {
        let folder = tempfile::tempdir().unwrap();
        let [one, other] = [(); 2].map(|()| cache_in(&folder).with_files(Files::AskedAgain));
        let spelling = spelling();
        let cert_id = CertId::from_der(&spelling).unwrap();
        let [own, others] = [&one, &other].map(|cache| {
            let entry = entry(b"answer", CertStatus::Good, 10);
            cache.put(&cert_id, Arc::clone(&entry), None, Basis::Listed, || true);
            assert_eq!(entry.has_file(), HasFile::No);
            entry
        });
        one.confirm(&cert_id, &own, (Basis::Listed, SystemClock.now()), || true);
        other.confirm(&cert_id, &others, (Basis::Listed, SystemClock.now()), || true);
        assert_eq!([own.has_file(), others.has_file()], [HasFile::Yes; 2]);
        one.forget_unless(&cert_id, None);
        assert!(other.is_removed(&cert_id, &others));
    }

    // rule: ANS-6
    #[test]
    fn an_answer_knows_of_the_file_that_another_process_has_written_at_the_same_moment() {
        let folder = tempfile::tempdir().unwrap();
        let (one, other) = (cache_in(&folder), cache_in(&folder));
        let spelling = spelling();
        let cert_id = CertId::from_der(&spelling).unwrap();
        let [own, others] = [&b"own"[..], b"other"].map(|der| entry(der, CertStatus::Good, 10));
        one.confirm(&cert_id, &own, (Basis::Listed, SystemClock.now()), || {
            other.confirm(&cert_id, &others, (Basis::Listed, SystemClock.now()), || true);
            true
        });
        assert!(!one.is_removed(&cert_id, &own));
        assert!(one.is_replaced(&cert_id, &own), "its own is not in the folder");
        other.forget_unless(&cert_id, None);
        assert!(one.is_removed(&cert_id, &own));
    }

    // rule: ANS-6
    #[test]
    fn a_file_does_not_outlast_the_answer_in_its_place_that_has_none() {
        let folder = tempfile::tempdir().unwrap();
        let cache = cache_in(&folder);
        let spelling = spelling();
        let cert_id = CertId::from_der(&spelling).unwrap();
        let revoked = CertStatus::Revoked { time: at(1), reason: None };
        let older = entry(b"revoked", revoked, 10);
        cache.put(&cert_id, Arc::clone(&older), None, Basis::Listed, || true);
        assert!(cache.disk().unwrap().read(&cert_id).is_some());
        // The hold is over: not on the CRL any more.
        let absence = Basis::Absence { until: at(20) };
        let newer = entry(b"answer", CertStatus::Good, 10);
        cache.put(&cert_id, newer, Some(&older), absence, || true);
        assert!(cache.disk().unwrap().read(&cert_id).is_none());
    }

    // rule: ANS-6
    #[test]
    fn what_is_not_good_any_more_when_it_is_written_is_not_kept() {
        let folder = tempfile::tempdir().unwrap();
        let cache = cache_in(&folder);
        let entry = || entry(b"answer", CertStatus::Good, 10);
        let spelling = spelling();
        let cert_id = CertId::from_der(&spelling).unwrap();
        let is_there = || cache.disk().unwrap().read(&cert_id).is_some();
        let kept = || (is_there(), cache.get(&cert_id, at(15)).is_some());
        // While it is written, another process finds out.
        cache.put(&cert_id, entry(), None, Basis::Listed, || !is_there());
        assert_eq!(kept(), (false, false));
        let confirmed = entry();
        cache.confirm(&cert_id, &confirmed, (Basis::Listed, at(15)), || !is_there());
        assert!(!is_there() && cache.is_removed(&cert_id, &confirmed));
        cache.put(&cert_id, entry(), None, Basis::Listed, || true);
        assert_eq!(kept(), (true, true));
        // Nor does it take the place of what another one has put there.
        std::fs::write(cache.disk().unwrap().path(&cert_id), b"another").unwrap();
        cache.confirm(&cert_id, &entry(), (Basis::Listed, at(15)), || false);
        let file = cache.disk().unwrap().read(&cert_id);
        assert_eq!(file.map(|file| file.der), Some(b"another".to_vec()));
    }

    // rule: ANS-6
    #[test]
    fn what_another_process_has_seen_later_is_kept_by_nobody_else_as_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let cache = cache_in(&folder);
        let spelling = spelling();
        let cert_id = CertId::from_der(&spelling).unwrap();
        let (now, disk) = (SystemClock.now(), cache.disk().unwrap());
        let revoked = revoked_since(&cert_id, at(1), now);
        let making = cache.begin(&cert_id.serial());
        // While one signs, and while one confirms what it has.
        disk.write(&cert_id, &revoked, now);
        cache.put(&cert_id, good_at(now), None, Basis::Listed, || true);
        assert!(cache.get(&cert_id, now).is_none() && making.is_overtaken(now));
        let making = cache.begin(&cert_id.serial());
        let confirmed = good_at(now);
        cache.memory.put(cert_id.der(), Arc::clone(&confirmed));
        cache.confirm(&cert_id, &confirmed, (Basis::Listed, now), || true);
        assert!(cache.get(&cert_id, now).is_none() && making.is_overtaken(now));
        assert_eq!(disk.read(&cert_id).map(|file| file.der), Some(revoked));
    }

    // rule: ANS-6
    #[test]
    fn what_another_process_keeps_just_before_a_confirmed_answer_gets_its_file_stays() {
        for there_before in [None, Some(10)] {
            let folder = tempfile::tempdir().unwrap();
            let cache = cache_in(&folder);
            let spelling = spelling();
            let cert_id = CertId::from_der(&spelling).unwrap();
            let (now, disk) = (SystemClock.now(), cache.disk().unwrap());
            let [older, newer] = [1, 2].map(|second| revoked_since(&cert_id, at(second), now));
            if let Some(ago) = there_before {
                disk.write(&cert_id, &older, now.saturating_sub(Duration::from_secs(ago)));
            }
            let confirmed = good_at(now);
            cache.memory.put(cert_id.der(), Arc::clone(&confirmed));
            let making = cache.begin(&cert_id.serial());
            let asked = Cell::new(0);
            cache.confirm(&cert_id, &confirmed, (Basis::Listed, now), || {
                if asked.replace(asked.get() + 1) == 0 {
                    disk.write(&cert_id, &newer, now);
                }
                true
            });
            assert_eq!(disk.read(&cert_id).map(|file| file.der), Some(newer));
            assert!(cache.get(&cert_id, now).is_none() && making.is_overtaken(now));
        }
    }
}
