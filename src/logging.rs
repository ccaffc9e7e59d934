//! The `log` backend: a bounded queue, and one thread that writes it to syslog
//! or to standard error.
//!
//! A log that cannot be written never delays an answer: callers only queue, a
//! full queue drops and counts. No colours, no files, no rotation: that is for
//! syslogd and journald. Configured once.

mod queue;
mod sink;
mod text;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use log::LevelFilter;
use rustix::fs::{FileType, Stat};
use serde::Deserialize;

use crate::time::{Clock, SystemClock};
use queue::{Line, Queue};
use sink::{Form, Sink, Syslog};
pub use text::{chain, quoted};

/// Where the lines go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Target {
    /// stderr on a terminal, under systemd or by hand; syslog otherwise.
    #[default]
    Auto,
    /// The local syslog socket.
    Syslog,
    /// Standard error.
    Stderr,
}

/// Who started the program, which tells whether anyone reads its stderr.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Launcher {
    /// A shell, systemd or another supervisor.
    Operator,
    /// A web server, or spawn-fcgi for it: descriptor 0 is a socket, or
    /// `GATEWAY_INTERFACE` is set.
    WebServer,
}

/// The two ways out of the process.
pub struct Outlets {
    /// The socket of syslogd.
    pub syslog: PathBuf,
    /// Standard error.
    pub stderr: Box<dyn io::Write + Send>,
}

/// Why there is no log.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The system gives no more threads.
    #[error("no thread for the log")]
    Thread(#[source] io::Error),
    /// `start` was called twice.
    #[error("the log is already started")]
    Started(#[source] log::SetLoggerError),
}

/// Keeps the log running; the end of it waits, [`FLUSH_LIMIT`] at most, until
/// all lines are written.
#[derive(Debug)]
#[must_use = "the last lines of the process are lost without it"]
pub struct Guard(());

/// The backend itself, for callers that do without the global one.
#[derive(Debug)]
pub struct Logger {
    queue: Arc<Queue>,
}

/// How long the end of a process waits for its last lines.
pub const FLUSH_LIMIT: Duration = Duration::from_secs(1);

/// Makes the log of this process: the `log` macros write to it from here on.
///
/// # Errors
///
/// [`StartError`]; the program can go on without a log.
pub fn start(target: Target, level: LevelFilter, launcher: Launcher) -> Result<Guard, StartError> {
    let logger = Logger::new(target, launcher, Outlets::default()).map_err(StartError::Thread)?;
    log::set_boxed_logger(Box::new(logger)).map_err(StartError::Started)?;
    log::set_max_level(level);
    ON_STDERR
        .store(choose(target, launcher, StandardError::look()) == Way::Stderr, Ordering::Relaxed);
    Ok(Guard(()))
}

/// Whether the log of this process goes to its standard error, so that what is logged
/// need not be printed there as well.
#[must_use]
pub fn is_on_stderr() -> bool {
    ON_STDERR.load(Ordering::Relaxed)
}

/// Whether somebody reads the standard error of this process as it is: neither a
/// journal nor a web server keeps it.
#[must_use]
pub fn is_stderr_read(launcher: Launcher) -> bool {
    launcher == Launcher::Operator && StandardError::look() == StandardError::Open
}

static ON_STDERR: AtomicBool = AtomicBool::new(false);

impl Drop for Guard {
    fn drop(&mut self) {
        log::logger().flush();
    }
}

impl Default for Outlets {
    /// `/dev/log`, and the standard error of the process.
    fn default() -> Self {
        Self { syslog: PathBuf::from("/dev/log"), stderr: Box::new(io::stderr()) }
    }
}

impl Logger {
    /// Starts the thread that writes.
    ///
    /// # Errors
    ///
    /// That of the system when it gives no thread.
    pub fn new(target: Target, launcher: Launcher, outlets: Outlets) -> io::Result<Self> {
        let standard_error = StandardError::look();
        let form = match standard_error {
            StandardError::Journal => Form::Journal,
            StandardError::Null | StandardError::Open => Form::Plain,
        };
        let mut sink = match choose(target, launcher, standard_error) {
            Way::Stderr => Sink::stderr(outlets.stderr, form),
            Way::Syslog => Sink::syslog(Syslog::new(&outlets.syslog), outlets.stderr, form),
        };
        let queue = Arc::new(Queue::default());
        let reader = Arc::clone(&queue);
        std::thread::Builder::new().name("log".to_owned()).spawn(move || {
            while let Some(line) = reader.take() {
                sink.write(&line, &reader);
            }
        })?;
        Ok(Self { queue })
    }
}

impl log::Log for Logger {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true // the macros have compared the level already
    }

    fn log(&self, record: &log::Record<'_>) {
        let text = text::line(record.args());
        self.queue.put(Line { level: record.level(), time: SystemClock.now(), text });
    }

    /// Waits until all lines are written, [`FLUSH_LIMIT`] at most.
    fn flush(&self) {
        self.queue.flush(FLUSH_LIMIT);
    }
}

impl Drop for Logger {
    fn drop(&mut self) {
        self.queue.close();
    }
}

/// What stands behind descriptor 2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum StandardError {
    /// The journal of systemd, which takes the level from `<3>` and knows the time.
    Journal,
    /// `/dev/null`: a daemon's, nobody reads it.
    Null,
    /// Something else.
    Open,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Stderr,
    Syslog,
}

fn choose(target: Target, launcher: Launcher, standard_error: StandardError) -> Way {
    match (target, standard_error, launcher) {
        (Target::Syslog, ..) | (Target::Auto, StandardError::Null, _) => Way::Syslog,
        (Target::Stderr, ..) | (Target::Auto, StandardError::Journal, _) => Way::Stderr,
        (Target::Auto, StandardError::Open, Launcher::Operator) => Way::Stderr,
        (Target::Auto, StandardError::Open, Launcher::WebServer) => Way::Syslog,
    }
}

impl StandardError {
    fn look() -> Self {
        let null = rustix::fs::stat(Path::new("/dev/null"));
        match (rustix::fs::fstat(io::stderr()), null) {
            (Err(_), _) => Self::Null,
            (Ok(stat), Ok(null)) if is_device(&stat, &null) => Self::Null,
            (Ok(stat), _) => {
                let stream = std::env::var("JOURNAL_STREAM").unwrap_or_default();
                if is_stream(&stat, &stream) { Self::Journal } else { Self::Open }
            }
        }
    }
}

fn is_device(stat: &Stat, device: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice
        && stat.st_rdev == device.st_rdev
}

/// `JOURNAL_STREAM` is `device:inode`, and inherited: only the numbers tell
/// whether stderr still is that stream (systemd.exec(5)).
fn is_stream(stat: &Stat, stream: &str) -> bool {
    format!("{}:{}", stat.st_dev, stat.st_ino) == stream
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn auto_takes_syslog_only_where_nobody_reads_stderr() {
        use {Launcher::*, StandardError::*};
        let auto = |launcher, standard_error| choose(Target::Auto, launcher, standard_error);
        assert_eq!(auto(Operator, Open), Way::Stderr);
        assert_eq!(auto(Operator, Journal), Way::Stderr);
        assert_eq!(auto(WebServer, Journal), Way::Stderr);
        assert_eq!(auto(WebServer, Open), Way::Syslog);
        assert_eq!(auto(Operator, Null), Way::Syslog);
    }

    #[test]
    fn an_explicit_target_is_obeyed() {
        let nobody = (Launcher::WebServer, StandardError::Null);
        assert_eq!(choose(Target::Stderr, nobody.0, nobody.1), Way::Stderr);
        let journal = (Launcher::Operator, StandardError::Journal);
        assert_eq!(choose(Target::Syslog, journal.0, journal.1), Way::Syslog);
    }

    #[test]
    fn the_journal_is_told_by_device_and_inode() {
        let stat = rustix::fs::stat("/dev/null").unwrap();
        assert!(is_stream(&stat, &format!("{}:{}", stat.st_dev, stat.st_ino)));
        assert!(!is_stream(&stat, ""));
        assert!(!is_stream(&stat, "1:2"));
        assert!(is_device(&stat, &stat));
        assert!(!is_device(&rustix::fs::stat("/dev/zero").unwrap(), &stat));
    }
}
