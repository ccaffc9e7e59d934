//! The answers that are being made, so that who sees a row that is not good can tell
//! those who have read it before and wait for their signatures.

use std::cell::Cell;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::serial::Serial;
use crate::time::Timestamp;

/// The answers that are being made with one signer; as many as there are workers at the
/// most.
#[derive(Default)]
pub(super) struct UnderWay(Mutex<Vec<Arc<Note>>>);

/// An answer that is being made, until it is dropped.
pub struct Making<'a> {
    under_way: &'a UnderWay,
    note: Arc<Note>,
    /// When it began, or its row was read once more.
    read: Cell<Instant>,
}

struct Note {
    serial: Serial,
    /// The last second in which somebody has seen that the row is not good.
    overtaken: AtomicI64,
}

impl UnderWay {
    /// Before the row is read.
    pub(super) fn begin(&self, serial: Serial) -> Making<'_> {
        let note = Arc::new(Note { serial, overtaken: AtomicI64::new(i64::MIN) });
        self.notes().push(Arc::clone(&note));
        Making { under_way: self, note, read: Cell::new(Instant::now()) }
    }

    /// Before what is kept about the certificate is removed.
    pub(super) fn overtake(&self, serial: &Serial, at: Timestamp) {
        for note in self.notes().iter().filter(|note| note.serial == *serial) {
            note.overtaken.fetch_max(at.unix(), Ordering::AcqRel);
        }
    }

    fn notes(&self) -> MutexGuard<'_, Vec<Arc<Note>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Making<'_> {
    /// How long ago it began, before which its row was not read, or the row was read once more.
    #[must_use]
    pub fn since_reading(&self) -> Duration {
        self.read.get().elapsed()
    }

    /// The row has been read once more.
    pub fn note_reading(&self) {
        self.read.set(Instant::now());
    }

    /// Whether somebody has seen since it began that the row is not good, and not before
    /// `confirmed`, when it was.
    #[must_use]
    pub fn is_overtaken(&self, confirmed: Timestamp) -> bool {
        self.note.overtaken.load(Ordering::Acquire) >= confirmed.unix()
    }
}

impl Drop for Making<'_> {
    fn drop(&mut self) {
        self.under_way.notes().retain(|note| !Arc::ptr_eq(note, &self.note));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_who_make_an_answer_about_the_certificate_are_told_until_they_are_done() {
        let under_way = UnderWay::default();
        let [serial, other] = ["0a", "0b"].map(|hex| Serial::from_hex(hex).unwrap());
        let making = [serial, other, serial, serial].map(|serial| under_way.begin(serial));
        let [first, of_another, second, done] = making;
        drop(done);
        assert_eq!(under_way.notes().len(), 3);
        let at = Timestamp::from_unix;
        under_way.overtake(&serial, at(9));
        let later = under_way.begin(serial);
        let overtaken = |confirmed| {
            [&first, &of_another, &second, &later].map(|making| making.is_overtaken(confirmed))
        };
        assert_eq!(overtaken(at(9)), [true, false, true, false]);
        assert_eq!(overtaken(at(10)), [false; 4]);
        under_way.overtake(&serial, at(8));
        assert!(first.is_overtaken(at(9)), "what was seen stays");
        drop((first, of_another, second, later));
        assert!(under_way.notes().is_empty());
    }
}
