//! Values as MySQL and MariaDB send and take them.

use mysql::Value;
use mysql::consts::ColumnType;

use crate::store::mapping::Parameter;
use crate::store::moment::Moment;
use crate::store::row::Row;

/// The columns of a row, in the order of the statement.
pub(super) fn columns(row: &mysql::Row) -> Row {
    let kind = |index: usize| row.columns_ref().get(index).map(mysql::Column::column_type);
    let octets = |index| match row.as_ref(index) {
        // A number: of type BIT, a boolean in many tables.
        Some(Value::Bytes(bits)) if kind(index) == Some(ColumnType::MYSQL_TYPE_BIT) => {
            Some(number(bits).to_string().into_bytes())
        }
        Some(Value::Bytes(bytes)) => Some(bytes.clone()),
        Some(Value::Int(number)) => Some(number.to_string().into_bytes()),
        Some(Value::UInt(number)) => Some(number.to_string().into_bytes()),
        // Of which no serial and no word is made.
        Some(Value::Float(number)) => Some(format!("FLOAT {number}").into_bytes()),
        Some(Value::Double(number)) => Some(format!("DOUBLE {number}").into_bytes()),
        _ => None,
    };
    let text = |index| octets(index).map(|text| String::from_utf8_lossy(&text).into_owned());
    let time = row.as_ref(2).map_or(Moment::Null, moment);
    Row {
        serial: octets(0).unwrap_or_default(),
        status: text(1),
        revocation_time: match (time, kind(2)) {
            // In the zone of the session, which is UTC.
            (Moment::Civil(day, time), Some(ColumnType::MYSQL_TYPE_TIMESTAMP)) => {
                Moment::Utc(day, time)
            }
            (time, _) => time,
        },
        revocation_reason: text(3),
        issuer: text(4),
    }
}

/// What a value of type BIT is.
pub(super) fn number(bits: &[u8]) -> u64 {
    bits.iter().fold(0, |number, octet| number << 8 | u64::from(*octet))
}

/// A parameter of a statement.
pub(super) fn value(parameter: &Parameter) -> Value {
    match parameter {
        Parameter::Null => Value::NULL,
        Parameter::Text(text) => Value::from(text),
        Parameter::Integer(number) => Value::Int(*number),
        Parameter::Real(number) => Value::Double(*number),
        Parameter::Octets(octets) | Parameter::OddText(octets) => Value::from(octets),
    }
}

/// What stands where a time should be.
fn moment(value: &Value) -> Moment {
    match value {
        Value::NULL => Moment::Null,
        Value::Date(year, month, day, hour, minute, second, _) => {
            Moment::Civil((*year, *month, *day), (*hour, *minute, *second))
        }
        Value::Bytes(text) => Moment::Text(String::from_utf8_lossy(text).into_owned()),
        Value::Int(seconds) => Moment::Unix(*seconds),
        // More than there are seconds: no time, but not none.
        Value::UInt(seconds) => Moment::Unix(i64::try_from(*seconds).unwrap_or(i64::MAX)),
        Value::Float(_) | Value::Double(_) => Moment::Other("a floating-point number"),
        Value::Time(..) => Moment::Other("TIME"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // rule: ANS-1
    #[test]
    fn a_number_that_is_no_time_is_not_taken_for_none() {
        let moment = moment(&Value::UInt(u64::MAX));
        assert!(!moment.is_nothing(), "{moment}");
    }
}
