//! The statements that go through a table page by page, and that look many serials up
//! at once.

use std::collections::HashMap;

use crate::serial::Serial;
use crate::store::mapping::{Dialect, Mapping, Parameter, SerialFormat, integer};
use crate::store::row::Row;

/// A serial as it stands in a row, to go on behind it.
#[derive(Clone, Debug)]
pub(in crate::store) struct Key {
    pub parameter: Parameter,
    pub comparison: Comparison,
}

/// How a key is compared with the column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::store) enum Comparison {
    Plain,
    /// Digits of a number that is too large for an integer: as text it would be rounded
    /// to floating point.
    Decimal,
    /// Hexadecimal digits of octets, which are no text.
    Octets,
}

/// What is read of a part of the table.
#[derive(Clone, Copy, Debug)]
pub(in crate::store) enum Select {
    /// The next so many serials.
    Serials(usize),
    /// The next so many serials, and their certificates.
    Certificates(usize),
    /// The last of the next so many serials; nothing where there are fewer.
    Last(usize),
    /// Nothing, and how many there are, up to so many.
    Count(usize),
}

impl Mapping {
    /// Reads a part of the table, in the order of the serial column: two columns.
    pub(in crate::store) fn part(
        &self,
        dialect: Dialect,
        select: Select,
        after: Option<&Key>,
    ) -> String {
        let serial = dialect.quoted(&self.columns.serial);
        let table = dialect.quoted_table(&self.table);
        let behind = match after.map(|key| key.comparison) {
            None => format!("{serial} IS NOT NULL"),
            Some(Comparison::Plain) => format!("{serial} > ?"),
            Some(Comparison::Decimal) => format!("{serial} > CAST(? AS DECIMAL(65))"),
            Some(Comparison::Octets) => format!("{serial} > UNHEX(?)"),
        };
        let of_issuer = self.of_issuer(dialect);
        let from = |columns: &str| {
            format!("SELECT {columns} FROM {table} WHERE {of_issuer}{behind} ORDER BY {serial}")
        };
        match (select, &self.columns.certificate) {
            (Select::Certificates(most), Some(certificate)) => {
                let certificate = dialect.quoted(certificate);
                format!("{} LIMIT {most}", from(&format!("{serial}, {certificate}")))
            }
            (Select::Serials(most) | Select::Certificates(most), _) => {
                format!("{} LIMIT {most}", from(&format!("{serial}, NULL")))
            }
            (Select::Last(most), _) => {
                let before = most.saturating_sub(1);
                format!("{} LIMIT 1 OFFSET {before}", from(&format!("{serial}, NULL")))
            }
            (Select::Count(most), _) => {
                let part = format!("{} LIMIT {most}", from("1"));
                format!("SELECT NULL, COUNT(*) FROM ({part}) AS part")
            }
        }
    }

    /// The parameters of [`Mapping::part`].
    pub(in crate::store) fn part_parameters(
        &self,
        dialect: Dialect,
        after: Option<&Key>,
    ) -> Vec<Parameter> {
        let mut parameters = self.issuer_parameters(dialect);
        parameters.extend(after.map(|key| key.parameter.clone()));
        parameters
    }

    /// Finds the rows of so many serials, as [`Mapping::statement`] those of one.
    pub(in crate::store) fn statement_for(&self, dialect: Dialect, count: usize) -> String {
        let serial = dialect.quoted(&self.columns.serial);
        let condition = match (self.serial, dialect) {
            // Each by itself, for the reason that `places` gives.
            (SerialFormat::Decimal, Dialect::Mysql) => {
                format!("({})", vec![format!("{serial} = ?"); count].join(" OR "))
            }
            _ => format!("{serial} IN ({})", vec![self.places(dialect); count].join(",")),
        };
        self.select(dialect, &condition)
    }

    /// The parameters of [`Mapping::statement_for`]; the last serial stands for those
    /// that are fewer than `count`, so that one statement does for all.
    pub(in crate::store) fn parameters_for(
        &self,
        serials: &[Serial],
        dialect: Dialect,
        count: usize,
    ) -> Vec<Parameter> {
        let mut parameters = self.issuer_parameters(dialect);
        let fill = serials.last().into_iter().cycle();
        for serial in serials.iter().chain(fill).take(count) {
            parameters.extend(self.serial_parameters(serial, dialect));
        }
        parameters
    }

    /// The rows of each of some serials. `None`: a row is of none of them, so that
    /// nobody can tell which of them it was found for.
    pub(in crate::store) fn grouped(
        &self,
        serials: &[Serial],
        rows: Vec<Row>,
    ) -> Option<HashMap<Serial, Vec<Row>>> {
        let mut groups: HashMap<Serial, Vec<Row>> =
            serials.iter().map(|serial| (*serial, Vec::new())).collect();
        for row in rows {
            let serial = self.read_serial(&row.serial)?;
            groups.get_mut(&serial)?.push(row);
        }
        Some(groups)
    }

    pub(super) fn of_issuer(&self, dialect: Dialect) -> String {
        let places = match dialect {
            Dialect::Mysql => "?",
            Dialect::Sqlite => "?,?",
        };
        let condition = |issuer| format!("{} IN ({places}) AND ", dialect.quoted(issuer));
        self.columns.issuer.as_deref().map(condition).unwrap_or_default()
    }

    pub(super) fn issuer_parameters(&self, dialect: Dialect) -> Vec<Parameter> {
        if self.columns.issuer.is_none() {
            return Vec::new();
        }
        let issuer = self.issuer.clone().unwrap_or_default();
        match dialect {
            Dialect::Mysql => vec![Parameter::Text(issuer)],
            Dialect::Sqlite => vec![integer(&issuer), Parameter::Text(issuer)],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_statement_for_many_has_a_place_for_each_parameter() {
        let serials = ["ff01", "0a", "1234"].map(|hex| Serial::from_hex(hex).unwrap());
        for serial in [
            SerialFormat::Prefixed,
            SerialFormat::Hexadecimal,
            SerialFormat::Decimal,
            SerialFormat::Binary,
        ] {
            for dialect in [Dialect::Mysql, Dialect::Sqlite] {
                let mut mapping = Mapping { serial, ..Mapping::of_table("list_certs") };
                for issuer in [None, Some("ca".to_owned())] {
                    mapping.columns.issuer = issuer;
                    let places = mapping.statement_for(dialect, 5).matches('?').count();
                    let parameters = mapping.parameters_for(&serials, dialect, 5);
                    assert_eq!(places, parameters.len(), "{mapping:?}");
                    let one = mapping.statement_for(dialect, 1);
                    let same = mapping.statement(dialect);
                    let is_decimal = (serial, dialect) == (SerialFormat::Decimal, Dialect::Mysql);
                    assert!(one == same || is_decimal, "{one}\n{same}");
                }
            }
        }
    }

    #[test]
    fn a_part_begins_behind_the_key_and_reads_certificates_only_where_they_are_wanted() {
        let mut mapping = Mapping::of_table("list_certs");
        let key =
            Key { parameter: Parameter::Text("0x01".to_owned()), comparison: Comparison::Plain };
        let part = |mapping: &Mapping, select| mapping.part(Dialect::Mysql, select, Some(&key));
        assert_eq!(
            part(&mapping, Select::Certificates(7)),
            "SELECT `cert_num`, `cert` FROM `list_certs` WHERE `cert_num` > ? \
             ORDER BY `cert_num` LIMIT 7"
        );
        assert!(!part(&mapping, Select::Serials(7)).contains("`cert`"));
        mapping.columns.issuer = Some("ca".to_owned());
        for dialect in [Dialect::Mysql, Dialect::Sqlite] {
            for select in [Select::Serials(7), Select::Last(7), Select::Count(7)] {
                let statement = mapping.part(dialect, select, Some(&key));
                let parameters = mapping.part_parameters(dialect, Some(&key));
                assert_eq!(statement.matches('?').count(), parameters.len(), "{statement}");
            }
        }
    }
}
