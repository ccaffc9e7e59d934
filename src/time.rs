//! Points in time, whole seconds, UTC; and the one place that asks the system.

use std::fmt;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

/// Seconds since 1970-01-01T00:00:00Z, kept within the years 0001 to 9999
/// that a GeneralizedTime can express (RFC 5280 section 4.1.2.5.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Timestamp(i64);

/// When a status is to be relied upon (RFC 6960 section 2.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    /// The latest instant at which the status was known to be correct.
    pub this_update: Timestamp,
    /// The instant by which newer information will be available.
    pub next_update: Timestamp,
}

/// A calendar date and time of day in UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Civil {
    /// Year, 1 to 9999.
    pub year: u16,
    /// Month, 1 to 12.
    pub month: u8,
    /// Day of the month, 1 to 31.
    pub day: u8,
    /// Hour, 0 to 23.
    pub hour: u8,
    /// Minute, 0 to 59.
    pub minute: u8,
    /// Second, 0 to 59.
    pub second: u8,
    /// Day of the week, 0 (Monday) to 6 (Sunday).
    pub weekday: u8,
}

/// Where the time comes from.
pub trait Clock: Send + Sync {
    /// The present second.
    fn now(&self) -> Timestamp;
}

/// The system's real-time clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

/// A clock that stands still, for tests.
#[derive(Clone, Copy, Debug)]
pub struct FixedClock(pub Timestamp);

impl Timestamp {
    /// 1970-01-01T00:00:00Z.
    pub const EPOCH: Self = Self(0);
    /// The last second of the year 9999, which does not come.
    pub const NEVER: Self = Self(Self::MAX_SECONDS);
    const MIN_SECONDS: i64 = -62_135_596_800; // 0001-01-01T00:00:00Z
    const MAX_SECONDS: i64 = 253_402_300_799; // 9999-12-31T23:59:59Z

    /// Takes seconds since the epoch; what lies outside the years 1 to 9999
    /// becomes the nearest second inside.
    #[must_use]
    pub fn from_unix(seconds: i64) -> Self {
        Self(seconds.clamp(Self::MIN_SECONDS, Self::MAX_SECONDS))
    }

    /// Takes a date and time of day in UTC; `None` when there is no such day
    /// or second.
    #[must_use]
    pub fn from_civil(year: u16, month: u8, day: u8, time: (u8, u8, u8)) -> Option<Self> {
        let month = time::Month::try_from(month).ok()?;
        let date = time::Date::from_calendar_date(i32::from(year), month, day).ok()?;
        let moment = date.with_hms(time.0, time.1, time.2).ok()?.assume_utc();
        (1..=9999).contains(&year).then(|| Self(moment.unix_timestamp()))
    }

    /// Seconds since the epoch.
    #[must_use]
    pub fn unix(self) -> i64 {
        self.0
    }

    /// The calendar's view.
    #[must_use]
    pub fn civil(self) -> Civil {
        // In range by construction, so the fallback is never taken.
        let moment = time::OffsetDateTime::from_unix_timestamp(self.0)
            .unwrap_or(time::OffsetDateTime::UNIX_EPOCH);
        Civil {
            year: u16::try_from(moment.year()).unwrap_or(1970),
            month: moment.month().into(),
            day: moment.day(),
            hour: moment.hour(),
            minute: moment.minute(),
            second: moment.second(),
            weekday: moment.weekday().number_days_from_monday(),
        }
    }

    /// The instant `span` later, in whole seconds.
    #[must_use]
    pub fn saturating_add(self, span: Duration) -> Self {
        Self::from_unix(self.0.saturating_add(seconds(span)))
    }

    /// The instant `span` earlier, in whole seconds.
    #[must_use]
    pub fn saturating_sub(self, span: Duration) -> Self {
        Self::from_unix(self.0.saturating_sub(seconds(span)))
    }

    /// What is left at this instant of a `window` that began at `since`; zero when that
    /// is to come, as the clock went back.
    ///
    /// Both are cut to whole seconds, so that the real time from one to the other never
    /// exceeds `window` while something is left.
    #[must_use]
    pub fn left_of(self, window: Duration, since: Self) -> Duration {
        if self < since {
            return Duration::ZERO;
        }
        window.saturating_sub(self.saturating_since(since))
    }

    /// The time from `earlier` to this instant; zero when it is not earlier.
    #[must_use]
    pub fn saturating_since(self, earlier: Self) -> Duration {
        Duration::from_secs(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }
}

/// As RFC 3339 has it: `2026-11-22T10:00:00Z`.
impl fmt::Display for Timestamp {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Civil { year, month, day, hour, minute, second, .. } = self.civil();
        write!(formatter, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
    }
}

impl Validity {
    /// Whether an answer may be given at `now`: not before `this_update`, and
    /// before `next_update`.
    #[must_use]
    pub fn contains(&self, now: Timestamp) -> bool {
        self.this_update <= now && now < self.next_update
    }

    /// Whether half of it is over.
    #[must_use]
    pub fn is_half_over(&self, now: Timestamp) -> bool {
        let whole = self.next_update.saturating_since(self.this_update);
        now.saturating_since(self.this_update) >= whole / 2
    }
}

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "the one place that asks the system")]
    fn now(&self) -> Timestamp {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        Timestamp::from_unix(since.map_or(0, seconds))
    }
}

/// Milliseconds on a clock that nobody sets.
#[must_use]
pub fn uptime() -> u64 {
    static BEGAN: LazyLock<Instant> = LazyLock::new(Instant::now);
    u64::try_from(BEGAN.elapsed().as_millis()).unwrap_or(u64::MAX)
}

impl Clock for FixedClock {
    fn now(&self) -> Timestamp {
        self.0
    }
}

fn seconds(span: Duration) -> i64 {
    i64::try_from(span.as_secs()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_ends_after_its_length_and_when_the_clock_goes_back() {
        let since = Timestamp::from_unix(1_000);
        let left = |second: i64| {
            let now = Timestamp::from_unix(1_000 + second);
            now.left_of(Duration::from_secs(10), since).as_secs()
        };
        assert_eq!([0, 9, 10, 11, -1].map(left), [10, 1, 0, 0, 0]);
    }

    #[test]
    fn the_calendar_and_the_seconds_agree() {
        let leap = Timestamp::from_civil(2024, 2, 29, (23, 59, 59)).unwrap();
        assert_eq!(leap.to_string(), "2024-02-29T23:59:59Z");
        assert_eq!(leap.civil().weekday, 3);
        assert_eq!(Timestamp::from_civil(2023, 2, 29, (0, 0, 0)), None);
        assert_eq!(Timestamp::from_civil(0, 1, 1, (0, 0, 0)), None);
        assert_eq!(Timestamp::from_unix(i64::MAX).to_string(), "9999-12-31T23:59:59Z");
        assert_eq!(Timestamp::from_unix(i64::MIN).to_string(), "0001-01-01T00:00:00Z");
    }

    #[test]
    fn an_answer_is_valid_up_to_but_not_at_its_next_update() {
        let at = Timestamp::from_unix;
        let validity = Validity { this_update: at(10), next_update: at(20) };
        assert!(!validity.contains(at(9)) && validity.contains(at(10)));
        assert!(validity.contains(at(19)) && !validity.contains(at(20)));
    }
}
