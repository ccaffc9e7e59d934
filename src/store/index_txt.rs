//! The `index.txt` of `openssl ca`, which Easy-RSA and others keep too.
//!
//! A line for each certificate, with six fields and a tab after each but the last (one
//! within a field has a backslash before it): V (valid), E (expired, never revoked) or R;
//! when it ends; when it was revoked, with a reason after a comma; its serial number in
//! hexadecimal; a file; its subject.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use crate::serial::{Serial, SerialError};
use crate::status::{CertRecord, CertStatus, RevocationReason};
use crate::store::listing::{Listing, Said};
use crate::store::walk::File;
use crate::store::watched::{Age, Changes, Watched};
use crate::store::{Finding, Report, StatusStore, StoreError, Walk, WalkError, Wanted};
use crate::time::{Clock, Timestamp};

/// An `index.txt` as a [`StatusStore`].
pub struct IndexTxt {
    file: Watched<Index>,
}

#[derive(Debug)]
struct Index {
    listing: Listing,
    /// What is wrong with the lines of serials that make no sense, of so many as are kept.
    problems: HashMap<Serial, String>,
    /// What somebody should mend although there is an answer, of so many as are told.
    oddities: Vec<String>,
}

/// What one line says.
enum Line {
    Of(Serial, Said),
    /// Of this serial, but nothing that can be understood.
    Broken(Serial, String),
    /// Nothing that could be asked for.
    Nothing,
}

impl IndexTxt {
    /// Does not read the file yet.
    #[must_use]
    pub fn new(path: PathBuf, clock: Arc<dyn Clock>) -> Self {
        let parse = |octets: &[u8], _: Option<&Index>| {
            let index = Index::parse(octets)?;
            for oddity in &index.oddities {
                log::warn!("odd line in index.txt: {oddity}");
            }
            Ok(index)
        };
        Self { file: Watched::new(&path, Changes::ByRename, clock, parse) }
    }

    /// What there is to say about the file.
    #[must_use]
    pub fn check(&self) -> Report {
        let findings = match self.file.get() {
            Err(unusable) => vec![Finding::Problem(unusable.problem.to_string())],
            Ok(content) => {
                let index = &content.value;
                let count = u64::try_from(index.listing.len()).unwrap_or(u64::MAX);
                let mut findings = vec![Finding::rows(count)];
                let some = |text: &String| text.clone();
                let problems = index.problems.values().take(MOST_TOLD).map(some);
                findings.extend(problems.map(Finding::Problem));
                findings.extend(index.oddities.iter().map(some).map(Finding::Warning));
                if self.file.mode().is_some_and(|mode| mode & 0o002 != 0) {
                    findings.push(Finding::Warning("everybody may write to the file".into()));
                }
                findings
            }
        };
        Report { place: self.file.shown().to_string(), findings }
    }
}

impl StatusStore for IndexTxt {
    fn find(&self, serial: &Serial) -> Result<Option<CertRecord>, StoreError> {
        let content = self.file.get().map_err(StoreError::unavailable)?;
        match (content.value.listing.find(serial), content.age) {
            // Nobody takes a revocation back: it holds however old the content is.
            (Some(Said::Revoked(time, reason)), age) => {
                let status = CertStatus::Revoked { time, reason };
                Ok(Some(CertRecord { status, basis: age.basis() }))
            }
            (_, Age::OutOfDate(unusable)) => Err(StoreError::unavailable(unusable)),
            (Some(Said::Good), Age::Current) => Ok(Some(CertRecord::listed(CertStatus::Good))),
            (Some(Said::Nonsense), Age::Current) => Err(StoreError::BadRow {
                key: serial.to_string(),
                problem: content.value.problem(serial),
            }),
            (None, Age::Current) => Ok(None),
        }
    }

    fn read_ahead(&self) {
        self.file.read_ahead();
    }

    fn walk(&self, wanted: Wanted) -> Result<Box<dyn Walk + '_>, WalkError> {
        let ends = match wanted {
            Wanted::Serials => Vec::new(),
            Wanted::End => ends(&self.file.octets().map_err(StoreError::unavailable)?),
            Wanted::BothEnds => {
                return Err(WalkError::NoDates(format!(
                    "{}: an index.txt does not tell when certificates were issued",
                    self.file.shown()
                )));
            }
        };
        let content = self.file.get().map_err(StoreError::unavailable)?;
        Ok(Box::new(File::new(content.value, |index| &index.listing, ends)))
    }
}

/// When the certificates end whose lines tell it.
fn ends(octets: &[u8]) -> Vec<(Serial, Timestamp)> {
    let of_line = |line: &[u8]| {
        let mut fields = fields(line).skip(1);
        let (ends, _, serial) = (fields.next()?, fields.next()?, fields.next()?);
        Some((read_serial(serial).ok()??, read_time(str::from_utf8(ends).ok()?)?))
    };
    octets.split(|octet| *octet == b'\n').filter_map(of_line).collect()
}

impl Index {
    /// Takes the file whole, or says what is wrong: a line whose serial number cannot
    /// be told, or that has another one within it, could be that of any certificate.
    fn parse(octets: &[u8]) -> Result<Self, String> {
        let Some(lines) = octets.strip_suffix(b"\n") else {
            let lines = octets.split(|octet| *octet == b'\n').count();
            return match octets.is_empty() {
                true => Ok(Self::new(Vec::new(), HashMap::new(), Vec::new())),
                false => Err(format!("line {lines} has no end, as if it were still being written")),
            };
        };
        let mut entries = Vec::new();
        let mut problems = HashMap::new();
        let mut oddities = Vec::new();
        for (number, line) in (1_usize..).zip(lines.split(|octet| *octet == b'\n')) {
            let line = without_end(line).map_err(|problem| format!("line {number}: {problem}"))?;
            if line.is_empty() || line.starts_with(b"#") {
                continue;
            }
            let mut odd = |problem| {
                if oddities.len() < MOST_TOLD {
                    oddities.push(format!("line {number}: {problem}"));
                }
            };
            match read(line, &mut odd).map_err(|problem| format!("line {number}: {problem}"))? {
                Line::Of(serial, said) => entries.push((serial, said)),
                Line::Broken(serial, problem) => {
                    entries.push((serial, Said::Nonsense));
                    if problems.len() < MOST_PROBLEMS {
                        problems.insert(serial, format!("line {number}: {problem}"));
                    }
                }
                Line::Nothing => {}
            }
        }
        Ok(Self::new(entries, problems, oddities))
    }

    fn new(
        entries: Vec<(Serial, Said)>,
        problems: HashMap<Serial, String>,
        mut oddities: Vec<String>,
    ) -> Self {
        let lines = entries.len();
        let listing = Listing::new(entries);
        if listing.len() < lines {
            let twice = lines - listing.len();
            oddities.push(format!("serial numbers that stand on several lines: {twice}"));
        }
        Self { listing, problems, oddities }
    }

    /// What is wrong with the line of a serial that makes no sense.
    fn problem(&self, serial: &Serial) -> String {
        let others = || format!("a line as {MOST_PROBLEMS} before it, which make no sense");
        self.problems.get(serial).cloned().unwrap_or_else(others)
    }
}

/// A line without the carriage returns before its end. One within it hides whatever stands
/// behind it from whoever takes it for an end.
fn without_end(line: &[u8]) -> Result<&[u8], &'static str> {
    let length = line.iter().rposition(|octet| *octet != b'\r').map_or(0, |last| last + 1);
    let line = line.get(..length).unwrap_or_default();
    match line.contains(&b'\r') {
        true => Err("a carriage return within it, wanted each line on its own with a line feed"),
        false => Ok(line),
    }
}

/// As OpenSSL's TXT_DB has them: a tab after a backslash is part of its field.
fn fields(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut before = 0;
    line.split(move |octet| {
        let is_end = *octet == b'\t' && before != b'\\';
        before = *octet;
        is_end
    })
}

fn read(line: &[u8], odd: &mut impl FnMut(String)) -> Result<Line, String> {
    let fields: Vec<&[u8]> = fields(line).collect();
    if fields.len() > FIELDS {
        return Err("more than six fields, as where two lines have become one, wanted each line \
                    on its own"
            .to_owned());
    }
    let [kind, _, revocation, serial, rest @ ..] = &fields[..] else {
        return Err("wanted six fields with a tab between".to_owned());
    };
    let Some(serial) = read_serial(serial)? else {
        odd("its serial number is negative or too long to be asked for".to_owned());
        return Ok(Line::Nothing);
    };
    let broken = |problem: &str| Ok(Line::Broken(serial, problem.to_owned()));
    if rest.len() != FIELDS - 4 {
        return broken("wanted six fields with a tab between");
    }
    match (*kind, revocation.is_empty()) {
        (b"V" | b"E", true) => Ok(Line::Of(serial, Said::Good)),
        (b"V" | b"E", false) => broken("not revoked, but with the time of a revocation"),
        (b"R", _) => {
            let text = String::from_utf8_lossy(revocation);
            let mut parts = text.splitn(2, ',');
            let time = parts.next().and_then(read_time);
            if time.is_none() {
                odd(format!("revoked at {text:?}, which is no time"));
            }
            let reason = parts.next().map_or(Some(None), read_reason);
            if reason.is_none() {
                odd(format!("revoked at {text:?}, with a reason that is not known"));
            }
            Ok(Line::Of(serial, Said::Revoked(time.unwrap_or(Timestamp::EPOCH), reason.flatten())))
        }
        (kind, _) => broken(&format!("{:?}, must be V, R or E", String::from_utf8_lossy(kind))),
    }
}

/// `None`: it is one that no request can ask for.
fn read_serial(field: &[u8]) -> Result<Option<Serial>, String> {
    let shown = || format!("{:?} is no serial number", String::from_utf8_lossy(field));
    let digits = field.strip_prefix(b"-").unwrap_or(field);
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_hexdigit) {
        return Err(shown());
    }
    match str::from_utf8(digits).map(Serial::from_hex) {
        Ok(Ok(serial)) => Ok((digits.len() == field.len()).then_some(serial)),
        Ok(Err(SerialError::TooLong)) => Ok(None),
        _ => Err(shown()),
    }
}

/// `YYMMDDHHMMSSZ` (50 to 99 is 19YY, RFC 5280 section 4.1.2.5.1), or with four digits
/// of the year.
fn read_time(text: &str) -> Option<Timestamp> {
    let digits = text.strip_suffix('Z')?;
    if !digits.bytes().all(|octet| octet.is_ascii_digit()) {
        return None;
    }
    let (year, rest) = digits.split_at_checked(digits.len().checked_sub(10)?)?;
    let year = match (year.len(), year.parse::<u16>().ok()?) {
        (2, year @ ..50) => 2000 + year,
        (2, year) => 1900 + year,
        (4, year) => year,
        _ => return None,
    };
    let pair = |at: usize| rest.get(at..at + 2)?.parse::<u8>().ok();
    Timestamp::from_civil(year, pair(0)?, pair(2)?, (pair(4)?, pair(6)?, pair(8)?))
}

/// The reason after the time: a name, or one of those that carry something more.
/// `Some(None)` is unspecified; `None`: it is unknown.
fn read_reason(text: &str) -> Option<Option<RevocationReason>> {
    match text.split(',').next().unwrap_or_default() {
        "holdInstruction" => Some(Some(RevocationReason::CertificateHold)),
        "keyTime" => Some(Some(RevocationReason::KeyCompromise)),
        "CAkeyTime" => Some(Some(RevocationReason::CaCompromise)),
        name if name.starts_with(|first: char| first.is_ascii_digit()) => None,
        name => RevocationReason::from_text(name),
    }
}

const FIELDS: usize = 6;
/// More lines with something wrong are not told one by one.
const MOST_TOLD: usize = 5;
/// Of a million lines that make no sense the problems would take more memory than the rest.
const MOST_PROBLEMS: usize = 1000;

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Index {
        Index::parse(text.as_bytes()).unwrap()
    }

    fn said(index: &Index, hex: &str) -> Option<Said> {
        index.listing.find(&Serial::from_hex(hex).unwrap())
    }

    fn revocation(field: &str) -> (Said, usize) {
        let index = parse(&format!("R\t330101000000Z\t{field}\t0A1B\tunknown\t/CN=a\n"));
        (said(&index, "0a1b").unwrap(), index.oddities.len())
    }

    #[test]
    fn valid_and_expired_lines_are_good_and_revoked_ones_are_revoked() {
        let index = parse(
            "V\t330101000000Z\t\t01\tunknown\t/CN=a\n\
             E\t200101000000Z\t\t02\tunknown\t/CN=b\n\
             # a comment\n\
             \r\n\
             \r\r\n\
             R\t330101000000Z\t250102030405Z,keyCompromise\t0FFF\tunknown\t/CN=c\\\td\r\n",
        );
        assert_eq!(said(&index, "01"), Some(Said::Good));
        assert_eq!(said(&index, "02"), Some(Said::Good));
        let time = Timestamp::from_civil(2025, 1, 2, (3, 4, 5)).unwrap();
        let reason = Some(RevocationReason::KeyCompromise);
        assert_eq!(said(&index, "fff"), Some(Said::Revoked(time, reason)));
        assert_eq!(said(&index, "03"), None);
        assert!(index.oddities.is_empty() && index.problems.is_empty());
        assert_eq!(parse("").listing.len(), 0);
    }

    // rule: ANS-2
    #[test]
    fn every_form_of_a_revocation_is_read_and_any_other_is_revoked_too() {
        use RevocationReason::{CaCompromise, CertificateHold, KeyCompromise, Superseded};
        let time = Timestamp::from_civil(2025, 1, 2, (3, 4, 5)).unwrap();
        for (rest, reason) in [
            ("", None),
            (",unspecified", None),
            (",superseded", Some(Superseded)),
            (",CACompromise", Some(CaCompromise)),
            (",holdInstruction,1.2.840.10040.2.2", Some(CertificateHold)),
            (",certificateHold", Some(CertificateHold)),
            (",keyTime,20250101000000Z", Some(KeyCompromise)),
            (",CAkeyTime,20250101000000Z", Some(CaCompromise)),
        ] {
            for date in ["250102030405Z", "20250102030405Z"] {
                let expected = (Said::Revoked(time, reason), 0);
                assert_eq!(revocation(&format!("{date}{rest}")), expected, "{date}{rest}");
            }
        }
        let last_century = Timestamp::from_civil(1999, 12, 31, (23, 59, 59)).unwrap();
        assert_eq!(revocation("991231235959Z").0, Said::Revoked(last_century, None));
        for odd in ["", "soon", "250132000000Z", "2501020304Z", "250102030405", "2+0102030405Z"] {
            assert_eq!(revocation(odd), (Said::Revoked(Timestamp::EPOCH, None), 1), "{odd}");
        }
        assert_eq!(revocation("250102030405Z,lost"), (Said::Revoked(time, None), 1));
        assert_eq!(revocation("250102030405Z,removeFromCRL"), (Said::Revoked(time, None), 1));
    }

    // rule: ANS-1
    #[test]
    fn a_line_that_makes_no_sense_is_told_for_its_serial_and_never_good() {
        for line in [
            "X\t330101000000Z\t\t0A1B\tunknown\t/CN=a",
            "v\t330101000000Z\t\t0A1B\tunknown\t/CN=a",
            "V\t330101000000Z\t250102030405Z\t0A1B\tunknown\t/CN=a",
            "V\t330101000000Z\t\t0A1B\tunknown",
            "V\t330101000000Z\t\t0A1B",
            "\t\t\t0A1B\tunknown\t/CN=a",
        ] {
            let index = parse(&format!("V\t330101000000Z\t\t01\tunknown\t/CN=a\n{line}\n"));
            assert_eq!(said(&index, "0a1b"), Some(Said::Nonsense), "{line}");
            assert_eq!(said(&index, "01"), Some(Said::Good));
            assert!(index.problems.values().all(|problem| problem.starts_with("line 2: ")));
            // One that could be understood does not make it good.
            let index = parse(&format!("{line}\nV\t330101000000Z\t\t0A1B\tunknown\t/CN=a\n"));
            assert_eq!(said(&index, "0a1b"), Some(Said::Nonsense), "{line}");
        }
    }

    #[test]
    fn of_many_lines_with_something_wrong_some_are_told_and_all_count() {
        let broken = |number: u32| format!("V\t330101000000Z\t\t{number:08X}\n");
        let odd = |number: u32| {
            format!("R\t330101000000Z\t250102030405Z,lost\t{number:08X}\tunknown\t/CN=a\n")
        };
        let text: String =
            (0..4000).map(|number| broken(2 * number) + &odd(2 * number + 1)).collect();
        let index = parse(&text);
        assert_eq!((index.problems.len(), index.oddities.len()), (MOST_PROBLEMS, MOST_TOLD));
        for (number, told) in [(0, "line 1: wanted six fields"), (7998, "a line as 1000 before it")]
        {
            let serial = Serial::from_hex(&format!("{number:08x}")).unwrap();
            assert_eq!(index.listing.find(&serial), Some(Said::Nonsense));
            assert!(index.problem(&serial).starts_with(told), "{}", index.problem(&serial));
        }
    }

    #[test]
    fn a_line_whose_serial_cannot_be_told_or_with_another_within_refuses_the_file() {
        for line in [
            "V",
            "V\t330101000000Z\t0A1B\tunknown",
            "V\t330101000000Z\t\t\tunknown\t/CN=a",
            "V\t330101000000Z\t\t0x1\tunknown\t/CN=a",
            "V\t330101000000Z\t\t0A 1B\tunknown\t/CN=a",
            "<<<<<<< HEAD",
            // Within these another line may stand.
            "V\t330101000000Z\t\t02\tunknown\t/CN=b\tc",
            "V\t330101000000Z\t\t02\tunknown\t/CN=b\rc",
            "# a comment\rR\t330101000000Z\t250102030405Z\t01\tunknown\t/CN=a",
        ] {
            let text = format!("V\t330101000000Z\t\t01\tunknown\t/CN=a\n{line}\n");
            let problem = Index::parse(text.as_bytes()).unwrap_err();
            assert!(problem.starts_with("line 2: "), "{line}: {problem}");
        }
    }

    // rule: ANS-1
    #[test]
    fn a_file_cut_anywhere_is_refused_or_says_nothing_wrong() {
        let whole = "V\t330101000000Z\t\t0A1B2C\tunknown\t/CN=a\n\
                     R\t330101000000Z\t250102030405Z,keyCompromise\tFFEE\tunknown\t/CN=b\n\
                     V\t330101000000Z\t\t0A1B\tunknown\t/CN=c\n";
        let all = parse(whole);
        for end in 0..whole.len() {
            let Ok(part) = Index::parse(&whole.as_bytes()[..end]) else { continue };
            for serial in ["0a", "0a1b", "0a1b2c", "ff", "ffee", "0f"] {
                let found = said(&part, serial);
                assert!(found.is_none() || found == said(&all, serial), "{end} {serial}");
            }
        }
    }

    #[test]
    fn the_end_of_each_certificate_is_read_where_its_line_tells_it() {
        let found = ends(
            b"V\t330101000000Z\t\t01\tunknown\t/CN=a\n# a comment\n\
              R\t20330101000000Z\t250102030405Z\t0A1B\tunknown\t/CN=b\r\n\
              V\tsoon\t\t02\tunknown\t/CN=c\nV\n",
        );
        let end = Timestamp::from_civil(2033, 1, 1, (0, 0, 0)).unwrap();
        let of = |hex| (Serial::from_hex(hex).unwrap(), end);
        assert_eq!(found, [of("01"), of("0a1b")]);
    }

    #[test]
    fn serials_have_any_length_and_those_that_cannot_be_asked_for_are_left_out() {
        let long = "AB".repeat(32);
        let longer = "AB".repeat(40);
        let index = parse(&format!(
            "V\t330101000000Z\t\t{long}\tunknown\t/CN=a\nV\t330101000000Z\t\t{longer}\tunknown\t/CN=b\n\
             V\t330101000000Z\t\t-0A\tunknown\t/CN=c\nV\t330101000000Z\t\t00\tunknown\t/CN=d\n"
        ));
        assert_eq!(said(&index, &long), Some(Said::Good));
        assert_eq!(said(&index, "00"), Some(Said::Good));
        assert_eq!((index.listing.len(), index.oddities.len()), (2, 2));
    }
}
