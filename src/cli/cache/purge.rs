//! `cache purge`: removes kept answers, and nothing else.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result};

use super::folder;
use super::meter::Meter;
use crate::cache::survey::{self, NameKind, Named};
use crate::cli::say;
use crate::ocsp::response::SignedAnswer;
use crate::serial::Serial;
use crate::time::{Clock, SystemClock, Timestamp};

#[derive(clap::Args)]
#[group(required = true, multiple = false)]
pub struct Arguments {
    /// Answers whose validity has ended, which nobody is given any more
    #[arg(long)]
    expired: bool,
    /// Answers about this serial number, in hexadecimal, in every spelling
    #[arg(long, value_name = "HEX", value_parser = Serial::from_hex)]
    serial: Option<Serial>,
    /// All answers, those of other signers too
    #[arg(long)]
    all: bool,
}

/// Which files.
#[derive(Clone, Copy)]
enum Which {
    Expired,
    Of(Serial),
    All,
}

pub fn run(config: Option<PathBuf>, arguments: &Arguments) -> Result<ExitCode> {
    let (config, _warnings) = crate::cli::load(config)?;
    let folder = folder(&config)?;
    let which = match (arguments.serial, arguments.all) {
        (Some(serial), _) => Which::Of(serial),
        (None, true) => Which::All,
        (None, false) => Which::Expired,
    };
    let mut purge =
        Purge { which, now: SystemClock.now(), removed: 0, error: None, meter: Meter::new() };
    let done = purge.folder(&folder);
    purge.meter.end();
    say(format_args!("removed {}", purge.removed));
    done.with_context(|| format!("cache folder {}", folder.display()))?;
    match purge.error {
        Some((path, error)) => {
            Err(error).with_context(|| format!("not removed: {}", path.display()))
        }
        None => Ok(ExitCode::SUCCESS),
    }
}

struct Purge {
    which: Which,
    now: Timestamp,
    removed: u64,
    /// The first file that could not be removed.
    error: Option<(PathBuf, io::Error)>,
    meter: Meter,
}

impl Purge {
    fn folder(&mut self, folder: &Path) -> io::Result<()> {
        if let Which::All = self.which {
            // What one that was interrupted has left is in the way of what is put aside now.
            for bucket in survey::aside(folder).buckets()? {
                self.bucket(&bucket, |_| true)?;
            }
        }
        for signer in survey::signer_folders(folder)? {
            if let Which::Of(serial) = self.which {
                for file in survey::files_of(&signer, &serial)? {
                    self.remove(file);
                }
                continue;
            }
            for bucket in signer.buckets()? {
                let aside = match self.which {
                    Which::All => survey::put_aside(folder, &bucket, self.now)?,
                    Which::Expired | Which::Of(_) => None,
                };
                match aside {
                    // Whoever is writing there cannot move it to its place any more.
                    Some(aside) => self.bucket(&aside, |_| true)?,
                    None => self.bucket(&bucket, self.is_meant())?,
                }
            }
        }
        survey::end_aside(folder);
        Ok(())
    }

    fn bucket(&mut self, bucket: &Path, is_meant: impl Fn(&Named) -> bool) -> io::Result<()> {
        for file in survey::files(bucket)?.into_iter().filter(is_meant) {
            self.remove(file);
        }
        if let Which::All = self.which {
            let _something_is_left = fs::remove_dir(bucket);
        }
        self.meter.show(self.removed, None, "removed");
        Ok(())
    }

    fn is_meant(&self) -> impl Fn(&Named) -> bool + use<> {
        let (which, now) = (self.which, self.now);
        move |file| {
            if file.kind == NameKind::Unfinished {
                return !file.is_being_written(now);
            }
            match which {
                Which::All | Which::Of(_) => true,
                Which::Expired => file.read().is_some_and(|octets| {
                    SignedAnswer::from_der(&octets)
                        .is_ok_and(|answer| answer.response.validity.next_update <= now)
                }),
            }
        }
    }

    fn remove(&mut self, file: Named) {
        match file.remove() {
            Ok(()) => self.removed += 1,
            Err(error) => {
                self.error.get_or_insert((file.path, error));
            }
        }
    }
}
