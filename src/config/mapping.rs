//! The tables `[database.columns]` and `[database.values]`: how an existing table is read.

use crate::config::file::{Field, File, Section, word};
use crate::config::values;
use crate::status::RevocationReason;
use crate::store::mapping::{ColumnNames, Mapping};

/// Reads how the table of the database is read. `None`: what is wrong is reported.
pub(super) fn read(file: &File<'_>) -> Option<Mapping> {
    let default = Mapping::of_table(TABLE);
    let table = table(&file.section("database"));
    let columns = columns(file, &default.columns);
    let values = file.section("database.values");
    let words = |key| values.list(key, "a word or number, or an array of them", word);
    let [good, revoked] = [words("good"), words("revoked")];
    let reasons = values.map("reasons", REASON, |value| RevocationReason::from_text(&word(value)?));
    let time_zone =
        values.field("time_zone", "\"utc\", or a distance such as \"+01:00\"", |value| {
            values::time_zone(value.as_str()?)
        });
    let serial = values.choice("serial");
    report_words(file, &columns, &default, [&good, &revoked]);
    let is_right = [good.is_right(), revoked.is_right(), reasons.is_right(), table.is_right()];
    let mapping = Mapping {
        table: table.or(default.table),
        columns: columns?,
        serial: serial.or_default(),
        good: good.or(default.good),
        revoked: revoked.or(default.revoked),
        reasons: reasons.or_default(),
        time_zone: time_zone.or_default(),
        issuer: None,
    };
    is_right.iter().all(|is_right| *is_right).then_some(mapping)
}

/// The name of a table, of the database or of one issuer.
pub(super) fn table(section: &Section<'_>) -> Field<String> {
    let wanted = "a name, or two with a point between, of letters, digits, _ and $";
    section.field("table", wanted, |value| values::table_name(value.as_str()?))
}

fn columns(file: &File<'_>, default: &ColumnNames) -> Option<ColumnNames> {
    let section = file.section("database.columns");
    let serial = section.field("serial", COLUMN, |value| values::column_name(value.as_str()?));
    let optional = |key| {
        section.field(key, &format!("{COLUMN}; or \"\", where there is none"), |value| match value
            .as_str(
        )? {
            "" => Some(None),
            name => values::column_name(name).map(Some),
        })
    };
    let status = optional("status");
    let time = optional("revocation_time");
    let reason = optional("revocation_reason");
    let certificate = optional("certificate");
    let issuer = section.field("issuer", COLUMN, |value| values::column_name(value.as_str()?));
    if let (Some(at), Some(None), Some(None)) = (time.at, &status.value, &time.value) {
        let problem = "status and revocation_time are both \"\", wanted at least one of them";
        file.report.error(at, problem.to_owned());
        return None;
    }
    let is_right = serial.is_right() && status.is_right() && time.is_right() && reason.is_right();
    (is_right && issuer.is_right() && certificate.is_right()).then(|| ColumnNames {
        serial: serial.or(default.serial.clone()),
        status: status.or(default.status.clone()),
        revocation_time: time.or(default.revocation_time.clone()),
        revocation_reason: reason.or(default.revocation_reason.clone()),
        issuer: issuer.value,
        certificate: certificate.or(default.certificate.clone()),
    })
}

/// Words for a status that is not there, or the same for both.
fn report_words(
    file: &File<'_>,
    columns: &Option<ColumnNames>,
    default: &Mapping,
    [good, revoked]: [&Field<Vec<String>>; 2],
) {
    let has_no_status = columns.as_ref().is_some_and(|columns| columns.status.is_none());
    for field in [good, revoked] {
        if let (Some(at), true) = (field.at, has_no_status) {
            let problem = format!("{} is given, wanted a status column with it", field.key);
            file.report.error(at, problem);
        }
    }
    let [good_words, revoked_words] = [(good, &default.good), (revoked, &default.revoked)]
        .map(|(field, default)| field.value.as_ref().unwrap_or(default));
    let both = good_words
        .iter()
        .find(|word| revoked_words.iter().any(|other| other.eq_ignore_ascii_case(word)));
    if let (Some(word), Some(at)) = (both, revoked.at.or(good.at)) {
        file.report.error(at, format!("\"{word}\" is in good and in revoked, wanted in one"));
    }
}

/// The table of the earlier responder.
pub(super) const TABLE: &str = "list_certs";
const COLUMN: &str = "the name of a column, of letters, digits, _ and $";
const REASON: &str = "a reason of RFC 5280, such as \"keyCompromise\", or \"unspecified\"";
