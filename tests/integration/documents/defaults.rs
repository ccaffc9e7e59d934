//! The manual and the example tell the same defaults.

use std::collections::BTreeMap;

use super::{NO_DEFAULT, key, of_one_ca};

#[test]
fn the_manual_and_the_example_give_each_key_the_same_default() {
    let (manual, example) = (of_the_manual(MANUAL), of_the_example());
    let mut compared = 0;
    for (place, value) in &example {
        let Some(told) = manual.get(place) else { continue };
        let (table, key) = place;
        assert!(is_told(told, value), "[{table}] {key} is {value}, but the manual says: {told}");
        compared += 1;
    }
    assert!(compared > 40, "{compared} defaults are told in both");
}

#[test]
fn defaults_are_read_in_each_form_that_the_manual_has() {
    let manual = of_the_manual(concat!(
        ".Ss Table some\n.It Cm plain No *\nIt is, 1 to 1024.\nDefault: 16.\n",
        ".It Cm one , other\nWords.\nDefault:\n.Li [\\(dqValid\\(dq]\nand\n.Li 7 .\n",
        ".It Cm first\n.Li \\(dqutc\\(dq\n(default), or one.\n",
        ".It Cm chosen\nEither\n.Li \\(dqoff\\(dq\nat all (default), or\n.Li \\(dqon\\(dq .\n",
        ".It Cm untold\nNo default.\n.El\n.Ss Before the first table\n.It Cm days\nDefault: 3.\n",
    ));
    let told = |table: &str, key: &str, value: &str| {
        manual.get(&place(table, key)).is_some_and(|told| is_told(told, value))
    };
    assert!(told("some", "plain", "16") && told("", "days", "3"));
    assert!(told("some", "one", "[\"Valid\"]") && told("some", "other", "7"));
    assert!(told("some", "chosen", "\"off\"") && !told("some", "chosen", "\"on\""));
    assert!(!told("some", "plain", "1") && !told("some", "plain", "160"));
    assert!(told("some", "first", "\"utc\""));
    assert_eq!(manual.len(), 6);
}

/// A table, and a key of it.
type Place = (String, String);

fn place(table: &str, key: &str) -> Place {
    (table.to_owned(), key.to_owned())
}

/// What the example has for each key that stands at its default, as it is written there.
fn of_the_example() -> BTreeMap<Place, &'static str> {
    let mut defaults = BTreeMap::new();
    let mut table = "";
    for line in of_one_ca().lines() {
        if let Some(header) = line.strip_prefix('[') {
            table = header.trim_end_matches(']');
        }
        let Some(line) = line.strip_prefix('#') else { continue };
        if let (Some(key), Some((_, value))) = (key(line), line.split_once(" = "))
            && !NO_DEFAULT.contains(&key)
        {
            defaults.insert(place(table, key), value);
        }
    }
    defaults
}

/// What the manual says of the default of each key, from its first word on.
fn of_the_manual(manual: &str) -> BTreeMap<Place, String> {
    let mut defaults = BTreeMap::new();
    for section in manual.split("\n.Ss ").map(|section| section.trim_start_matches(".Ss ")) {
        let (title, body) = section.split_once('\n').unwrap();
        let table = match title {
            "Before the first table" => "",
            title => title.strip_prefix("Table ").unwrap_or("-"),
        };
        for item in body.split(".It Cm ").skip(1) {
            let (head, text) = item.split_once('\n').unwrap();
            let keys: Vec<_> = head.trim_end_matches(" No *").split(" , ").collect();
            let text = format!(" {}", words(text));
            let told: Vec<_> = match (text.split_once("Default: "), text.split_once(" (default")) {
                (Some((_, told)), _) if keys.len() > 1 => told.split(" and ").collect(),
                (Some((_, told)), _) => vec![told],
                (None, Some((before, _))) => {
                    before.rfind(" \"").map(|at| &before[at + 1..]).into_iter().collect()
                }
                (None, None) => continue,
            };
            if keys.len() == told.len() {
                let each = keys.iter().zip(told);
                defaults.extend(each.map(|(key, told)| (place(table, key), told.to_owned())));
            }
        }
    }
    defaults
}

/// The text of some lines of mdoc, without macros.
fn words(lines: &str) -> String {
    let macros = [".Li ", ".Cm ", ".Pa ", ".Ql ", ".Ic ", ".Xr "];
    let of_line = |line: &str| {
        let start = macros.iter().find(|start| line.starts_with(**start));
        line[start.map_or(0, |start| start.len())..].replace("\\(dq", "\"")
    };
    lines.lines().map(of_line).collect::<Vec<_>>().join(" ")
}

/// Whether what the manual says begins with a value of the example; durations and the
/// like have no quotes in the manual.
fn is_told(told: &str, value: &str) -> bool {
    let plain = value.trim_matches('"');
    let rest = told.strip_prefix(value).or_else(|| told.strip_prefix(plain));
    rest.is_some_and(|rest| {
        let rest = rest.strip_prefix(['.', ',']).unwrap_or(rest);
        rest.is_empty() || rest.starts_with(' ')
    })
}

const MANUAL: &str = include_str!("../../../man/ocsp-fcgi.toml.5");
