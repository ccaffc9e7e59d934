//! Which certificates are to have an answer ahead of time: a choice by their dates.

use std::time::Duration;

use crate::signer::certificate;
use crate::store::{Dates, Wanted};
use crate::time::Timestamp;

/// Which certificates, by their dates: those that all of it is true of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Choice {
    /// Not longer ago than this.
    pub issued_within: Option<Duration>,
    /// Not later than in this time, and not before now.
    pub ends_within: Option<Duration>,
    /// Those that have ended.
    pub ended: Ended,
}

/// What is done about certificates that have ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Ended {
    /// The same as about the others.
    #[default]
    Included,
    /// Nothing.
    LeftOut,
}

impl Choice {
    /// What a store must tell of each certificate.
    #[must_use]
    pub fn wanted(&self) -> Wanted {
        match (self.issued_within, self.ends_within, self.ended) {
            (Some(_), ..) => Wanted::BothEnds,
            (None, None, Ended::Included) => Wanted::Serials,
            (None, ..) => Wanted::End,
        }
    }

    /// Whether a certificate is one of these at `now`. `None`: its dates cannot be told.
    #[must_use]
    pub fn includes(&self, dates: &Dates, now: Timestamp) -> Option<bool> {
        let (begins, ends) = match (dates, self.wanted()) {
            (_, Wanted::Serials) => return Some(true),
            (Dates::Ends(ends), Wanted::End) => (None, *ends),
            (Dates::Certificate(octets), _) => {
                let (begins, ends) = certificate::lifetime(octets)?;
                (Some(begins), ends)
            }
            _ => return None,
        };
        let is_recent = |within| {
            begins.is_some_and(|begins| begins >= now.saturating_sub(within) && begins <= now)
        };
        let is_ending = |within| now <= ends && ends <= now.saturating_add(within);
        Some(
            self.issued_within.is_none_or(is_recent)
                && self.ends_within.is_none_or(is_ending)
                && (self.ended == Ended::Included || now <= ends),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_secs(86_400);

    fn at(day: i64) -> Timestamp {
        Timestamp::from_unix(day * 86_400)
    }

    #[test]
    fn a_certificate_is_chosen_by_when_it_ends() {
        let includes = |choice: Choice, ends: i64| choice.includes(&Dates::Ends(at(ends)), at(100));
        let ending = Choice { ends_within: Some(7 * DAY), ..Choice::default() };
        for (ends, expected) in [(99, false), (100, true), (107, true), (108, false)] {
            assert_eq!(includes(ending, ends), Some(expected), "{ends}");
        }
        let unexpired = Choice { ended: Ended::LeftOut, ..Choice::default() };
        for (ends, expected) in [(99, false), (100, true), (9_000, true)] {
            assert_eq!(includes(unexpired, ends), Some(expected), "{ends}");
        }
        assert_eq!(includes(Choice::default(), 1), Some(true));
    }

    #[test]
    fn dates_that_cannot_be_told_choose_nothing_unless_none_are_asked_for() {
        let recent = Choice { issued_within: Some(DAY), ..Choice::default() };
        let ending = Choice { ends_within: Some(DAY), ..Choice::default() };
        let garbage = || Dates::Certificate(b"PEM".to_vec());
        for choice in [recent, ending] {
            for dates in [Dates::Untold, garbage(), Dates::Certificate(Vec::new())] {
                assert_eq!(choice.includes(&dates, at(100)), None, "{dates:?}");
            }
            assert_eq!(Choice::default().includes(&garbage(), at(100)), Some(true));
        }
        assert_eq!(recent.includes(&Dates::Ends(at(100)), at(100)), None);
        assert!(Choice::default().wanted() < ending.wanted() && ending.wanted() < recent.wanted());
    }
}
