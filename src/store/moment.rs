//! When a row says that a certificate was revoked, in the forms that tables have for it.
//!
//! Pure.

use std::fmt;

use crate::store::mapping::TimeZone;
use crate::time::Timestamp;

/// A `revocation_time` in the types that databases have for it.
#[derive(Clone, Debug)]
pub(super) enum Moment {
    Null,
    /// A DATETIME in the zone of the table: year, month, day; hour, minute, second.
    Civil((u16, u8, u8), (u8, u8, u8)),
    /// A TIMESTAMP, which the server tells in UTC.
    Utc((u16, u8, u8), (u8, u8, u8)),
    /// Seconds since the epoch.
    Unix(i64),
    Text(String),
    /// A type that holds no time; its name.
    Other(&'static str),
}

impl Moment {
    /// The instant, in whole seconds; `None` when it is none.
    pub(super) fn timestamp(&self, zone: TimeZone) -> Option<Timestamp> {
        let civil = |(year, month, day), time| Timestamp::from_civil(year, month, day, time);
        match self {
            Self::Civil(day, time) => civil(*day, *time).map(|local| zone.to_utc(local)),
            Self::Utc(day, time) => civil(*day, *time),
            Self::Unix(seconds) => Some(Timestamp::from_unix(*seconds)),
            Self::Text(text) => parse(text.trim(), zone),
            Self::Null | Self::Other(_) => None,
        }
    }

    /// Whether it is what stands for no time, also where the column may not be NULL.
    pub(super) fn is_nothing(&self) -> bool {
        match self {
            Self::Null | Self::Unix(-1..=0) => true,
            Self::Civil((year, ..), _) | Self::Utc((year, ..), _) => *year == 0,
            Self::Text(text) => text.trim().is_empty() || text.starts_with("0000-"),
            Self::Unix(_) | Self::Other(_) => false,
        }
    }
}

impl fmt::Display for Moment {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => formatter.write_str("NULL"),
            Self::Civil((year, month, day), _) | Self::Utc((year, month, day), _) => {
                write!(formatter, "{year:04}-{month:02}-{day:02}")
            }
            Self::Unix(seconds) => write!(formatter, "{seconds}"),
            Self::Text(text) => write!(formatter, "{text:?}"),
            Self::Other(name) => write!(formatter, "of type {name}"),
        }
    }
}

impl TimeZone {
    fn to_utc(self, local: Timestamp) -> Timestamp {
        Timestamp::from_unix(local.unix() - i64::from(self.minutes) * 60)
    }
}

/// `YYYY-MM-DD HH:MM:SS`, or with a `T`; then a fraction, which is dropped, and
/// a `Z`, if any: without it, in the zone of the table. Or the digits of whole seconds
/// since the epoch.
fn parse(text: &str, zone: TimeZone) -> Option<Timestamp> {
    if let Ok(seconds) = text.parse() {
        return Some(Timestamp::from_unix(seconds));
    }
    let (moment, rest) = text.split_at_checked("YYYY-MM-DD HH:MM:SS".len())?;
    let bytes = moment.as_bytes();
    for (place, allowed) in [(4, "-"), (7, "-"), (10, " T"), (13, ":"), (16, ":")] {
        bytes.get(place).filter(|byte| allowed.contains(char::from(**byte)))?;
    }
    let number = |range: std::ops::Range<usize>| {
        let digits = moment.get(range)?;
        digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse::<u16>().ok())?
    };
    let small = |start: usize| u8::try_from(number(start..start + 2)?).ok();
    let (rest, zone) = match rest.strip_suffix('Z') {
        Some(rest) => (rest, TimeZone::default()),
        None => (rest, zone),
    };
    let fraction = rest.strip_prefix('.').unwrap_or(rest);
    if fraction.bytes().any(|byte| !byte.is_ascii_digit()) || (rest == fraction && !rest.is_empty())
    {
        return None;
    }
    let time = (small(11)?, small(14)?, small(17)?);
    Timestamp::from_civil(number(0..4)?, small(5)?, small(8)?, time).map(|local| zone.to_utc(local))
}
