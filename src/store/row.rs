//! Rows of the status table to a [`CertRecord`], and the keys they are found by.
//!
//! Pure, and shared by both stores. A row that says Revoked is believed
//! whatever else is wrong with it; a row that says Valid never hides one that
//! says Revoked or one that says neither.

use std::fmt;
use std::time::Instant;

use crate::logging::{Trouble, quoted};
use crate::serial::Serial;
use crate::status::{CertRecord, CertStatus, RevocationReason};
use crate::store::StoreError;
use crate::time::Timestamp;

/// The columns of one row, as the database gave them.
#[derive(Clone, Debug)]
pub(super) struct Columns {
    pub cert_num: String,
    pub status: Option<String>,
    pub revocation_time: Moment,
    pub revocation_reason: Option<String>,
}

/// A `revocation_time` in the types that databases have for it; always UTC.
#[derive(Clone, Debug)]
pub(super) enum Moment {
    Null,
    /// A DATETIME: year, month, day; hour, minute, second.
    Civil((u16, u8, u8), (u8, u8, u8)),
    /// Seconds since the epoch.
    Unix(i64),
    Text(String),
    /// A type that holds no time; its name.
    Other(&'static str),
}

/// What the rows of one serial say.
#[derive(Debug)]
pub(super) struct Reading {
    pub record: Option<CertRecord>,
    /// What somebody should mend although there is an answer, each with its key.
    pub oddities: Vec<Oddity>,
}

/// Something in a row that should not be there, or is missing.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Oddity {
    pub key: String,
    pub problem: String,
}

/// Logs the first of some oddities, at most once a minute.
pub(super) fn report(oddities: &[Oddity], trouble: &Trouble, now: Instant) {
    if let Some(Oddity { key, problem }) = oddities.first() {
        let (key, problem) = (quoted(key), quoted(problem));
        trouble
            .begin(now, format_args!("odd row in the status table: key={key} problem={problem}"));
    }
}

/// Reads the rows found for `serial`; none of them: it was never issued.
///
/// # Errors
///
/// [`StoreError::BadRow`] when a row is neither Valid nor Revoked, or is not
/// of this serial, and no other row says Revoked.
pub(super) fn read(serial: &Serial, rows: &[Columns]) -> Result<Reading, StoreError> {
    let mut oddities = Vec::new();
    let mut bad = None;
    let mut good = false;
    let mut revoked: Vec<(Option<Timestamp>, Option<RevocationReason>)> = Vec::new();
    for row in rows {
        match kind(serial, row) {
            Ok(Kind::Revoked) => revoked.push(revocation(row, &mut oddities)),
            Ok(Kind::Valid) => {
                good = true;
                check_valid(row, &mut oddities);
            }
            Err(problem) => bad = Some((row.cert_num.clone(), problem)),
        }
    }
    if let [first, .., last] = rows {
        let problem = format!("{} is the same serial number", last.cert_num);
        oddities.push(Oddity { key: first.cert_num.clone(), problem });
    }
    if !revoked.is_empty() {
        oddities.extend(bad.map(|(key, problem)| Oddity { key, problem }));
        return Ok(Reading { record: Some(CertRecord { status: earliest(&revoked) }), oddities });
    }
    match bad {
        Some((key, problem)) => Err(StoreError::BadRow { key, problem }),
        None => {
            let record = good.then_some(CertRecord { status: CertStatus::Good });
            Ok(Reading { record, oddities })
        }
    }
}

/// The keys under which the row of `serial` may be stored, for the four
/// parameters of the statement: minimal hexadecimal (`0xa1b`), whole octets
/// (`0x0a1b`), or the octets of the DER INTEGER (`0x00ff`); in lower and upper
/// case, because the column may be case sensitive. Unused ones repeat.
pub(super) fn keys(serial: &Serial) -> [String; 4] {
    let octets = serial.to_hex();
    // At most one of the two differs from whole octets: a first octet with its
    // high bit set has no leading zero digit.
    let other = match octets.strip_prefix('0') {
        Some(minimal) => format!("0x{minimal}"),
        None if octets.starts_with(|digit: char| digit > '7') => format!("0x00{octets}"),
        None => format!("0x{octets}"),
    };
    let octets = format!("0x{octets}");
    let upper = |key: &str| key.to_ascii_uppercase().replacen('X', "x", 1);
    [upper(&octets), upper(&other), octets, other]
}

/// The key under which a new row is stored: whole octets, lower case.
pub(super) fn key(serial: &Serial) -> String {
    format!("0x{serial}")
}

/// The value of the `status` column.
pub(super) enum Kind {
    Valid,
    Revoked,
}

impl Kind {
    pub(super) fn column_name(&self) -> &'static str {
        match self {
            Self::Valid => "Valid",
            Self::Revoked => "Revoked",
        }
    }
}

impl fmt::Display for Oddity {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "row {}: {}", self.key, self.problem)
    }
}

/// What the row says, or why it says nothing.
fn kind(serial: &Serial, row: &Columns) -> Result<Kind, String> {
    // A collation may find more than was asked for: the row must be this one.
    if Serial::from_hex(row.cert_num.trim_end()) != Ok(*serial) {
        return Err(format!("cert_num is not the serial number asked for, 0x{serial}"));
    }
    let status = row.status.as_deref().ok_or("status is NULL, must be Valid or Revoked")?;
    [Kind::Valid, Kind::Revoked]
        .into_iter()
        .find(|kind| kind.column_name().eq_ignore_ascii_case(status))
        .ok_or_else(|| format!("status is {status:?}, must be Valid or Revoked"))
}

fn check_valid(row: &Columns, oddities: &mut Vec<Oddity>) {
    if !matches!(row.revocation_time, Moment::Null) || row.revocation_reason.is_some() {
        let problem = "Valid with a revocation_time or revocation_reason, which must be NULL";
        oddities.push(Oddity { key: row.cert_num.clone(), problem: problem.into() });
    }
}

/// Time and reason of a row that says Revoked; `None` where they are no good.
fn revocation(
    row: &Columns,
    oddities: &mut Vec<Oddity>,
) -> (Option<Timestamp>, Option<RevocationReason>) {
    let mut odd = |problem| oddities.push(Oddity { key: row.cert_num.clone(), problem });
    let time = row.revocation_time.timestamp();
    if time.is_none() {
        odd(format!("revocation_time is {}, must be a time in UTC", row.revocation_time));
    }
    let Some(name) = row.revocation_reason.as_deref() else { return (time, None) };
    let reason = RevocationReason::from_column_name(name);
    if reason.is_none() && !name.eq_ignore_ascii_case("unspecified") {
        odd(format!("revocation_reason is {name:?}, which is not known"));
    }
    (time, reason)
}

/// The earliest known time, 1970 without any; the reason that goes with it, or
/// that of another row.
fn earliest(rows: &[(Option<Timestamp>, Option<RevocationReason>)]) -> CertStatus {
    let first = rows.iter().min_by_key(|(time, _)| (time.is_none(), *time)).copied();
    let (time, reason) = first.unwrap_or_default();
    CertStatus::Revoked {
        time: time.unwrap_or(Timestamp::EPOCH),
        reason: reason.or_else(|| rows.iter().find_map(|(_, reason)| *reason)),
    }
}

impl Moment {
    /// The instant, in whole seconds; `None` when it is none.
    fn timestamp(&self) -> Option<Timestamp> {
        match self {
            Self::Civil((year, month, day), time) => {
                Timestamp::from_civil(*year, *month, *day, *time)
            }
            Self::Unix(seconds) => Some(Timestamp::from_unix(*seconds)),
            Self::Text(text) => parse(text.trim()),
            Self::Null | Self::Other(_) => None,
        }
    }
}

impl fmt::Display for Moment {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => formatter.write_str("NULL"),
            Self::Civil((year, month, day), _) => {
                write!(formatter, "{year:04}-{month:02}-{day:02}")
            }
            Self::Unix(seconds) => write!(formatter, "{seconds}"),
            Self::Text(text) => write!(formatter, "{text:?}"),
            Self::Other(name) => write!(formatter, "of type {name}"),
        }
    }
}

/// `YYYY-MM-DD HH:MM:SS`, or with a `T`; then a fraction, which is dropped, and
/// a `Z`, if any. Or the digits of whole seconds since the epoch.
fn parse(text: &str) -> Option<Timestamp> {
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
    let rest = rest.strip_suffix('Z').unwrap_or(rest);
    let fraction = rest.strip_prefix('.').unwrap_or(rest);
    if fraction.bytes().any(|byte| !byte.is_ascii_digit()) || (rest == fraction && !rest.is_empty())
    {
        return None;
    }
    Timestamp::from_civil(number(0..4)?, small(5)?, small(8)?, (small(11)?, small(14)?, small(17)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn serial() -> Serial {
        Serial::from_hex("a1b").unwrap()
    }

    fn row(status: &str, time: Moment, reason: Option<&str>) -> Columns {
        Columns {
            cert_num: "0x0a1b".into(),
            status: Some(status.into()),
            revocation_time: time,
            revocation_reason: reason.map(Into::into),
        }
    }

    fn revoked(time: &str, reason: Option<&str>) -> Columns {
        row("Revoked", Moment::Text(time.into()), reason)
    }

    fn status(rows: &[Columns]) -> (CertStatus, usize) {
        let reading = read(&serial(), rows).unwrap();
        (reading.record.unwrap().status, reading.oddities.len())
    }

    fn at(time: i64, reason: Option<RevocationReason>) -> CertStatus {
        CertStatus::Revoked { time: Timestamp::from_unix(time), reason }
    }

    #[test]
    fn every_spelling_of_a_serial_is_a_key() {
        let keys = |hex| {
            let mut keys = keys(&Serial::from_hex(hex).unwrap()).to_vec();
            keys.sort();
            keys.dedup();
            keys
        };
        assert_eq!(keys("0a1b"), ["0x0A1B", "0x0a1b", "0xA1B", "0xa1b"]);
        assert_eq!(keys("ff01"), ["0x00FF01", "0x00ff01", "0xFF01", "0xff01"]);
        assert_eq!(keys("7f"), ["0x7F", "0x7f"]);
        assert_eq!(keys("1234"), ["0x1234"]);
        assert_eq!(keys("80"), ["0x0080", "0x80"]);
        assert_eq!(keys("00"), ["0x0", "0x00"]);
    }

    #[test]
    fn a_status_is_valid_or_revoked_in_any_case_and_nothing_else() {
        assert_eq!(status(&[row("vALID", Moment::Null, None)]), (CertStatus::Good, 0));
        assert_eq!(status(&[row("REVOKED", Moment::Unix(5), None)]), (at(5, None), 0));
        for other in ["", "valid ", "expired", "1"] {
            let error = read(&serial(), &[row(other, Moment::Null, None)]).unwrap_err();
            assert!(matches!(error, StoreError::BadRow { .. }), "{other:?}");
        }
        let null = Columns { status: None, ..row("", Moment::Null, None) };
        let error = read(&serial(), &[null]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "row 0x0a1b of the status store: status is NULL, must be Valid or Revoked"
        );
        assert!(read(&serial(), &[]).unwrap().record.is_none());
    }

    // rule: ANS-2
    #[test]
    fn a_revoked_row_without_a_usable_time_or_reason_is_revoked_and_reported() {
        let zero = Moment::Civil((0, 0, 0), (0, 0, 0));
        assert_eq!(status(&[row("Revoked", Moment::Null, None)]), (at(0, None), 1));
        assert_eq!(status(&[row("Revoked", zero, Some("lost"))]), (at(0, None), 2));
        assert_eq!(status(&[row("Revoked", Moment::Other("a REAL"), Some(""))]), (at(0, None), 2));
        assert_eq!(status(&[row("Revoked", Moment::Unix(9), Some("unspecified"))]).1, 0);
    }

    #[test]
    fn a_valid_row_with_a_time_or_reason_is_good_and_reported() {
        let reason = Some("superseded");
        assert_eq!(status(&[row("Valid", Moment::Unix(1), None)]), (CertStatus::Good, 1));
        assert_eq!(status(&[row("Valid", Moment::Null, reason)]), (CertStatus::Good, 1));
    }

    // rule: ANS-1
    #[test]
    fn among_rows_of_one_serial_revoked_wins_and_a_broken_one_is_never_good() {
        let valid = || row("Valid", Moment::Null, None);
        let broken = || row("?", Moment::Null, None);
        let early = || row("Revoked", Moment::Unix(10), None);
        let late = || row("Revoked", Moment::Unix(20), Some("superseded"));
        let superseded = Some(RevocationReason::Superseded);
        assert_eq!(status(&[valid(), late()]), (at(20, superseded), 1));
        assert_eq!(status(&[late(), early()]), (at(10, superseded), 1));
        assert_eq!(status(&[broken(), early()]), (at(10, None), 2));
        assert_eq!(status(&[row("Revoked", Moment::Null, None), late()]).0, at(20, superseded));
        assert_eq!(status(&[valid(), valid()]), (CertStatus::Good, 1));
        for rows in [[valid(), broken()], [broken(), valid()]] {
            assert!(read(&serial(), &rows).is_err());
        }
    }

    // rule: ANS-1
    #[test]
    fn a_row_of_another_serial_is_no_answer() {
        let other = Columns { cert_num: "0xa1c".into(), ..row("Valid", Moment::Null, None) };
        assert!(read(&serial(), &[other]).is_err());
        let padded = Columns { cert_num: "0xA1B ".into(), ..row("Valid", Moment::Null, None) };
        assert_eq!(status(&[padded]).0, CertStatus::Good);
    }

    #[test]
    fn times_are_read_in_every_documented_form_and_no_other() {
        for text in [
            "2026-11-22 10:00:00",
            "2026-11-22T10:00:00Z",
            "2026-11-22 10:00:00.999",
            "2026-11-22T10:00:00.5Z",
            "1795341600",
        ] {
            assert_eq!(status(&[revoked(text, None)]), (at(1_795_341_600, None), 0), "{text}");
        }
        for text in [
            "",
            "2026-11-22",
            "2026-02-30 10:00:00",
            "2026-11-22 10:00:00+01:00",
            "2026-11-22 10:00:0é",
            "2026-11-22 10:00:005",
            "0000-00-00 00:00:00",
            "+026-11-22 10:00:00",
        ] {
            assert_eq!(status(&[revoked(text, None)]), (at(0, None), 1), "{text}");
        }
    }
}
