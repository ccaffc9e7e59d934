//! `cache`: the folder of kept answers, filled ahead, counted, emptied, looked into.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Subcommand;

use crate::config::Config;

mod meter;
mod purge;
mod show;
mod stats;
mod warm;

#[derive(clap::Args)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Sign answers ahead, so that the responders find them in the cache folder
    ///
    /// Goes through all certificates that the database has, and signs what is not kept
    /// yet, says something else than the database, or has half of its validity behind
    /// it. So a second run goes on where one was interrupted, and a daily run signs what
    /// is due. Responders may run meanwhile; their newer answers stay. The database is
    /// read in small pieces.
    ///
    /// Run it as the user that the service runs as, who must be able to read the files.
    /// Ctrl-C or SIGTERM ends it after the signatures under way; a second one at once.
    #[command(after_help = warm::AFTER_HELP)]
    Warm(warm::Arguments),
    /// Say how much is kept, of which signer, and how old it is
    ///
    /// Reads each file, but verifies no signatures. A signer whose certificate is not in
    /// the configuration is told as another signer.
    Stats(stats::Arguments),
    /// Remove kept answers; never anything else
    ///
    /// All of the cache may be removed at any time, also while responders run: they sign
    /// anew. What they have in memory stays there; what is in the database decides anyway.
    /// While the database is away, though, a single file that is gone counts as a revocation
    /// that another process has found out: its answer, if it is `good`, is not given from
    /// memory either. So it is after `--serial`, and not after `--all`.
    Purge(purge::Arguments),
    /// Say what is kept of one certificate, and what the database says now
    ///
    /// Exit code 1 when nothing is kept.
    Show(show::Arguments),
}

pub fn run(config: Option<PathBuf>, arguments: &Arguments) -> Result<ExitCode> {
    match &arguments.command {
        Command::Warm(arguments) => warm::run(config, arguments),
        Command::Stats(arguments) => stats::run(config, arguments),
        Command::Purge(arguments) => purge::run(config, arguments),
        Command::Show(arguments) => show::run(config, arguments),
    }
}

/// The cache folder of a configuration that has one.
fn folder(config: &Config) -> Result<PathBuf> {
    config.cache.folder.clone().with_context(|| {
        format!("{}: no cachefolder, wanted one for this command", config.path.display())
    })
}
