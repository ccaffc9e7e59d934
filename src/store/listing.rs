//! The certificates of a file in memory, sorted by serial number.
//!
//! Pure. 56 octets each, so that a million of them fit, and are found in 20 steps.

use crate::serial::Serial;
use crate::status::RevocationReason;
use crate::time::Timestamp;

/// What a file says of each serial number that it has.
#[derive(Debug, Default)]
pub(super) struct Listing(Vec<(Serial, Said)>);

/// What a file says of one serial number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Said {
    Good,
    /// When, or 1970 where that cannot be read; and why.
    Revoked(Timestamp, Option<RevocationReason>),
    /// Nothing that can be understood.
    Nonsense,
}

impl Listing {
    /// Of several entries for one serial, a revoked one counts, then one that makes no
    /// sense: `Good` hides neither.
    pub(super) fn new(mut entries: Vec<(Serial, Said)>) -> Self {
        entries.sort_unstable_by_key(|(serial, _)| *serial);
        entries.dedup_by(|later, kept| {
            let is_same = later.0 == kept.0;
            if is_same {
                kept.1 = kept.1.and(later.1);
            }
            is_same
        });
        entries.shrink_to_fit();
        Self(entries)
    }

    pub(super) fn find(&self, serial: &Serial) -> Option<Said> {
        let place = self.0.binary_search_by_key(serial, |(serial, _)| *serial).ok()?;
        self.0.get(place).map(|(_, said)| *said)
    }

    /// The serials from a place on, in order.
    pub(super) fn serials(&self, from: usize) -> impl Iterator<Item = &Serial> {
        self.0.iter().skip(from).map(|(serial, _)| serial)
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}

impl Said {
    /// What two entries for one serial say together; of two revocations, the earlier.
    fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Revoked(one, reason), Self::Revoked(another, other_reason)) => {
                let unknown = Timestamp::EPOCH;
                let is_first = another == unknown || (one != unknown && one <= another);
                let (time, first, second) = match is_first {
                    true => (one, reason, other_reason),
                    false => (another, other_reason, reason),
                };
                Self::Revoked(time, first.or(second))
            }
            (revoked @ Self::Revoked(..), _) | (_, revoked @ Self::Revoked(..)) => revoked,
            (Self::Nonsense, _) | (_, Self::Nonsense) => Self::Nonsense,
            (Self::Good, Self::Good) => Self::Good,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn serial(octet: u8) -> Serial {
        Serial::from_be_bytes(&[octet]).unwrap()
    }

    #[test]
    fn every_serial_is_found_and_no_other() {
        let entries = (0..=250).rev().step_by(2).map(|octet| (serial(octet), Said::Good));
        let listing = Listing::new(entries.collect());
        for octet in 0..=255 {
            let expected = (octet % 2 == 0 && octet <= 250).then_some(Said::Good);
            assert_eq!(listing.find(&serial(octet)), expected, "{octet}");
        }
        assert!(size_of::<(Serial, Said)>() <= 56);
    }

    // rule: ANS-1
    #[test]
    fn of_several_entries_for_one_serial_revoked_counts_and_nonsense_is_never_good() {
        let at = Timestamp::from_unix;
        let superseded = Some(RevocationReason::Superseded);
        let revoked = |time: i64| Said::Revoked(at(time), None);
        for (entries, expected) in [
            ([Said::Good, revoked(5)], revoked(5)),
            ([Said::Nonsense, revoked(5)], revoked(5)),
            ([Said::Good, Said::Nonsense], Said::Nonsense),
            ([Said::Revoked(at(9), superseded), revoked(5)], Said::Revoked(at(5), superseded)),
            ([revoked(0), revoked(5)], revoked(5)),
        ] {
            for order in [entries, [entries[1], entries[0]]] {
                let listing = Listing::new(order.map(|said| (serial(7), said)).to_vec());
                assert_eq!((listing.find(&serial(7)), listing.len()), (Some(expected), 1));
            }
        }
    }
}
