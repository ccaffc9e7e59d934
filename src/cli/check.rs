//! `check`: says what is right and what is wrong, all of it.

use std::fs;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Result;
use rustix::fs::Access;

use self::rows::with_rows;
use super::serve::{self, Tried};
use crate::app::{self, Identity, Keys, Named};
use crate::cache::survey;
use crate::cli::say;
use crate::config::{Config, Database, Issuer, Listen, Warning};
use crate::logging;
use crate::responder::presigned::PresignedAnswer;
use crate::signer::certificate::Certificate;
use crate::store::index_txt::IndexTxt;
use crate::store::mysql::Mysql;
use crate::store::sqlite::Sqlite;
use crate::store::{Finding, Report};
use crate::time::{Clock, SystemClock, Validity};

mod rows;

pub fn run(path: Option<PathBuf>) -> Result<ExitCode> {
    let (config, warnings) = super::load(path)?;
    let mut tally = Tally { problems: 0 };
    check_file(&config.path, &warnings, &tally);
    check_listeners(&config.listen, &mut tally);
    let mut named = Named::default();
    for issuer in &config.issuers {
        match app::identity(&config, issuer, Keys::AtOnce, SystemClock.now()) {
            Ok(identity) => {
                tally.fine(&format!("issuer {}", identity.certificate.subject()));
                if let Some(reason) =
                    app::not_of_a_ca(&identity.certificate, &issuer.certificate.path)
                {
                    tally.problem(&reason);
                }
                if let Err(error) = named.add(&issuer.certificate, &identity.certificate) {
                    tally.problem(&format!("{error:#}"));
                }
                if let Some(reason) = &identity.over {
                    tally.problem(reason);
                }
                check_signers(&identity, issuer, &mut tally);
                for warning in identity.warnings {
                    tally.warning(&warning);
                }
            }
            Err(error) => tally.problem(&format!("{error:#}")),
        }
    }
    check_presigned(&config, &mut tally);
    match &config.cache.folder {
        Some(folder) => check_folder(folder, &mut tally),
        None => tally.warning("no cachefolder: answers are kept in memory only"),
    }
    for report in config.issuers.iter().flat_map(check_database) {
        tell(report, &mut tally);
    }
    if rustix::process::geteuid().is_root() {
        tally.warning(
            "checked with the rights of root; what the service's user may do was not tried",
        );
    }
    Ok(tally.verdict())
}

fn tell(report: Report, tally: &mut Tally) {
    for finding in report.findings {
        let shown = |text| format!("database {}: {text}", report.place);
        match finding {
            Finding::Fine(text) => tally.fine(&shown(text)),
            Finding::Warning(text) => tally.warning(&shown(text)),
            Finding::Problem(text) => tally.problem(&shown(text)),
        }
    }
}

fn check_file(path: &Path, warnings: &[Warning], tally: &Tally) {
    tally.fine(&format!("configuration {}", path.display()));
    for warning in warnings {
        tally.warning(&warning.to_string());
    }
    if fs::metadata(path).is_ok_and(|file| file.mode() & 0o002 != 0) {
        let path = path.display();
        tally.warning(&format!("configuration {path}: everybody may write to the file"));
    }
}

fn check_presigned(config: &Config, tally: &mut Tally) {
    let mut warnings = Vec::new();
    match app::presigned(config, &mut warnings) {
        Ok(presigned) => {
            let now = SystemClock.now();
            let is_over = |answer: &PresignedAnswer| answer.validity().next_update <= now;
            for answer in presigned.iter().filter(|answer| !is_over(answer)) {
                let (path, Validity { this_update, next_update }) =
                    (answer.path().display(), answer.validity());
                // Put there in advance, or by a clock that is ahead.
                let from = match this_update > now {
                    true => format!("from {this_update} on, "),
                    false => String::new(),
                };
                tally.fine(&format!("pre-signed answer {path}: {from}valid until {next_update}"));
            }
            for warning in warnings {
                tally.problem(&warning);
            }
        }
        Err(error) => tally.problem(&format!("{error:#}")),
    }
}

fn check_signers(identity: &Identity, issuer: &Issuer, tally: &mut Tally) {
    let now = SystemClock.now();
    let mut predecessor_ends = None;
    for (signer, take_over) in &identity.signers {
        let certificate = signer.certificate();
        let ends = certificate.not_after().min(identity.certificate.not_after());
        let takes_over = predecessor_ends
            .replace(ends)
            .map(|before| take_over.instant(certificate, before, issuer.policy.validity));
        let from = match takes_over {
            Some(from) if from > now => format!("from {from} on, "),
            _ => String::new(),
        };
        if ends <= now {
            continue; // which is told, and whether its successor signs
        }
        let subject = certificate.subject();
        match signer.try_out() {
            Ok(()) => tally.fine(&format!(
                "signer {subject}: {}, {from}valid until {}",
                signer.algorithm(),
                certificate.not_after()
            )),
            Err(error) => {
                tally.problem(&format!("signer {subject}: {}", logging::chain(&error)));
                continue;
            }
        }
        if let Some((name, path)) = signer.token() {
            let path = path.display();
            tally.fine(&format!("key {path}: {name} is there, and signs"));
        }
    }
}

fn check_listeners(listen: &Listen, tally: &mut Tally) {
    let addresses = listen
        .port
        .iter()
        .flat_map(|port| listen.addresses.iter().map(|address| SocketAddr::new(*address, *port)));
    let tried: Vec<_> = addresses.map(|address| (address, serve::try_tcp(address))).collect();
    let is_one_there = tried.iter().any(|(_, tried)| !matches!(tried, Tried::Absent));
    for (address, tried) in tried {
        match tried {
            Tried::Free => tally.fine(&format!("listens on {address}")),
            Tried::InUse => tally.fine(&format!(
                "listens on {address}, which is in use now: by the service, or by another program"
            )),
            Tried::Absent if is_one_there => tally
                .fine(&format!("does not listen on {address}, which this machine does not have")),
            Tried::Absent => {
                tally.problem(&format!("port: this machine does not have the address {address}"));
            }
            Tried::Refused(error) => tally.problem(&format!("port: listening: {error:#}")),
        }
    }
    if let Some(socket) = &listen.unix {
        let (path, mode) = (socket.path.display(), socket.mode);
        match serve::try_unix(socket) {
            Ok(()) => tally.fine(&format!("listens on {path} (mode {mode:04o})")),
            Err(error) if is_not_found(&error) => tally.warning(&format!(
                "[listen] unix: no folder for {path}, which must be there at the start (as by \
                 RuntimeDirectory= of systemd)"
            )),
            Err(error) => tally.problem(&format!("[listen] unix: {error:#}")),
        }
    }
    if listen.port.is_none() && listen.unix.is_none() {
        tally.fine("listens only on sockets handed over by systemd, spawn-fcgi or mod_fcgid");
    }
}

fn is_not_found(error: &anyhow::Error) -> bool {
    let cause = error.root_cause().downcast_ref::<io::Error>();
    cause.is_some_and(|cause| cause.kind() == io::ErrorKind::NotFound)
}

/// Writes a file as answers are written, and removes it.
fn check_folder(folder: &Path, tally: &mut Tally) {
    let missing = missing(folder);
    let written = fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .and_then(|()| tempfile::Builder::new().suffix(".tmp").tempfile_in(folder))
        .and_then(|mut file| file.write_all(&[0; BLOCK]));
    let looked_at = written.and_then(|()| closed_below(folder));
    // Made by whoever checks, it would be closed to the service.
    for made in missing {
        let _stays_if_in_use = fs::remove_dir(made);
    }
    match looked_at {
        Ok(None) => {
            tally.fine(&format!("cache folder {} can be written", folder.display()));
            // How fresh an answer is stands in the times of its file.
            if fs::metadata(folder).is_ok_and(|folder| folder.mode() & 0o002 != 0) {
                let folder = folder.display();
                tally.warning(&format!(
                    "cache folder {folder}: everybody may write there, wanted: chmod o-w {folder}"
                ));
            }
        }
        Ok(Some(closed)) => tally.problem(&format!(
            "cache folder {}: another user has made it, and this one may not write there, wanted: \
             chown -R USER {}",
            closed.display(),
            folder.display()
        )),
        Err(error) => tally.problem(&format!("cache folder {}: {error}", folder.display())),
    }
}

/// The folders that are missing of a path, the innermost first.
fn missing(folder: &Path) -> Vec<&Path> {
    folder.ancestors().take_while(|part| !part.as_os_str().is_empty() && !part.exists()).collect()
}

/// A part of the cache folder that another user has made: as root by hand, say.
fn closed_below(folder: &Path) -> io::Result<Option<PathBuf>> {
    let is_closed = |path: &PathBuf| {
        rustix::fs::access(path, Access::WRITE_OK | Access::EXEC_OK).is_err() && path.exists()
    };
    for signer in survey::signer_folders(folder)? {
        if is_closed(&signer.path) {
            return Ok(Some(signer.path));
        }
        if let Some(bucket) = signer.buckets()?.into_iter().find(is_closed) {
            return Ok(Some(bucket));
        }
    }
    Ok(None)
}

fn check_database(issuer: &Issuer) -> Vec<Report> {
    match issuer.database.clone() {
        Database::Mysql(options) => {
            let store = Mysql::new(options);
            with_rows(store.check(), &store)
        }
        Database::Sqlite(options) => {
            let store = Sqlite::open(options);
            with_rows(vec![store.check()], &store)
        }
        Database::Index(path) => vec![IndexTxt::new(path, Arc::new(SystemClock)).check()],
        Database::Crl(path, unlisted) => {
            let crl = Certificate::load(&issuer.certificate.path)
                .map_err(anyhow::Error::from)
                .and_then(|certificate| app::crl(path.clone(), unlisted, &certificate));
            vec![crl.map_or_else(
                |error| Report {
                    place: path.display().to_string(),
                    findings: vec![Finding::Problem(format!("not looked at: {error:#}"))],
                },
                |crl| crl.check(),
            )]
        }
    }
}

/// What a file takes on most disks, in octets: there may be room for a name and none for that.
const BLOCK: usize = 4096;

struct Tally {
    problems: usize,
}

impl Tally {
    fn fine(&self, text: &str) {
        say(format_args!("ok       {text}"));
    }

    fn warning(&self, text: &str) {
        say(format_args!("warning  {text}"));
    }

    fn problem(&mut self, text: &str) {
        self.problems += 1;
        say(format_args!("WRONG    {text}"));
    }

    fn verdict(&self) -> ExitCode {
        match self.problems {
            0 => {
                say(format_args!("all is well"));
                ExitCode::SUCCESS
            }
            1 => {
                say(format_args!("one thing is wrong"));
                ExitCode::FAILURE
            }
            many => {
                say(format_args!("{many} things are wrong"));
                ExitCode::FAILURE
            }
        }
    }
}
