//! Many rows at once, for those who go through the whole table.

use mysql::Value;
use mysql::consts::ColumnType;

use crate::hex;
use crate::serial::Serial;
use crate::store::many::find_many;
use crate::store::mapping::pages::{Comparison, Key};
use crate::store::mapping::{Dialect, Parameter, SerialFormat};
use crate::store::mysql::Mysql;
use crate::store::mysql::dial::Link;
use crate::store::mysql::keeper::Failure;
use crate::store::mysql::values::{columns, number};
use crate::store::walk::{Line, Table};
use crate::store::{Found, StatusStore, StoreError, Walk, WalkError, Wanted};

impl Mysql {
    pub(super) fn all_of(&self, serials: &[Serial]) -> Result<Vec<Found>, StoreError> {
        let ask = |statement: &str, parameters: &[Parameter]| {
            let question = |link: &mut Link| link.rows_by(statement, parameters, columns);
            match self.keeper.ask_by(&question) {
                Ok(rows) => Ok(Some(rows)),
                Err(Failure::Refused(_)) => Ok(None),
                Err(failure) => Err(StoreError::unavailable(failure)),
            }
        };
        let table = (&self.keeper.dialler.options.mapping, Dialect::Mysql, &self.odd_rows);
        find_many(table, serials, ask, |serial| self.find(serial))
    }

    pub(super) fn parts(&self, wanted: Wanted) -> Result<Box<dyn Walk + '_>, WalkError> {
        let mapping = &self.keeper.dialler.options.mapping;
        let table = Table::new((mapping, Dialect::Mysql), wanted, |statement, parameters| {
            let read = |row: &mysql::Row| line(row, mapping.serial);
            let question = |link: &mut Link| link.rows_by(statement, parameters, read);
            match self.keeper.ask_by(&question) {
                Ok(lines) => Ok(Ok(lines)),
                Err(Failure::Refused(problem)) => Ok(Err(problem)),
                Err(failure) => Err(StoreError::unavailable(failure)),
            }
        })?;
        Ok(Box::new(table))
    }
}

fn line(row: &mysql::Row, format: SerialFormat) -> Line {
    let kind = row.columns_ref().first().map(mysql::Column::column_type);
    let plain = |parameter| Some(Key { parameter, comparison: Comparison::Plain });
    let as_digits =
        |digits: String, comparison| Some(Key { parameter: Parameter::Text(digits), comparison });
    let unsigned = |number: u64| {
        let digits = number.to_string();
        let key = match i64::try_from(number) {
            Ok(number) => plain(Parameter::Integer(number)),
            Err(_) => as_digits(digits.clone(), Comparison::Decimal),
        };
        (key, digits.into_bytes())
    };
    let (key, stored) = match row.as_ref(0) {
        // As octets they would not be behind themselves.
        Some(Value::Bytes(bits)) if kind == Some(ColumnType::MYSQL_TYPE_BIT) => {
            unsigned(number(bits))
        }
        Some(Value::Bytes(digits)) if kind == Some(ColumnType::MYSQL_TYPE_NEWDECIMAL) => {
            let text = String::from_utf8_lossy(digits).into_owned();
            (as_digits(text, Comparison::Decimal), digits.clone())
        }
        Some(Value::Bytes(octets)) if format == SerialFormat::Binary => {
            (as_digits(hex::text(octets), Comparison::Octets), octets.clone())
        }
        Some(Value::Bytes(text)) => (plain(Parameter::Octets(text.clone())), text.clone()),
        Some(Value::Int(number)) => {
            (plain(Parameter::Integer(*number)), number.to_string().into_bytes())
        }
        Some(Value::UInt(number)) => unsigned(*number),
        _ => (None, Vec::new()),
    };
    let second = match row.as_ref(1) {
        Some(Value::Bytes(octets)) => Some(octets.clone()),
        Some(Value::Int(number)) => Some(number.to_string().into_bytes()),
        Some(Value::UInt(number)) => Some(number.to_string().into_bytes()),
        _ => None,
    };
    Line { key, stored, second }
}
