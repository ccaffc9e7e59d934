//! An existing table: how its columns are called, and what stands in them.
//!
//! Pure. Makes the statement that finds the rows of a serial, and its parameters;
//! `row` reads what comes back. Names are quoted here, whoever has checked them.

use crate::hex;
use crate::serial::Serial;
use crate::status::RevocationReason;

pub(super) mod pages;

/// A table, and how to read it. The default is that of the earlier responder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mapping {
    /// The table; for MySQL also `database.table`.
    pub table: String,
    /// The names of its columns.
    pub columns: ColumnNames,
    /// How it writes serial numbers.
    pub serial: SerialFormat,
    /// What `status` says of a certificate that is not revoked; in any case.
    pub good: Vec<String>,
    /// What `status` says of one that is.
    pub revoked: Vec<String>,
    /// Its own words for reasons, before those of the earlier responder, of RFC 5280
    /// and the numbers of CRLReason are tried; `None` is unspecified.
    pub reasons: Vec<(String, Option<RevocationReason>)>,
    /// The zone of its dates, but for those that name theirs.
    pub time_zone: TimeZone,
    /// What the column `issuer` says of this issuer's rows.
    pub issuer: Option<String>,
}

/// The columns of a table; those that are `None` are not there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ColumnNames {
    /// The serial number, which the rows are found by.
    pub serial: String,
    /// Whether it is revoked; without it, a row with a `revocation_time` is.
    pub status: Option<String>,
    /// When it was revoked.
    pub revocation_time: Option<String>,
    /// Why.
    pub revocation_reason: Option<String>,
    /// Whose certificate it is, where several CAs share the table.
    pub issuer: Option<String>,
    /// The certificate itself; no question about a status reads it.
    pub certificate: Option<String>,
}

/// How a table writes serial numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize)]
pub enum SerialFormat {
    /// Hexadecimal after `0x`, in the spellings of the earlier responder.
    #[default]
    #[serde(rename = "hex-0x")]
    Prefixed,
    /// The same without `0x`.
    #[serde(rename = "hex")]
    Hexadecimal,
    /// Decimal, as text or as a number.
    #[serde(rename = "decimal")]
    Decimal,
    /// The octets, with leading zeros or without.
    #[serde(rename = "binary")]
    Binary,
}

/// A fixed distance from UTC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TimeZone {
    /// Minutes, positive to the east.
    pub minutes: i16,
}

/// What differs between the databases.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dialect {
    Mysql,
    Sqlite,
}

/// What stands for a `?` of the statement.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Parameter {
    Null,
    Text(String),
    Integer(i64),
    /// Only to go on behind a row: no serial is such a number.
    Real(f64),
    Octets(Vec<u8>),
    /// Only to go on behind a row: what SQLite takes for text, and is none in UTF-8.
    OddText(Vec<u8>),
}

impl Mapping {
    /// The earlier responder's columns in a table of this name.
    #[must_use]
    pub fn of_table(table: &str) -> Self {
        let name = |text: &str| Some(text.to_owned());
        Self {
            table: table.to_owned(),
            columns: ColumnNames {
                serial: "cert_num".to_owned(),
                status: name("status"),
                revocation_time: name("revocation_time"),
                revocation_reason: name("revocation_reason"),
                issuer: None,
                certificate: name("cert"),
            },
            serial: SerialFormat::default(),
            good: vec!["Valid".to_owned()],
            revoked: vec!["Revoked".to_owned()],
            reasons: Vec::new(),
            time_zone: TimeZone::default(),
            issuer: None,
        }
    }

    /// The question that each find asks. Its columns, in order: serial, status,
    /// revocation_time, revocation_reason, and issuer where there is one.
    pub(super) fn statement(&self, dialect: Dialect) -> String {
        let serial = dialect.quoted(&self.columns.serial);
        self.select(dialect, &format!("{serial} IN ({})", self.places(dialect)))
    }

    /// The CA's rows for which this holds.
    fn select(&self, dialect: Dialect, condition: &str) -> String {
        let selected = self.selected(dialect).join(", ");
        let table = dialect.quoted_table(&self.table);
        let of_issuer = self.of_issuer(dialect);
        format!("SELECT {selected} FROM {table} WHERE {of_issuer}{condition}")
    }

    fn selected(&self, dialect: Dialect) -> Vec<String> {
        let quoted = |name: &String| dialect.quoted(name);
        let or_null = |name: &Option<String>| name.as_ref().map_or("NULL".to_owned(), quoted);
        let columns = &self.columns;
        let mut selected = vec![
            quoted(&columns.serial),
            or_null(&columns.status),
            or_null(&columns.revocation_time),
            or_null(&columns.revocation_reason),
        ];
        selected.extend(columns.issuer.as_ref().map(quoted));
        selected
    }

    /// The parameters of the statement for one serial.
    pub(super) fn parameters(&self, serial: &Serial, dialect: Dialect) -> Vec<Parameter> {
        let mut parameters = self.issuer_parameters(dialect);
        parameters.extend(self.serial_parameters(serial, dialect));
        parameters
    }

    fn serial_parameters(&self, serial: &Serial, dialect: Dialect) -> Vec<Parameter> {
        let mut parameters = Vec::new();
        match (self.serial, dialect) {
            (SerialFormat::Prefixed, _) => {
                parameters.extend(keys(serial).map(Parameter::Text));
            }
            (SerialFormat::Hexadecimal, _) => {
                let without = |key: String| Parameter::Text(key.trim_start_matches("0x").into());
                parameters.extend(keys(serial).map(without));
            }
            (SerialFormat::Decimal, _) => {
                let decimal = serial.to_decimal();
                // A column without a type compares text with text alone.
                if dialect == Dialect::Sqlite {
                    parameters.push(integer(&decimal));
                }
                parameters.push(Parameter::Text(decimal));
            }
            (SerialFormat::Binary, Dialect::Sqlite) => {
                parameters.extend(octets(serial).map(Parameter::Octets));
            }
            (SerialFormat::Binary, Dialect::Mysql) => {
                // As hexadecimal: what is sent as it is counts as text, which it is not.
                let digits = |octets: Vec<u8>| Parameter::Text(hex::text(&octets));
                parameters.extend(octets(serial).map(digits));
            }
        }
        parameters
    }

    /// The serial number that a row says it is of.
    pub(super) fn read_serial(&self, stored: &[u8]) -> Option<Serial> {
        let text = || str::from_utf8(stored).map(str::trim_end);
        match self.serial {
            SerialFormat::Binary => Serial::from_be_bytes(stored).ok(),
            SerialFormat::Decimal => Serial::from_decimal(text().ok()?).ok(),
            SerialFormat::Prefixed | SerialFormat::Hexadecimal => {
                Serial::from_hex(text().ok()?).ok()
            }
        }
    }

    /// The key of a row, as messages name it.
    pub(super) fn shown(&self, stored: &[u8]) -> String {
        match self.serial {
            SerialFormat::Binary => format!("0x{}", hex::text(stored)),
            _ => String::from_utf8_lossy(stored).into_owned(),
        }
    }

    /// The places of the serial's parameters.
    fn places(&self, dialect: Dialect) -> &'static str {
        match (self.serial, dialect) {
            // Several texts compared with a DECIMAL column would be rounded to floating
            // point, one is not.
            (SerialFormat::Decimal, Dialect::Mysql) => "?",
            (SerialFormat::Decimal, Dialect::Sqlite) => "?,?",
            (SerialFormat::Binary, Dialect::Mysql) => "UNHEX(?),UNHEX(?),UNHEX(?),UNHEX(?)",
            _ => "?,?,?,?",
        }
    }
}

impl Dialect {
    /// A name as an identifier of SQL.
    pub(super) fn quoted(self, name: &str) -> String {
        // In SQLite too: in double quotes, a column that is not there would be read as
        // a text.
        format!("`{}`", name.replace('`', "``"))
    }

    /// A table, for MySQL also `database.table`.
    pub(super) fn quoted_table(self, table: &str) -> String {
        match (self, table.split_once('.')) {
            (Self::Mysql, Some((database, table))) => {
                format!("{}.{}", self.quoted(database), self.quoted(table))
            }
            _ => self.quoted(table),
        }
    }
}

/// The keys under which the row of `serial` may be stored: minimal hexadecimal
/// (`0xa1b`), whole octets (`0x0a1b`), or the octets of the DER INTEGER (`0x00ff`);
/// in lower and upper case, because the column may be case sensitive. Unused ones
/// repeat.
pub(super) fn keys(serial: &Serial) -> [String; 4] {
    let octets = serial.to_hex();
    // At most one of the two differs from whole octets: a first octet with its
    // high bit set has no leading zero digit.
    let other = match octets.strip_prefix('0') {
        Some(minimal) => ["0x", minimal].concat(),
        None if octets.starts_with(|digit: char| digit > '7') => ["0x00", &octets].concat(),
        None => ["0x", &octets].concat(),
    };
    let octets = ["0x", &octets].concat();
    let upper = |key: &str| {
        let mut key = key.to_owned();
        if let Some(digits) = key.get_mut("0x".len()..) {
            digits.make_ascii_uppercase();
        }
        key
    };
    [upper(&octets), upper(&other), octets, other]
}

/// The octets under which the row of `serial` may be stored: without leading zeros,
/// as the content of the DER INTEGER, and filled up to 16 or 20.
fn octets(serial: &Serial) -> [Vec<u8>; 4] {
    let plain = serial.as_bytes();
    let filled = |length: usize| {
        let zeros = length.saturating_sub(plain.len());
        [&vec![0; zeros], plain].concat()
    };
    let sign = usize::from(plain.first().is_some_and(|first| *first >= 0x80));
    [plain.to_vec(), filled(plain.len() + sign), filled(16), filled(20)]
}

fn integer(digits: &str) -> Parameter {
    digits.parse().map_or(Parameter::Null, Parameter::Integer)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mapping(serial: SerialFormat) -> Mapping {
        Mapping { serial, ..Mapping::of_table("list_certs") }
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
    fn a_statement_has_a_place_for_each_parameter() {
        let serial = Serial::from_hex("ff01").unwrap();
        for format in [
            SerialFormat::Prefixed,
            SerialFormat::Hexadecimal,
            SerialFormat::Decimal,
            SerialFormat::Binary,
        ] {
            for dialect in [Dialect::Mysql, Dialect::Sqlite] {
                let mut mapping = mapping(format);
                for issuer in [None, Some("ca".to_owned())] {
                    mapping.columns.issuer = issuer;
                    let places = mapping.statement(dialect).matches('?').count();
                    assert_eq!(places, mapping.parameters(&serial, dialect).len(), "{mapping:?}");
                }
            }
        }
    }

    #[test]
    fn a_name_is_quoted_whatever_it_holds() {
        let mut mapping = mapping(SerialFormat::Prefixed);
        mapping.table = "certs.a`; DROP TABLE b".to_owned();
        mapping.columns.serial = "a`b".to_owned();
        mapping.columns.status = None;
        assert_eq!(
            mapping.statement(Dialect::Mysql),
            "SELECT `a``b`, NULL, `revocation_time`, `revocation_reason` \
             FROM `certs`.`a``; DROP TABLE b` WHERE `a``b` IN (?,?,?,?)"
        );
    }

    #[test]
    fn each_format_reads_the_serials_that_it_asks_for_and_no_others() {
        for hex in ["0a1b", "ff01ee", "00", "0123456789abcdef0123456789abcdef01234567"] {
            let serial = Serial::from_hex(hex).unwrap();
            for format in [SerialFormat::Prefixed, SerialFormat::Decimal, SerialFormat::Binary] {
                let mapping = mapping(format);
                for parameter in mapping.parameters(&serial, Dialect::Sqlite) {
                    let stored = match parameter {
                        Parameter::Text(text) => text.into_bytes(),
                        Parameter::Octets(octets) => octets,
                        Parameter::Integer(number) => number.to_string().into_bytes(),
                        Parameter::Null | Parameter::Real(_) | Parameter::OddText(_) => continue,
                    };
                    assert_eq!(mapping.read_serial(&stored), Some(serial), "{hex} {stored:?}");
                }
            }
        }
        assert_eq!(mapping(SerialFormat::Decimal).read_serial(b"1a"), None);
        assert_eq!(mapping(SerialFormat::Prefixed).read_serial(b"\xff"), None);
    }
}
