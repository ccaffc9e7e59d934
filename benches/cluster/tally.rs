//! Counts of what came of the questions, and times.

use std::time::Duration;

use crate::question::Outcome;
use crate::truth::Status;

/// What a question was for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Asked again and again, without a nonce.
    Repeat,
    /// Not asked before, or with a nonce: the row must be read.
    New,
}

/// Of one phase and kind.
#[derive(Clone, Default)]
pub struct Tally {
    good: usize,
    revoked: usize,
    unknown: usize,
    try_later: usize,
    refused: usize,
    http: usize,
    nothing: usize,
    wrong: Vec<String>,
    took: Vec<Duration>,
}

impl Tally {
    pub fn add(&mut self, outcome: Outcome, took: Duration) {
        self.took.push(took);
        match outcome {
            Outcome::Said(Status::Good) => self.good += 1,
            Outcome::Said(Status::Revoked) => self.revoked += 1,
            Outcome::Said(Status::Unknown) => self.unknown += 1,
            Outcome::TryLater => self.try_later += 1,
            Outcome::Refused => self.refused += 1,
            Outcome::Http => self.http += 1,
            Outcome::Nothing => self.nothing += 1,
            Outcome::Wrong(problem) => self.wrong.push(problem),
        }
    }

    pub fn merge(&mut self, other: Self) {
        self.good += other.good;
        self.revoked += other.revoked;
        self.unknown += other.unknown;
        self.try_later += other.try_later;
        self.refused += other.refused;
        self.http += other.http;
        self.nothing += other.nothing;
        self.wrong.extend(other.wrong);
        self.took.extend(other.took);
    }

    pub fn wrong(&self) -> &[String] {
        &self.wrong
    }

    /// Questions that got no status, or a wrong one.
    pub fn failed(&self) -> usize {
        self.try_later + self.refused + self.http + self.nothing + self.wrong.len()
    }

    pub fn try_later(&self) -> usize {
        self.try_later
    }

    /// A row of [`HEADER`], but for its first two cells.
    pub fn row(&mut self) -> String {
        self.took.sort_unstable();
        let counts = [
            self.took.len(),
            self.good,
            self.revoked,
            self.unknown,
            self.try_later,
            self.refused,
            self.http,
            self.nothing,
            self.wrong.len(),
        ];
        let counts = counts.map(|count| count.to_string()).join(" | ");
        let last = self.took.len().saturating_sub(1);
        let places = [last / 2, last * 99 / 100, last];
        let times = places.map(|place| self.took.get(place).copied().unwrap_or_default());
        let times = times.map(|took| format!("{:.1}", took.as_secs_f64() * 1000.0)).join(" | ");
        format!("{counts} | {times}")
    }
}

pub const HEADER: &str = "\
| phase | questions | asked | good | revoked | unknown | tryLater | other errors | HTTP errors | no \
connection | wrong | p50 ms | p99 ms | max ms |
| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |";
