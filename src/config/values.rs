//! The values that are written as text: durations, sizes, hosts, SQL names, modes.
//!
//! Each is a function of text alone; `None` where the text is no such value.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;
use std::time::Duration;

use crate::store::mapping::TimeZone;
use crate::store::mysql::Host;
use crate::time::Timestamp;

/// One or more numbers with a unit (ms, s, m, h, d), added up: `1h30m`.
pub(crate) fn duration(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut total = Duration::ZERO;
    while !rest.is_empty() {
        let (number, after) = split_number(rest)?;
        let unit_end = after.find(|c: char| c.is_ascii_digit()).unwrap_or(after.len());
        let (unit, after) = after.split_at_checked(unit_end)?;
        total = total.checked_add(match unit {
            "ms" => Duration::from_millis(number),
            "s" => Duration::from_secs(number),
            "m" => Duration::from_secs(number.checked_mul(60)?),
            "h" => Duration::from_secs(number.checked_mul(3_600)?),
            "d" => Duration::from_secs(number.checked_mul(86_400)?),
            _ => return None,
        })?;
        rest = after;
    }
    (!text.is_empty()).then_some(total)
}

/// A duration as `duration` reads it.
pub(super) fn duration_text(duration: Duration) -> String {
    const UNITS: [(u128, &str); 5] =
        [(86_400_000, "d"), (3_600_000, "h"), (60_000, "m"), (1_000, "s"), (1, "ms")];
    let mut rest = duration.as_millis();
    let mut text = String::new();
    for (length, unit) in UNITS {
        if rest >= length {
            text.push_str(&format!("{}{unit}", rest / length));
            rest %= length;
        }
    }
    if text.is_empty() { "0s".to_owned() } else { text }
}

/// A number of octets with a unit: `64MiB`, `64 MiB`, `100kB`; or `0`.
pub(super) fn size(text: &str) -> Option<u64> {
    if text == "0" {
        return Some(0);
    }
    let (number, unit) = split_number(text)?;
    let unit_octets = match unit.strip_prefix(' ').unwrap_or(unit) {
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        "kB" => 1_000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        _ => return None,
    };
    number.checked_mul(unit_octets)
}

/// A size as `size` reads it; plain octets where no unit divides it.
pub(super) fn size_text(octets: u64) -> String {
    for (unit, name) in [(1_u64 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")] {
        if octets >= unit && octets.is_multiple_of(unit) {
            return format!("{}{name}", octets / unit);
        }
    }
    octets.to_string()
}

/// A database server: `host`, `host:port`, `[v6]`, `[v6]:port`, a bare IPv6
/// address, or the path of a socket. Port 3306 where none is written.
pub(super) fn host(text: &str) -> Option<Host> {
    if text.starts_with('/') {
        return Some(Host::Unix(PathBuf::from(text)));
    }
    if text.parse::<Ipv6Addr>().is_ok() {
        return Some(Host::Tcp { host: text.to_owned(), port: MYSQL_PORT });
    }
    if let Some(bracketed) = text.strip_prefix('[') {
        let (address, after) = bracketed.split_once(']')?;
        address.parse::<Ipv6Addr>().ok()?;
        return Some(Host::Tcp { host: address.to_owned(), port: port_after(after)? });
    }
    let name_end = text.find(':').unwrap_or(text.len());
    let (name, after) = text.split_at_checked(name_end)?;
    is_host_name(name).then_some(Host::Tcp { host: name.to_owned(), port: port_after(after)? })
}

/// An instant: a date and time with its offset from UTC.
pub(super) fn instant(value: &toml::value::Datetime) -> Option<Timestamp> {
    let (date, time) = (value.date?, value.time?);
    let minutes = match value.offset? {
        toml::value::Offset::Z => 0,
        toml::value::Offset::Custom { minutes } => i64::from(minutes),
    };
    let time = (time.hour, time.minute, time.second.unwrap_or(0));
    let local = Timestamp::from_civil(date.year, date.month, date.day, time)?;
    Some(Timestamp::from_unix(local.unix() - minutes * 60))
}

/// A table, `name` or `database.name`: letters, digits, `_` and `$`, so that it can
/// stand in a statement as it is.
pub(super) fn table_name(text: &str) -> Option<String> {
    let (first, second) = text.split_once('.').map_or((text, None), |(a, b)| (a, Some(b)));
    (is_sql_name(first) && second.is_none_or(is_sql_name)).then(|| text.to_owned())
}

/// A column: letters, digits, `_` and `$`.
pub(super) fn column_name(text: &str) -> Option<String> {
    is_sql_name(text).then(|| text.to_owned())
}

/// A fixed distance from UTC: `utc`, `+01:00`, `-05:30`.
pub(super) fn time_zone(text: &str) -> Option<TimeZone> {
    if text.eq_ignore_ascii_case("utc") {
        return Some(TimeZone::default());
    }
    let (east, rest) = match text.strip_prefix('+') {
        Some(rest) => (1, rest),
        None => (-1, text.strip_prefix('-')?),
    };
    let (hours, minutes) = rest.split_once(':')?;
    let number = |digits: &str| {
        let is_right = digits.len() == 2 && digits.bytes().all(|octet| octet.is_ascii_digit());
        digits.parse::<i16>().ok().filter(|_| is_right)
    };
    let (hours, minutes) = (number(hours)?, number(minutes)?);
    (hours <= 14 && minutes <= 59).then(|| TimeZone { minutes: east * (hours * 60 + minutes) })
}

/// The name of a credential: that of a file (systemd.exec(5), `LoadCredential=`).
pub(super) fn credential_name(text: &str) -> Option<String> {
    let is_name = (1..=FILE_NAME_OCTETS).contains(&text.len())
        && text.bytes().all(|octet| octet.is_ascii_graphic() && !b"/:".contains(&octet))
        && text != "."
        && text != "..";
    is_name.then(|| text.to_owned())
}

/// The name of an environment variable (POSIX.1 section 8.1).
pub(super) fn variable_name(text: &str) -> Option<String> {
    let is_name = text.bytes().all(|octet| octet.is_ascii_alphanumeric() || octet == b'_')
        && text.bytes().next().is_some_and(|first| !first.is_ascii_digit());
    is_name.then(|| text.to_owned())
}

/// The mode of a file, in octal: `0660`.
pub(super) fn mode(text: &str) -> Option<u32> {
    let is_octal =
        (3..=4).contains(&text.len()) && text.bytes().all(|o| (b'0'..=b'7').contains(&o));
    let mode = u32::from_str_radix(text, 8).ok()?;
    (is_octal && mode <= 0o777).then_some(mode)
}

/// A word for a POSIX shell, in quotes where it needs them.
pub(super) fn shell_word(text: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._-+,:@%=".contains(c);
    if !text.is_empty() && !text.starts_with('-') && text.chars().all(is_plain) {
        return text.to_owned();
    }
    // A leading `-` would be an option.
    let start = if text.starts_with('-') { "./" } else { "" };
    format!("'{start}{}'", text.replace('\'', r"'\''"))
}

/// The port after a host: nothing, or `:` and a number.
fn port_after(text: &str) -> Option<u16> {
    let Some(digits) = text.strip_prefix(':') else {
        return text.is_empty().then_some(MYSQL_PORT);
    };
    let (port, rest) = split_number(digits)?;
    u16::try_from(port).ok().filter(|&port| port > 0 && rest.is_empty())
}

fn is_sql_name(text: &str) -> bool {
    (1..=SQL_NAME_OCTETS).contains(&text.len())
        && text.bytes().all(|octet| octet.is_ascii_alphanumeric() || b"_$".contains(&octet))
}

fn is_host_name(text: &str) -> bool {
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && label.bytes().all(|octet| octet.is_ascii_alphanumeric() || b"-_".contains(&octet))
    };
    let name = text.strip_suffix('.').unwrap_or(text);
    // No top-level domain is a number: a name that ends so is an IPv4 address, or
    // a mistake in one.
    let ends_in_number =
        name.rsplit('.').next().is_some_and(|label| label.bytes().all(|o| o.is_ascii_digit()));
    name.len() <= 253
        && name.split('.').all(is_label)
        && (!ends_in_number || name.parse::<Ipv4Addr>().is_ok())
}

/// The digits that `text` begins with, and the rest.
fn split_number(text: &str) -> Option<(u64, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (digits, rest) = text.split_at_checked(end)?;
    Some((digits.parse().ok()?, rest))
}

const MYSQL_PORT: u16 = 3306;
/// MySQL allows 64 characters.
const SQL_NAME_OCTETS: usize = 64;
/// `NAME_MAX` of Linux.
const FILE_NAME_OCTETS: usize = 255;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_units_that_add_up() {
        let seconds = |text| duration(text).map(|duration| duration.as_secs());
        assert_eq!(seconds("0s"), Some(0));
        assert_eq!(seconds("10s"), Some(10));
        assert_eq!(seconds("1h30m"), Some(5_400));
        assert_eq!(seconds("3d"), Some(259_200));
        assert_eq!(duration("1s500ms"), Some(Duration::from_millis(1_500)));
    }

    #[test]
    fn a_duration_without_a_unit_or_with_a_foreign_one_is_none() {
        for text in ["", "10", "s", "10 s", "-1s", "1.5h", "1w", "1h30", "1H", "9999999999999999d"]
        {
            assert_eq!(duration(text), None, "{text}");
        }
        assert_eq!(duration("18446744073709551615s1s"), None);
    }

    #[test]
    fn a_printed_duration_reads_as_the_same() {
        for text in ["0s", "10s", "1h30m", "3d", "1d1ms", "2s500ms"] {
            assert_eq!(duration_text(duration(text).unwrap()), text);
        }
    }

    #[test]
    fn sizes_have_binary_or_decimal_units() {
        assert_eq!(size("64MiB"), Some(67_108_864));
        assert_eq!(size("64 MiB"), Some(67_108_864));
        assert_eq!(size("1KiB"), Some(1_024));
        assert_eq!(size("2GiB"), Some(2_147_483_648));
        assert_eq!(size("3kB"), Some(3_000));
        assert_eq!(size("3MB"), Some(3_000_000));
        assert_eq!(size("0"), Some(0));
        for text in ["", "64", "MiB", "64mib", "1.5MiB", "-1MiB", "64  MiB", "99999999999999GiB"] {
            assert_eq!(size(text), None, "{text}");
        }
    }

    #[test]
    fn a_printed_size_is_in_the_largest_unit_that_divides_it() {
        assert_eq!(size_text(67_108_864), "64MiB");
        assert_eq!(size_text(1_024), "1KiB");
        assert_eq!(size_text(1_000), "1000");
        assert_eq!(size_text(0), "0");
    }

    #[test]
    fn hosts_are_names_addresses_or_sockets() {
        let tcp = |host: &str, port| Some(Host::Tcp { host: host.to_owned(), port });
        assert_eq!(host("127.0.0.1"), tcp("127.0.0.1", 3306));
        assert_eq!(host("db-1.example.net:3307"), tcp("db-1.example.net", 3307));
        assert_eq!(host("localhost"), tcp("localhost", 3306));
        assert_eq!(host("::1"), tcp("::1", 3306));
        assert_eq!(host("2001:db8::5"), tcp("2001:db8::5", 3306));
        assert_eq!(host("[2001:db8::5]:3307"), tcp("2001:db8::5", 3307));
        assert_eq!(host("[::1]"), tcp("::1", 3306));
        assert_eq!(host("/run/mysqld.sock"), Some(Host::Unix("/run/mysqld.sock".into())));
    }

    #[test]
    fn what_is_no_host_is_none() {
        for text in [
            "",
            ":3306",
            "db:",
            "db:0",
            "db:65536",
            "db:x",
            "db one",
            "300.1.1.1",
            "10.0.0",
            "a..b",
            "-a",
            "[::1",
            "[::1]x",
            "[db]:1",
            "1:2:3",
            "db:+1",
            "mysql://db",
            "münchen",
        ] {
            assert_eq!(host(text), None, "{text}");
        }
    }

    #[test]
    fn a_table_name_cannot_leave_its_place_in_a_statement() {
        for text in ["list_certs", "pki.list_certs", "T$1"] {
            assert_eq!(table_name(text).as_deref(), Some(text));
        }
        for text in ["", ".", "a.", ".a", "a.b.c", "a b", "a`", "a;--", "a'", "ü"] {
            assert_eq!(table_name(text), None, "{text}");
        }
        assert_eq!(table_name(&"a".repeat(65)), None);
    }

    #[test]
    fn a_credential_is_named_as_a_file_in_its_folder_is() {
        for text in ["key-password", "a.b_c", "..a"] {
            assert_eq!(credential_name(text).as_deref(), Some(text));
        }
        for text in ["", ".", "..", "a/b", "../etc", "a:b", "a b", "a\0", "ü"] {
            assert_eq!(credential_name(text), None, "{text}");
        }
        assert_eq!(credential_name(&"a".repeat(256)), None);
    }

    #[test]
    fn a_variable_is_named_by_letters_digits_and_underscores() {
        for text in ["KEY_PASSWORD", "_a1"] {
            assert_eq!(variable_name(text).as_deref(), Some(text));
        }
        for text in ["", "1A", "A=B", "A B", "A\0", "Ü"] {
            assert_eq!(variable_name(text), None, "{text}");
        }
    }

    #[test]
    fn a_time_zone_is_a_fixed_distance_from_utc() {
        let minutes = |text| time_zone(text).map(|zone| zone.minutes);
        assert_eq!(["utc", "UTC", "+00:00"].map(minutes), [Some(0); 3]);
        assert_eq!(["+01:00", "-05:30", "+14:00"].map(minutes), [Some(60), Some(-330), Some(840)]);
        for text in ["", "Z", "CET", "01:00", "+1:00", "+0100", "+15:00", "+01:60", "+-1:00"] {
            assert_eq!(time_zone(text), None, "{text}");
        }
    }

    #[test]
    fn modes_are_three_octal_digits() {
        assert_eq!(mode("0660"), Some(0o660));
        assert_eq!(mode("600"), Some(0o600));
        for text in ["", "66", "0668", "1777", "+660", "0o660", "00660", "u=rw"] {
            assert_eq!(mode(text), None, "{text}");
        }
    }

    #[test]
    fn a_shell_word_is_quoted_where_it_needs_to_be() {
        assert_eq!(shell_word("/etc/ocsp-fcgi/config.toml"), "/etc/ocsp-fcgi/config.toml");
        assert_eq!(shell_word("my config.toml"), "'my config.toml'");
        assert_eq!(shell_word("it's"), r"'it'\''s'");
        assert_eq!(shell_word("-x"), "'./-x'");
    }
}
