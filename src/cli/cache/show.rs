//! `cache show`: what is kept of one certificate, beside what the database says.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;

use super::folder;
use crate::app::{self, Keys, Shared};
use crate::cache::Kept;
use crate::cache::disk::CacheFile;
use crate::cli::{say, say_on_stderr};
use crate::logging::{Launcher, chain};
use crate::ocsp::{CertId, Spelling};
use crate::responder::issuers::{Acting, Issuer};
use crate::serial::{Serial, SerialError};
use crate::status::{CertRecord, CertStatus};
use crate::time::{Clock, SystemClock, Timestamp};

#[derive(clap::Args)]
pub struct Arguments {
    /// The serial number: 0x0a1b, 0a1b or 0A:1B
    ///
    /// Digits alone are hexadecimal too, as OpenSSL prints them, up to the 40 that a
    /// serial has at the most; more than that are decimal.
    serial: String,
    /// Read the serial number as decimal
    #[arg(long)]
    decimal: bool,
}

pub fn run(config: Option<PathBuf>, arguments: &Arguments) -> Result<ExitCode> {
    let serial = match arguments.decimal {
        true => Serial::from_decimal(&arguments.serial),
        false => read(&arguments.serial),
    };
    let serial = match serial {
        Ok(serial) => serial,
        Err(error) => {
            let text = &arguments.serial;
            say_on_stderr(format_args!("ocsp-fcgi: serial number {text:?}: {error}"));
            return Ok(ExitCode::from(WRONG_ARGUMENTS));
        }
    };
    let (config, _log) = crate::cli::start(config, Launcher::Operator)?;
    folder(&config)?;
    let (responder, _warnings) = app::responder(&config, &Shared::new(&config), Keys::WhenNeeded)?;
    let now = SystemClock.now();
    say(format_args!("serial 0x{serial}, decimal {}", serial.to_decimal()));
    let mut kept = 0;
    for issuer in responder.issuers().iter() {
        let record = tell_database(issuer, &serial);
        for acting in issuer.each_acting() {
            kept += tell_kept(acting, &serial, record.as_ref(), now);
        }
    }
    match kept {
        0 => {
            say(format_args!("nothing is kept"));
            Ok(ExitCode::FAILURE)
        }
        _ => Ok(ExitCode::SUCCESS),
    }
}

/// Hexadecimal, unless it is too long to be.
fn read(text: &str) -> Result<Serial, SerialError> {
    let is_decimal = text.len() > MOST_HEX_DIGITS && text.bytes().all(|it| it.is_ascii_digit());
    if is_decimal { Serial::from_decimal(text) } else { Serial::from_hex(text) }
}

fn tell_database(issuer: &Issuer, serial: &Serial) -> Option<CertRecord> {
    say(format_args!("issuer {} ({})", issuer.id().0, issuer.certificate().subject()));
    let found = issuer.store().find(serial);
    match &found {
        Ok(Some(record)) => say(format_args!("  database says {}", words(record.status))),
        Ok(None) => say(format_args!("  database has no such certificate")),
        Err(error) => say(format_args!("  database: {}", chain(error))),
    }
    found.ok().flatten()
}

fn tell_kept(
    acting: Acting<'_>,
    serial: &Serial,
    record: Option<&CertRecord>,
    now: Timestamp,
) -> usize {
    let Some(disk) = acting.cache().disk() else { return 0 };
    let mut kept = 0;
    for spelling in Spelling::all() {
        let der = acting.certificate().hashes().cert_id(serial, spelling).unwrap_or_default();
        let Ok(cert_id) = CertId::from_der(&der) else { continue };
        let Some(file) = disk.read(&cert_id) else { continue };
        kept += 1;
        let signer = acting.signer().certificate().subject();
        say(format_args!("  kept for {spelling}, signer {signer}"));
        say(format_args!("    file         {}", disk.path(&cert_id).display()));
        tell_file(acting, (&cert_id, &file), record, now);
    }
    kept
}

fn tell_file(
    acting: Acting<'_>,
    (cert_id, file): (&CertId<'_>, &CacheFile),
    record: Option<&CertRecord>,
    now: Timestamp,
) {
    let Some(Kept { answer, confirmed }) = Kept::of(file, cert_id) else {
        say(format_args!("    damaged      not an answer to this question, it is not given"));
        return;
    };
    let (response, validity) = (answer.response, answer.response.validity);
    let differs = match record {
        Some(record) if record.status == response.status => "",
        Some(_) => " (the database says something else)",
        None => "",
    };
    say(format_args!("    status       {}{differs}", words(response.status)));
    say(format_args!("    thisUpdate   {}", validity.this_update));
    let ended = if validity.next_update <= now { " (ended)" } else { "" };
    say(format_args!("    nextUpdate   {}{ended}", validity.next_update));
    say(format_args!("    confirmed    {confirmed}"));
    let verifies = match acting.has_signed(&answer) {
        true => "verifies with this signer",
        false => "is not this signer's as it signs now, the answer is not given",
    };
    say(format_args!("    signature    {verifies}"));
}

fn words(status: CertStatus) -> String {
    match status {
        CertStatus::Good => "good".to_owned(),
        CertStatus::Unknown => "unknown".to_owned(),
        CertStatus::Revoked { time, reason } => {
            let reason = reason.map_or(String::new(), |it| format!(", {}", it.column_name()));
            format!("revoked on {time}{reason}")
        }
    }
}

/// 20 octets (RFC 5280 section 4.1.2.2).
const MOST_HEX_DIGITS: usize = 40;
/// The exit code, as for others.
const WRONG_ARGUMENTS: u8 = 2;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_serial_is_hexadecimal_unless_it_is_too_long_for_that() {
        let hex = |text| Serial::from_hex(text);
        for text in ["0x0a1b", "0a1b", "0A:1B", "a1b"] {
            assert_eq!(read(text), hex("0a1b"), "{text}");
        }
        assert_eq!(read("1000"), hex("0x1000"));
        let digits = "1234567890123456789012345678901234567890";
        assert_eq!(read(digits), hex(digits));
        let decimal = "53124676113289339881255524899894931150852478432";
        assert_eq!(read(decimal), hex("094e315fa6adb9bc3ea20564a7b22ee6ebaa55e0"));
        assert_eq!(read("ten"), Err(SerialError::NotDigits));
    }
}
