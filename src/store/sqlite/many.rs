//! Many rows at once, for those who go through the whole table.

use rusqlite::types::ValueRef;
use rusqlite::{Row, params_from_iter};

use crate::serial::Serial;
use crate::store::many::find_many;
use crate::store::mapping::pages::{Comparison, Key};
use crate::store::mapping::{Dialect, Parameter};
use crate::store::sqlite::{Failure, Sqlite};
use crate::store::walk::{Line, Table};
use crate::store::{Found, StatusStore, StoreError, Walk, WalkError, Wanted};

impl Sqlite {
    pub(super) fn all_of(&self, serials: &[Serial]) -> Result<Vec<Found>, StoreError> {
        let ask = |statement: &str, parameters: &[Parameter]| match self.rows(statement, parameters)
        {
            Ok(rows) => Ok(Some(rows)),
            Err(Failure::Refused(_)) => Ok(None),
            Err(failure) => Err(StoreError::unavailable(failure)),
        };
        let table = (&self.options.mapping, Dialect::Sqlite, &self.odd_rows);
        find_many(table, serials, ask, |serial| self.find(serial))
    }

    pub(super) fn parts(&self, wanted: Wanted) -> Result<Box<dyn Walk + '_>, WalkError> {
        let mapping = (&self.options.mapping, Dialect::Sqlite);
        let table = Table::new(mapping, wanted, |statement, parameters| {
            let lines = self.told(|connection| {
                let mut statement = connection.prepare_cached(statement)?;
                statement.query_map(params_from_iter(parameters), line)?.collect()
            });
            match lines {
                Ok(lines) => Ok(Ok(lines)),
                Err(Failure::Refused(error)) => Ok(Err(error.to_string())),
                Err(failure) => Err(StoreError::unavailable(failure)),
            }
        })?;
        Ok(Box::new(table))
    }
}

fn line(row: &Row<'_>) -> rusqlite::Result<Line> {
    let (key, stored) = match row.get_ref(0)? {
        ValueRef::Integer(number) => {
            (Some(Parameter::Integer(number)), number.to_string().into_bytes())
        }
        ValueRef::Text(text) => {
            let key = match str::from_utf8(text) {
                Ok(text) => Parameter::Text(text.to_owned()),
                Err(_) => Parameter::OddText(text.to_vec()),
            };
            (Some(key), text.to_vec())
        }
        ValueRef::Blob(octets) => (Some(Parameter::Octets(octets.to_vec())), octets.to_vec()),
        ValueRef::Real(number) => {
            (Some(Parameter::Real(number)), format!("REAL {number}").into_bytes())
        }
        ValueRef::Null => (None, Vec::new()),
    };
    let second = match row.get_ref(1)? {
        ValueRef::Text(octets) | ValueRef::Blob(octets) => Some(octets.to_vec()),
        ValueRef::Integer(number) => Some(number.to_string().into_bytes()),
        ValueRef::Real(_) | ValueRef::Null => None,
    };
    let key = key.map(|parameter| Key { parameter, comparison: Comparison::Plain });
    Ok(Line { key, stored, second })
}
