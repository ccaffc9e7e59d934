//! Rows of a status table to a [`CertRecord`].
//!
//! Pure, the log apart, and shared by the stores that read tables. A row that says
//! Revoked is believed whatever else is wrong with it; a row that says Valid never hides
//! one that says Revoked or one that says neither.

use trouble::Trouble;

use crate::logging::quoted;
use crate::serial::Serial;
use crate::status::{CertRecord, CertStatus, RevocationReason};
use crate::store::StoreError;
use crate::store::mapping::Mapping;
use crate::store::moment::Moment;
use crate::time::Timestamp;

/// The columns of one row, as the database gave them.
#[derive(Clone, Debug)]
pub(super) struct Row {
    /// Text, octets, or the digits of a number.
    pub serial: Vec<u8>,
    pub status: Option<String>,
    pub revocation_time: Moment,
    pub revocation_reason: Option<String>,
    pub issuer: Option<String>,
}

/// What the rows of one serial say.
#[derive(Debug)]
pub(super) struct Reading {
    record: Option<CertRecord>,
    /// What somebody should mend although there is an answer, each with its key.
    oddities: Vec<Oddity>,
}

/// Something in a row that should not be there, or is missing.
#[derive(Debug)]
struct Oddity {
    key: String,
    problem: String,
}

impl Reading {
    /// The record. The first of the oddities is logged, at most once a minute.
    pub(super) fn reported(self, trouble: &Trouble) -> Option<CertRecord> {
        if let Some(Oddity { key, problem }) = self.oddities.first() {
            let (key, problem) = (quoted(key), quoted(problem));
            trouble.begin(format_args!("odd row in the status table: key={key} problem={problem}"));
        }
        self.record
    }
}

/// Reads the rows found for `serial`; none of them: it was never issued.
///
/// # Errors
///
/// [`StoreError::BadRow`] when a row is neither Valid nor Revoked, or is not
/// of this serial, and no other row says Revoked.
pub(super) fn read(
    mapping: &Mapping,
    serial: &Serial,
    rows: &[Row],
) -> Result<Reading, StoreError> {
    let mut oddities = Vec::new();
    let mut bad = None;
    let mut good = false;
    let mut revoked: Vec<(Option<Timestamp>, Option<RevocationReason>)> = Vec::new();
    for row in rows {
        let mut odd = |problem| oddities.push(Oddity { key: mapping.shown(&row.serial), problem });
        match kind(mapping, serial, row) {
            Ok(Kind::Revoked) => revoked.push(revocation(mapping, row, odd)),
            Ok(Kind::Valid) => {
                good = true;
                check_valid(mapping, row).into_iter().for_each(&mut odd);
            }
            Err(problem) => bad = Some((mapping.shown(&row.serial), problem)),
        }
    }
    if let [first, .., last] = rows {
        let problem = format!("{} is the same serial number", mapping.shown(&last.serial));
        oddities.push(Oddity { key: mapping.shown(&first.serial), problem });
    }
    if !revoked.is_empty() {
        oddities.extend(bad.map(|(key, problem)| Oddity { key, problem }));
        return Ok(Reading { record: Some(CertRecord::listed(earliest(&revoked))), oddities });
    }
    match bad {
        Some((key, problem)) => Err(StoreError::BadRow { key, problem }),
        None => {
            let record = good.then_some(CertRecord::listed(CertStatus::Good));
            Ok(Reading { record, oddities })
        }
    }
}

/// Reads the rows found for several serials, each as [`read`] does. `None`: a row is of
/// none of them.
pub(super) fn read_many(
    mapping: &Mapping,
    serials: &[Serial],
    rows: Vec<Row>,
) -> Option<Vec<Result<Reading, StoreError>>> {
    let groups = mapping.grouped(serials, rows)?;
    let of = |serial| groups.get(serial).map_or(&[][..], Vec::as_slice);
    Some(serials.iter().map(|serial| read(mapping, serial, of(serial))).collect())
}

/// The key under which a new row is stored: whole octets, lower case.
pub(super) fn key(serial: &Serial) -> String {
    format!("0x{serial}")
}

/// What a row says of its certificate.
enum Kind {
    Valid,
    Revoked,
}

/// What the row says, or why it says nothing.
fn kind(mapping: &Mapping, serial: &Serial, row: &Row) -> Result<Kind, String> {
    let columns = &mapping.columns;
    // A collation may find more than was asked for: the row must be this one.
    if mapping.read_serial(&row.serial) != Some(*serial) {
        return Err(format!("{} is not the serial number asked for, 0x{serial}", columns.serial));
    }
    if let Some(column) = &columns.issuer {
        let wanted = mapping.issuer.as_deref().unwrap_or_default();
        let found = row.issuer.as_deref().unwrap_or_default();
        if !is_word(found, wanted) {
            return Err(format!("{column} is {found:?}, not the issuer asked for, {wanted:?}"));
        }
    }
    let Some(column) = &columns.status else {
        return Ok(match row.revocation_time {
            Moment::Null => Kind::Valid,
            _ => Kind::Revoked,
        });
    };
    let words = || [&mapping.good[..], &mapping.revoked].concat().join(" or ");
    let Some(status) = row.status.as_deref() else {
        return Err(format!("{column} is NULL, must be {}", words()));
    };
    let is_among = |words: &[String]| words.iter().any(|word| word.eq_ignore_ascii_case(status));
    match (is_among(&mapping.revoked), is_among(&mapping.good)) {
        (true, _) => Ok(Kind::Revoked),
        (false, true) => Ok(Kind::Valid),
        (false, false) => Err(format!("{column} is {status:?}, must be {}", words())),
    }
}

/// Equal as columns with an ordinary collation compare.
fn is_word(found: &str, wanted: &str) -> bool {
    found.trim_end().eq_ignore_ascii_case(wanted.trim_end())
}

/// What contradicts that a row says Valid.
fn check_valid(mapping: &Mapping, row: &Row) -> Option<String> {
    let has_time = !row.revocation_time.is_nothing();
    // Numbers that stand for no reason where the column may not be NULL.
    let nothing = ["", "0", "-1"];
    let has_reason = row.revocation_reason.as_deref().is_some_and(|text| !nothing.contains(&text));
    let columns = &mapping.columns;
    let of = |column: &Option<String>| column.clone().unwrap_or_default();
    (has_time || has_reason).then(|| {
        format!(
            "{} with a {} or {}, which must be NULL",
            mapping.good.join(" or "),
            of(&columns.revocation_time),
            of(&columns.revocation_reason)
        )
    })
}

/// Time and reason of a row that says Revoked; `None` where they are no good.
fn revocation(
    mapping: &Mapping,
    row: &Row,
    mut odd: impl FnMut(String),
) -> (Option<Timestamp>, Option<RevocationReason>) {
    let time = row.revocation_time.timestamp(mapping.time_zone);
    if let (None, Some(column)) = (time, &mapping.columns.revocation_time) {
        odd(format!("{column} is {}, must be a time", row.revocation_time));
    }
    let Some(name) = row.revocation_reason.as_deref() else { return (time, None) };
    let Some(reason) = reason(mapping, name) else {
        let column = mapping.columns.revocation_reason.clone().unwrap_or_default();
        odd(format!("{column} is {name:?}, which is not known"));
        return (time, None);
    };
    (time, reason)
}

/// The reason that a word or number stands for; `None`: it is not known.
fn reason(mapping: &Mapping, name: &str) -> Option<Option<RevocationReason>> {
    let own = mapping.reasons.iter().find(|(word, _)| word.eq_ignore_ascii_case(name));
    if let Some((_, reason)) = own {
        return Some(*reason);
    }
    RevocationReason::from_text(name)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::mapping::TimeZone;

    fn serial() -> Serial {
        Serial::from_hex("a1b").unwrap()
    }

    fn earlier() -> Mapping {
        Mapping::of_table("list_certs")
    }

    fn row(status: &str, time: Moment, reason: Option<&str>) -> Row {
        Row {
            serial: b"0x0a1b".to_vec(),
            status: Some(status.into()),
            revocation_time: time,
            revocation_reason: reason.map(Into::into),
            issuer: None,
        }
    }

    fn revoked(time: &str, reason: Option<&str>) -> Row {
        row("Revoked", Moment::Text(time.into()), reason)
    }

    fn status(rows: &[Row]) -> (CertStatus, usize) {
        let reading = read(&earlier(), &serial(), rows).unwrap();
        (reading.record.unwrap().status, reading.oddities.len())
    }

    fn at(time: i64, reason: Option<RevocationReason>) -> CertStatus {
        CertStatus::Revoked { time: Timestamp::from_unix(time), reason }
    }

    #[test]
    fn a_status_is_valid_or_revoked_in_any_case_and_nothing_else() {
        assert_eq!(status(&[row("vALID", Moment::Null, None)]), (CertStatus::Good, 0));
        assert_eq!(status(&[row("REVOKED", Moment::Unix(5), None)]), (at(5, None), 0));
        for other in ["", "valid ", "expired", "1"] {
            let error = read(&earlier(), &serial(), &[row(other, Moment::Null, None)]).unwrap_err();
            assert!(matches!(error, StoreError::BadRow { .. }), "{other:?}");
        }
        let null = Row { status: None, ..row("", Moment::Null, None) };
        let error = read(&earlier(), &serial(), &[null]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "row 0x0a1b of the status store: status is NULL, must be Valid or Revoked"
        );
        assert!(read(&earlier(), &serial(), &[]).unwrap().record.is_none());
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
            assert!(read(&earlier(), &serial(), &rows).is_err());
        }
    }

    // rule: ANS-1
    #[test]
    fn a_row_of_another_serial_is_no_answer() {
        let other = Row { serial: b"0xa1c".to_vec(), ..row("Valid", Moment::Null, None) };
        assert!(read(&earlier(), &serial(), &[other]).is_err());
        let padded = Row { serial: b"0xA1B ".to_vec(), ..row("Valid", Moment::Null, None) };
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

    #[test]
    fn a_row_speaks_the_words_of_its_table() {
        let superseded = Some(RevocationReason::Superseded);
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
        let mapping = Mapping {
            good: words(&["20", "active"]),
            revoked: words(&["40", "30"]),
            reasons: vec![("replaced".into(), superseded), ("other".into(), None)],
            time_zone: TimeZone { minutes: -90 },
            ..earlier()
        };
        let status = |status: &str, reason: &str| {
            let time = Moment::Text("1970-01-01 00:00:00".into());
            let reading = read(&mapping, &serial(), &[row(status, time, Some(reason))]).unwrap();
            (reading.record.unwrap().status, reading.oddities.len())
        };
        assert_eq!(status("ACTIVE", "-1").0, CertStatus::Good);
        assert_eq!(status("40", "Replaced"), (at(5_400, superseded), 0));
        for (reason, expected) in
            [("4", superseded), ("keyCompromise", RevocationReason::from_code(1))]
        {
            assert_eq!(status("30", reason), (at(5_400, expected), 0));
        }
        for nothing in ["other", "0", "unspecified"] {
            assert_eq!(status("30", nothing), (at(5_400, None), 0), "{nothing}");
        }
        for unknown in ["7", "8", "11", "-1", "replace"] {
            assert_eq!(status("30", unknown), (at(5_400, None), 1), "{unknown}");
        }
        for none_of_them in ["Valid", "Revoked", "50", ""] {
            let rows = [row(none_of_them, Moment::Null, None)];
            assert!(read(&mapping, &serial(), &rows).is_err(), "{none_of_them}");
        }
    }

    // rule: ANS-1
    #[test]
    fn without_a_status_column_a_row_with_any_revocation_time_is_revoked() {
        let mut mapping = earlier();
        mapping.columns.status = None;
        let status = |time| {
            let rows = [Row { status: None, ..row("", time, None) }];
            read(&mapping, &serial(), &rows).unwrap().record.unwrap().status
        };
        assert_eq!(status(Moment::Null), CertStatus::Good);
        assert_eq!(status(Moment::Unix(9)), at(9, None));
        for odd in [Moment::Text(String::new()), Moment::Unix(0), Moment::Other("a REAL")] {
            assert_eq!(status(odd), at(0, None));
        }
    }

    // rule: ANS-1
    #[test]
    fn a_row_of_another_issuer_is_no_answer() {
        let mut mapping = earlier();
        mapping.columns.issuer = Some("ca".into());
        mapping.issuer = Some("Zürich".into());
        let from =
            |issuer: &str| Row { issuer: Some(issuer.into()), ..row("Valid", Moment::Null, None) };
        assert!(read(&mapping, &serial(), &[from("zÜrich ".to_lowercase().as_str())]).is_ok());
        assert!(read(&mapping, &serial(), &[from("Zurich")]).is_err());
        assert!(read(&mapping, &serial(), &[Row { issuer: None, ..from("") }]).is_err());
    }
}
