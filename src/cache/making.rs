//! The answers that are being made, so that who sees a row that is not good can tell
//! those who have read it before and wait for their signatures.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::serial::Serial;

/// The answers that are being made with one signer; as many as there are workers at the
/// most.
#[derive(Default)]
pub(super) struct UnderWay(Mutex<Vec<Arc<Note>>>);

/// An answer that is being made, until it is dropped.
pub struct Making<'a> {
    under_way: &'a UnderWay,
    note: Arc<Note>,
}

struct Note {
    serial: Serial,
    overtaken: AtomicBool,
}

impl UnderWay {
    /// Before the row is read.
    pub(super) fn begin(&self, serial: Serial) -> Making<'_> {
        let note = Arc::new(Note { serial, overtaken: AtomicBool::new(false) });
        self.notes().push(Arc::clone(&note));
        Making { under_way: self, note }
    }

    /// Before what is kept about the certificate is removed.
    pub(super) fn overtake(&self, serial: &Serial) {
        for note in self.notes().iter().filter(|note| note.serial == *serial) {
            note.overtaken.store(true, Ordering::Release);
        }
    }

    fn notes(&self) -> MutexGuard<'_, Vec<Arc<Note>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Making<'_> {
    /// Whether somebody has seen since it began that the row is not good.
    #[must_use]
    pub fn is_overtaken(&self) -> bool {
        self.note.overtaken.load(Ordering::Acquire)
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
        under_way.overtake(&serial);
        let later = under_way.begin(serial);
        let overtaken = [first, of_another, second, later].map(|making| making.is_overtaken());
        assert_eq!(overtaken, [true, false, true, false]);
        assert!(under_way.notes().is_empty());
    }
}
