//! The command line: arguments, exit codes, and what the bare binary does when a
//! web server has started it.

use std::env;
use std::ffi::OsString;
use std::fmt::{self, Display};
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Result;
use clap::{CommandFactory, Parser, Subcommand};
use log::LevelFilter;

use crate::cli::query::Query;
use crate::config::{self, Config, ConfigErrors, Warning};
use crate::logging::{self, Launcher, Target};

mod cache;
mod cgi;
mod check;
mod demo;
mod query;
mod respond;
mod serve;

/// OCSP responder for nginx and Apache: looks certificates up in a MySQL, MariaDB or
/// SQLite table, an index.txt or a CRL, and signs the answers.
///
/// Without a command it finds out how it was started: as a FastCGI server by a web
/// server, spawn-fcgi or systemd (a listening socket on descriptor 0 or in
/// LISTEN_FDS), or as a CGI program (GATEWAY_INTERFACE is set). By hand it serves where
/// there is a config.toml, as `serve` does.
#[derive(Parser)]
#[command(name = "ocsp-fcgi", version, after_help = AFTER_HELP, disable_help_subcommand = true)]
struct Arguments {
    /// The configuration [default: config.toml here, then /etc/ocsp-fcgi/config.toml]
    #[arg(short, long, global = true, value_name = "FILE", env = "OCSP_FCGI_CONFIG")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Answer FastCGI and HTTP on the configured addresses, until SIGTERM
    ///
    /// SIGHUP reads configuration, keys and certificates anew; if something is wrong
    /// with them, the old ones stay and the log says why. (Listeners, log and
    /// limits but request_certificates stay as they are until a restart.)
    Serve(serve::Arguments),
    /// Answer one CGI request: meta-variables in the environment, its body on stdin
    ///
    /// By hand: REQUEST_METHOD=POST CONTENT_LENGTH=$(stat -c %s request.der) ocsp-fcgi cgi < request.der
    Cgi,
    /// Answer one OCSP request, DER in and DER out
    ///
    /// With: openssl ocsp -no_nonce -issuer ca.crt -cert site.crt -reqout - | ocsp-fcgi respond |
    /// openssl ocsp -no_nonce -respin - -CAfile ca.crt …
    Respond(respond::Arguments),
    /// Say what is right and what is wrong with configuration, keys, cache and database
    ///
    /// Exit code 1 when something is wrong. Run it as the user that the service runs as.
    Check,
    /// Fill the cache folder ahead of time, count what is in it, empty it, look into it
    Cache(cache::Arguments),
    /// Set up a throwaway CA and show the whole way of a question, on real parts
    Demo(demo::Arguments),
}

const NO_THREAD: &str =
    "the system gives no thread, wanted: more of LimitNPROC=, TasksMax= or memory";

const AFTER_HELP: &str = "\
Exit codes: 0 done, 1 an error (stderr or the log says which), 2 wrong arguments.

First steps:
  ocsp-fcgi demo                                     see it work, touches nothing
  ocsp-fcgi check --config /etc/ocsp-fcgi/config.toml";

/// Runs the program.
#[must_use]
pub fn main() -> ExitCode {
    log_panics();
    let arguments = match parse(env::args_os().collect()) {
        Ok(arguments) => arguments,
        Err(code) => return code,
    };
    match run(arguments) {
        Ok(code) => code,
        Err(error) => {
            tell(&error);
            ExitCode::FAILURE
        }
    }
}

/// Says why the program ends: to the log, and to whoever started it, but not twice in
/// one place.
fn tell(error: &anyhow::Error) {
    let mistakes = error.downcast_ref::<ConfigErrors>();
    if !logging::is_on_stderr() || !io::stderr().is_terminal() {
        match mistakes {
            Some(mistakes) => mistakes.iter().for_each(log_the_end),
            None => log_the_end(format!("{error:#}")),
        }
        log::logger().flush();
    }
    if logging::is_on_stderr() && !io::stderr().is_terminal() {
        return;
    }
    match mistakes {
        // A line for each, which begins with its place.
        Some(mistakes) => say_on_stderr(format_args!("{mistakes}")),
        None => say_on_stderr(format_args!("ocsp-fcgi: {error:#}")),
    }
}

fn log_the_end(reason: impl Display) {
    log::error!("stopped: error={}", logging::quoted(reason));
}

/// A panic is a bug of ours, costs one connection, and must be seen where the
/// operator looks.
fn log_panics() {
    let print = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if log::log_enabled!(log::Level::Error) {
            log::error!("bug, please report: panic={}", logging::quoted(panic));
        } else {
            print(panic);
        }
    }));
}

fn parse(mut words: Vec<OsString>) -> Result<Arguments, ExitCode> {
    if env::var_os("GATEWAY_INTERFACE").is_some() {
        let query = env::var_os("QUERY_STRING").unwrap_or_default().into_encoded_bytes();
        words = match Query::of_arguments(&query) {
            Some(query) => query.others(words),
            None => words,
        };
    }
    Arguments::try_parse_from(words).map_err(|error| {
        let _nobody_listens = error.print();
        ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2))
    })
}

fn run(arguments: Arguments) -> Result<ExitCode> {
    let path = arguments.config;
    match arguments.command {
        Some(Command::Serve(arguments)) => serve::run(path, &arguments),
        Some(Command::Cgi) => cgi::run(path),
        Some(Command::Respond(arguments)) => respond::run(path, &arguments),
        Some(Command::Check) => check::run(path),
        Some(Command::Cache(arguments)) => cache::run(path, &arguments),
        Some(Command::Demo(arguments)) => demo::run(&arguments),
        None if serve::is_handed_a_listener() => serve::run(path, &serve::Arguments::default()),
        None if env::var_os("GATEWAY_INTERFACE").is_some() => cgi::run(path),
        // As the earlier responder does, which knows no commands.
        None if path.is_some() || Path::new(config::IN_WORKING_FOLDER).exists() => {
            serve::run(path, &serve::Arguments::default())
        }
        None => {
            let _nobody_reads = Arguments::command().print_help();
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// Reads the configuration, and starts the log as it says; where it cannot be read, as
/// without `[log]`, unless the lines that [`tell`] prints are read as they are.
fn start(path: Option<PathBuf>, launcher: Launcher) -> Result<(Config, logging::Guard)> {
    let (config, warnings) = match load(path) {
        Ok(loaded) => loaded,
        Err(error) => {
            if !logging::is_stderr_read(launcher) {
                let _none = logging::start(Target::Auto, LevelFilter::Info, launcher);
            }
            return Err(error);
        }
    };
    let guard = logging::start(config.log.target, config.log.level, launcher)?;
    for warning in warnings {
        log::warn!("configuration: {warning}");
    }
    Ok((config, guard))
}

fn load(path: Option<PathBuf>) -> Result<(Config, Vec<Warning>)> {
    let path = path.map_or_else(config::search, Ok)?;
    Ok(Config::load(&path)?)
}

/// What is not as it should be, to the log.
fn report(warnings: &[String]) {
    for warning in warnings {
        log::warn!("{warning}");
    }
}

/// A reader that has seen enough (`| head`) is no error, and would be a panic of `println!`.
fn say(line: fmt::Arguments<'_>) {
    let _nobody_reads = writeln!(io::stdout(), "{line}");
}

/// Neither is a terminal that is gone.
fn say_on_stderr(line: fmt::Arguments<'_>) {
    let _nobody_reads = writeln!(io::stderr(), "{line}");
}
