//! Where the statuses of each CA come from, and that no two CAs have the same source.

use std::ffi::OsString;
use std::fs;
use std::path::{self, Path, PathBuf};

use crate::config::file::{Field, File, Section, word};
use crate::config::{Database, mapping};
use crate::responder::policy::{NonIssued, Policy};
use crate::store::crl::Unlisted;

/// A file that a section names as its source.
pub(super) struct OwnFile {
    /// The key that names it, and its offset; `None`: the section names none.
    pub place: Option<(&'static str, usize)>,
    /// The file; `None` as well where what is wrong is reported.
    pub database: Option<Database>,
}

/// What two CAs may not have in common.
pub(super) struct Source {
    key: &'static str,
    /// As it is written.
    shown: String,
    /// The same for each way to write it.
    name: OsString,
}

/// Reads `index`, `crl` and `unlisted`.
pub(super) fn file(file: &File<'_>, section: &Section<'_>) -> OwnFile {
    let [index, crl] = ["index", "crl"].map(|key| section.path(key));
    let unlisted = section.choice::<Unlisted>("unlisted");
    if let (Some(at), None) = (unlisted.at, crl.at) {
        file.report.error(at, "unlisted is given, wanted crl with it".to_owned());
    }
    let place = |field: &Field<PathBuf>| field.at.map(|at| (field.key, at));
    match (place(&index), place(&crl)) {
        (Some(one), Some(other)) => {
            file.report_both(other, one);
            OwnFile { place: Some(one), database: None }
        }
        (one @ Some(_), None) => OwnFile { place: one, database: index.value.map(Database::Index) },
        (None, other @ Some(_)) => {
            let database = crl.value.map(|path| Database::Crl(path, unlisted.or_default()));
            OwnFile { place: other, database }
        }
        (None, None) => OwnFile { place: None, database: None },
    }
}

/// Reports what is said about a table where there is none, as `(key, offset)` names
/// a file.
pub(super) fn report_mapping(file: &File<'_>, source: (&str, usize)) {
    if let Some(at) = file.section("database").at("table") {
        file.report_both(("table", at), source);
    }
    for (name, shown) in [("database.columns", "columns"), ("database.values", "values")] {
        if let Some((_, at)) = file.section(name).keys().min_by_key(|(_, at)| *at) {
            file.report_both((shown, at), source);
        }
    }
}

/// Whether some CA has no file of its own.
pub(super) fn is_database_needed(file: &File<'_>) -> bool {
    let issuers = file.sections("issuer");
    let has_none = |section: &Section<'_>| ["index", "crl"].iter().all(|k| section.at(k).is_none());
    issuers.is_empty() || issuers.iter().any(|(_, section)| has_none(section))
}

/// Reports a column that tells CAs apart where there is only one.
pub(super) fn report_issuer_column(file: &File<'_>) {
    if let Some(at) = file.section("database.columns").at("issuer") {
        let problem = "issuer is given, wanted [[issuer]] with issuer_value with it";
        file.report.error(at, problem.to_owned());
    }
}

/// The source of one CA: its own file, or its part of the database. `None`: what is
/// wrong is reported.
pub(super) fn of_issuer(
    config: &File<'_>,
    (at, section): (usize, &Section<'_>),
    shared: Option<&Database>,
) -> Option<Database> {
    let own_file = file(config, section);
    let table = mapping::table(section);
    let value = section.field("issuer_value", "text in quotes, not empty, or a number", word);
    let own = [(table.key, table.at), (value.key, value.at)];
    if let Some(source) = own_file.place {
        for (key, at) in own {
            if let Some(at) = at {
                config.report_both((key, at), source);
            }
        }
        return own_file.database;
    }
    report_issuer_value(config, at, value.at);
    let mut database = shared?.clone();
    let mapping = match &mut database {
        Database::Mysql(options) => &mut options.mapping,
        Database::Sqlite(options) => &mut options.mapping,
        Database::Index(_) | Database::Crl(..) => {
            let shared = config.section("database");
            let source = ["index", "crl"].into_iter().find_map(|key| Some((key, shared.at(key)?)));
            for ((key, at), source) in own.into_iter().zip([source; 2]) {
                if let (Some(at), Some(source)) = (at, source) {
                    config.report_both((key, at), source);
                }
            }
            return Some(database);
        }
    };
    if let Some(table) = table.value {
        mapping.table = table;
    }
    mapping.issuer = value.value;
    Some(database)
}

/// A CRL that says nothing of valid certificates, and a policy by which what has no row
/// is revoked. `section` is that of the CA, where it has one.
pub(super) fn report_all_revoked(
    file: &File<'_>,
    section: Option<&Section<'_>>,
    policy: &Policy,
    database: Option<&Database>,
) {
    let says_nothing = matches!(database, Some(Database::Crl(_, Unlisted::Unknown)));
    if !says_nothing || policy.non_issued != NonIssued::Revoked {
        return;
    }
    let own = section.and_then(|section| section.at("non_issued"));
    if let Some(at) = own.or_else(|| file.section("answers").at("non_issued")) {
        let problem = "non_issued is \"revoked\", and a CRL does not tell which certificates are \
                       valid: each of them would be revoked; wanted unlisted = \"good\", or \
                       another non_issued";
        file.report.error(at, problem.to_owned());
    }
}

/// `issuer_value` and the column that it stands in go together.
fn report_issuer_value(config: &File<'_>, at: usize, value_at: Option<usize>) {
    let column = config.section("database.columns").at("issuer");
    match (column, value_at) {
        (Some(_), None) => {
            let problem = "[[issuer]] without issuer_value, wanted what the issuer column says";
            config.report.error(at, problem.to_owned());
        }
        (None, Some(value_at)) => {
            let problem =
                "issuer_value is given, wanted issuer in [database.columns] with it".to_owned();
            config.report.error(value_at, problem);
        }
        _ => {}
    }
}

/// Two CAs may give out the same serial: with one source, a certificate of the one
/// would be answered for by the other.
pub(super) fn report_same(
    file: &File<'_>,
    (at, section): (usize, &Section<'_>),
    seen: &mut Vec<Source>,
) {
    let Some((source, key_at)) = source(file, section) else { return };
    if seen.iter().any(|other| other.key == source.key && other.name == source.name) {
        let Source { key, shown, .. } = &source;
        let problem = format!(
            "{key} is {shown}, as that of another [[issuer]], wanted: one of its own ({key} = …), \
             since serials of two CAs can be equal"
        );
        file.report.error(key_at.unwrap_or(at), problem);
    }
    seen.push(source);
}

/// The source of one CA, and the offset of what names it in its own section. `None`:
/// it is not known, as something is wrong.
fn source(file: &File<'_>, section: &Section<'_>) -> Option<(Source, Option<usize>)> {
    let shared = file.section("database");
    let has_issuer_column = file.section("database.columns").at("issuer").is_some();
    for (section, is_own) in [(section, true), (&shared, false)] {
        for key in ["index", "crl"] {
            // Read before, so that what is wrong is reported once.
            let Some(at) = section.at(key) else { continue };
            let shown = section.quiet_text(key)?;
            let name = resolved(&file.path, &shown).into_os_string();
            return Some((Source { key, shown, name }, is_own.then_some(at)));
        }
    }
    let own_at = section.at("table");
    let table = section.quiet_text("table").or_else(|| shared.quiet_text("table"));
    let table = table.unwrap_or(mapping::TABLE.to_owned());
    let full = match file.root().quiet_text("dbname") {
        Some(database) if !table.contains('.') => format!("{database}.{table}"),
        _ => table.clone(),
    };
    // As columns with an ordinary collation compare.
    let folded = |name: &str| name.trim_end().to_lowercase();
    let name = folded(&full);
    if !has_issuer_column {
        return Some((Source { key: "table", shown: table, name: name.into() }, own_at));
    }
    let key = "issuer_value";
    let shown = section.quiet_text(key)?;
    let name = format!("{name}\0{}", folded(&shown)).into();
    Some((Source { key, shown, name }, section.at(key)))
}

/// A file of the configuration, wherever links and `..` lead; one that is not there by
/// its folder, where that is.
fn resolved(config: &Path, name: &str) -> PathBuf {
    let path = config.parent().unwrap_or(Path::new("")).join(name);
    let path = path::absolute(&path).unwrap_or(path);
    let in_folder = || Some(fs::canonicalize(path.parent()?).ok()?.join(path.file_name()?));
    fs::canonicalize(&path).ok().or_else(in_folder).unwrap_or(path)
}
