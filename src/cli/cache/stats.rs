//! `cache stats`: how much is kept, of which signer.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};

use super::folder;
use super::meter::Meter;
use crate::cache::survey::{self, NameKind, Named, Outline, SignerFolder};
use crate::cli::say;
use crate::config::Config;
use crate::ocsp::response::SignedAnswer;
use crate::signer::certificate::Certificate;
use crate::status::CertStatus;
use crate::time::{Clock, SystemClock, Timestamp};

#[derive(clap::Args)]
pub struct Arguments {
    /// Count the files only, without opening them
    #[arg(long)]
    quick: bool,
}

pub fn run(config: Option<PathBuf>, arguments: &Arguments) -> Result<ExitCode> {
    let (config, _warnings) = crate::cli::load(config)?;
    let folder = folder(&config)?;
    let signers = signers(&config);
    let folders = listed(survey::signer_folders(&folder), &folder)?;
    let mut meter = Meter::new();
    for signer in &folders {
        let tally = match arguments.quick {
            true => Tally::quick(signer, &mut meter)?,
            false => Tally::whole(signer, SystemClock.now(), &mut meter)?,
        };
        let name = signers.iter().find(|known| signer.is_of(known.der()));
        let name = name.map_or("another signer".to_owned(), Certificate::subject);
        say(format_args!("{}: {name}", signer.path.display()));
        match arguments.quick {
            true => say(format_args!("  answers              {}", tally.answers)),
            false => tally.tell(),
        }
    }
    meter.end();
    if folders.is_empty() {
        say(format_args!("{}: nothing is kept", folder.display()));
    }
    Ok(ExitCode::SUCCESS)
}

/// The certificates of all who sign or will sign, as far as they can be read.
fn signers(config: &Config) -> Vec<Certificate> {
    let paths = config.issuers.iter().flat_map(|issuer| {
        let own = issuer.signer.certificate.as_ref().unwrap_or(&issuer.certificate);
        let next = issuer.next.as_ref();
        let next = next.map(|next| next.certificate.as_ref().unwrap_or(&issuer.certificate));
        [Some(own), next].into_iter().flatten()
    });
    paths.filter_map(|named| Certificate::load(&named.path).ok()).collect()
}

fn listed<T>(result: std::io::Result<T>, folder: &Path) -> Result<T> {
    result.with_context(|| format!("cache folder {}", folder.display()))
}

#[derive(Default)]
struct Tally {
    answers: u64,
    good: u64,
    revoked: u64,
    damaged: u64,
    unfinished: u64,
    octets: u64,
    confirmed: Option<(Timestamp, Timestamp)>,
    ended: u64,
    ending: u64,
}

impl Tally {
    fn quick(signer: &SignerFolder, meter: &mut Meter) -> Result<Self> {
        let mut tally = Self::default();
        for bucket in listed(signer.buckets(), &signer.path)? {
            let files = listed(survey::files(&bucket), &bucket)?;
            let answers = files.iter().filter(|file| file.kind == NameKind::Answer).count();
            tally.answers += answers as u64;
            meter.show(tally.answers, None, "files");
        }
        Ok(tally)
    }

    fn whole(signer: &SignerFolder, now: Timestamp, meter: &mut Meter) -> Result<Self> {
        let mut tally = Self::default();
        let buckets = listed(signer.buckets(), &signer.path)?;
        let all = buckets.len() as u64;
        for (done, bucket) in (0..).zip(buckets) {
            for file in listed(survey::files(&bucket), &bucket)? {
                tally.add(&file, now);
                if tally.answers.is_multiple_of(SHOWN_EACH) {
                    let note = format!("parts, answers {}", tally.answers);
                    meter.show(done, Some(all), note);
                }
            }
        }
        Ok(tally)
    }

    fn add(&mut self, file: &Named, now: Timestamp) {
        let Some(Outline { size, confirmed }) = file.outline() else { return };
        self.octets += size;
        if file.kind == NameKind::Unfinished {
            self.unfinished += 1;
            return;
        }
        let Some(octets) = file.read() else { return };
        self.answers += 1;
        let (oldest, newest) = self.confirmed.unwrap_or((confirmed, confirmed));
        self.confirmed = Some((oldest.min(confirmed), newest.max(confirmed)));
        let Ok(answer) = SignedAnswer::from_der(&octets) else {
            self.damaged += 1;
            return;
        };
        match answer.response.status {
            CertStatus::Good => self.good += 1,
            CertStatus::Revoked { .. } | CertStatus::Unknown => self.revoked += 1,
        }
        let ends = answer.response.validity.next_update;
        if ends <= now {
            self.ended += 1;
        } else if ends <= now.saturating_add(DAY) {
            self.ending += 1;
        }
    }

    fn tell(&self) {
        let Self { answers, good, revoked, octets, ended, ending, .. } = self;
        say(format_args!("  answers              {answers} (good {good}, revoked {revoked})"));
        say(format_args!("  octets               {octets}"));
        if let Some((oldest, newest)) = self.confirmed {
            say(format_args!("  oldest confirmation  {oldest}"));
            say(format_args!("  newest confirmation  {newest}"));
        }
        say(format_args!("  ended                {ended}"));
        say(format_args!("  ending within a day  {ending}"));
        for (number, what) in [
            (self.damaged, "  damaged              "),
            (self.unfinished, "  unfinished           "),
        ] {
            if number > 0 {
                say(format_args!("{what}{number}"));
            }
        }
    }
}

const DAY: Duration = Duration::from_secs(86_400);
const SHOWN_EACH: u64 = 256;
