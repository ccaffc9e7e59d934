//! What the logging thread writes to: standard error, or syslog with standard
//! error behind it.
//!
//! The `syslog` crate connects once and blocks for as long as syslogd does, so
//! the connecting, the time-out and the patience are here.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use log::Level;
use syslog::{Facility, Formatter3164, LoggerBackend};

use super::queue::{Line, Pause, Queue};
use super::text::quoted;
use crate::time::{Clock, SystemClock};

/// How a line looks on standard error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// `2026-11-22T10:00:00Z warn  ocsp-fcgi: message`
    Plain,
    /// `<4>message`: the journal adds time and name (sd-daemon(3)).
    Journal,
}

pub(super) struct Sink {
    stderr: Box<dyn Write + Send>,
    form: Form,
    syslog: Option<Syslog>,
}

/// The connection to syslogd, or what is known about its absence.
pub(super) struct Syslog {
    path: PathBuf,
    connection: Option<syslog::Logger<LoggerBackend, Formatter3164>>,
    past: Past,
    /// Since when nothing arrives.
    lost: Option<Instant>,
    /// Before this instant standard error takes the lines.
    detour: Option<Instant>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Past {
    NeverHeard,
    Heard,
}

impl Sink {
    pub(super) fn stderr(stderr: Box<dyn Write + Send>, form: Form) -> Self {
        Self { stderr, form, syslog: None }
    }

    pub(super) fn syslog(syslog: Syslog, stderr: Box<dyn Write + Send>, form: Form) -> Self {
        Self { stderr, form, syslog: Some(syslog) }
    }

    /// Writes one line, and holds it for as long as there is hope; `queue` says
    /// when there is no time for that.
    pub(super) fn write(&mut self, line: &Line, queue: &Queue) {
        let Some(syslog) = &mut self.syslog else {
            return print(&mut *self.stderr, self.form, line);
        };
        let outcome = syslog.deliver(line, queue);
        if let Outcome::Lost(Some(reason)) = &outcome {
            print(&mut *self.stderr, self.form, &absence(&syslog.path, reason));
        }
        if let Outcome::Lost(_) = outcome {
            print(&mut *self.stderr, self.form, line);
        }
    }
}

/// How long syslogd may keep one write waiting.
const WRITE_TIMEOUT: Duration = Duration::from_secs(1);
/// How long a syslogd that was heard of may be away, as in a restart, before
/// standard error takes its lines.
const PATIENCE: Duration = Duration::from_secs(10);
/// The first pause before another attempt; each further one is twice as long,
const FIRST_PAUSE: Duration = Duration::from_millis(50);
/// up to this.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// Where a line went.
enum Outcome {
    Written,
    /// Not to syslog; with the reason when it has not been told yet.
    Lost(Option<String>),
}

impl Syslog {
    pub(super) fn new(path: &Path) -> Self {
        let path = path.to_owned();
        Self { path, connection: None, past: Past::NeverHeard, lost: None, detour: None }
    }

    fn deliver(&mut self, line: &Line, queue: &Queue) -> Outcome {
        if self.detour.is_some_and(|end| Instant::now() < end) {
            return Outcome::Lost(None);
        }
        let mut pause = FIRST_PAUSE;
        loop {
            let Err(error) = self.attempt(line) else {
                (self.past, self.lost, self.detour) = (Past::Heard, None, None);
                return Outcome::Written;
            };
            self.connection = None; // a new one each time: the socket may be another
            let now = Instant::now();
            let lost = *self.lost.get_or_insert(now);
            let patient = self.past == Past::Heard && now.duration_since(lost) < PATIENCE;
            if !patient || queue.pause(pause) == Pause::Closed {
                let told = self.detour.replace(now + LONGEST_PAUSE).is_some();
                return Outcome::Lost((!told).then(|| error.to_string()));
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    fn attempt(&mut self, line: &Line) -> syslog::Result<()> {
        if self.connection.is_none() {
            self.connection = Some(connect(&self.path)?);
        }
        let Some(logger) = &mut self.connection else { return Ok(()) };
        match line.level {
            Level::Error => logger.err(&line.text),
            Level::Warn => logger.warning(&line.text),
            Level::Info => logger.info(&line.text),
            Level::Debug | Level::Trace => logger.debug(&line.text),
        }
    }
}

fn connect(path: &Path) -> syslog::Result<syslog::Logger<LoggerBackend, Formatter3164>> {
    let formatter = Formatter3164 {
        facility: Facility::LOG_DAEMON,
        hostname: None, // the local form has none
        process: NAME.to_owned(),
        pid: std::process::id(),
    };
    let logger = syslog::unix_custom(formatter, path)?;
    match &logger.backend {
        LoggerBackend::Unix(socket) => socket.set_write_timeout(Some(WRITE_TIMEOUT))?,
        LoggerBackend::UnixStream(stream) => {
            stream.get_ref().set_write_timeout(Some(WRITE_TIMEOUT))?;
        }
        LoggerBackend::Udp(..) | LoggerBackend::Tcp(_) => {} // not on a path
    }
    Ok(logger)
}

fn absence(path: &Path, reason: &str) -> Line {
    let text = format!(
        "no syslog, standard error takes its lines: socket={} error={}",
        quoted(path.display()),
        quoted(reason)
    );
    Line { level: Level::Warn, time: SystemClock.now(), text }
}

const NAME: &str = "ocsp-fcgi";

/// A stderr that is gone (its reader closed the pipe) loses the line and
/// nothing else: there is nobody to tell.
fn print(out: &mut dyn Write, form: Form, line: &Line) {
    let mut left = render(form, line).into_bytes();
    let patience = Instant::now();
    while !left.is_empty() {
        match out.write(&left) {
            Ok(0) => return,
            Ok(count) => drop(left.drain(..count.min(left.len()))),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            // Whoever shares the terminal or pipe may have set O_NONBLOCK on it.
            Err(error)
                if error.kind() == io::ErrorKind::WouldBlock
                    && patience.elapsed() < WRITE_TIMEOUT =>
            {
                std::thread::sleep(FIRST_PAUSE);
            }
            Err(_) => return,
        }
    }
}

fn render(form: Form, Line { level, time, text }: &Line) -> String {
    let (word, priority) = match level {
        Level::Error => ("error", 3),
        Level::Warn => ("warn", 4),
        Level::Info => ("info", 6),
        Level::Debug => ("debug", 7),
        Level::Trace => ("trace", 7),
    };
    match form {
        Form::Plain => format!("{time} {word:<5} {NAME}: {text}\n"),
        Form::Journal => format!("<{priority}>{text}\n"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Timestamp;

    fn line(level: Level) -> Line {
        Line { level, time: Timestamp::EPOCH, text: "issuer=1".to_owned() }
    }

    #[test]
    fn a_line_has_time_level_and_name() {
        let warn = render(Form::Plain, &line(Level::Warn));
        assert_eq!(warn, "1970-01-01T00:00:00Z warn  ocsp-fcgi: issuer=1\n");
        let error = render(Form::Plain, &line(Level::Error));
        assert_eq!(error, "1970-01-01T00:00:00Z error ocsp-fcgi: issuer=1\n");
    }

    #[test]
    fn the_journal_gets_the_priority_and_no_time() {
        let lines = [Level::Error, Level::Warn, Level::Info, Level::Debug, Level::Trace]
            .map(|level| render(Form::Journal, &line(level)));
        assert_eq!(
            lines,
            ["<3>", "<4>", "<6>", "<7>", "<7>"].map(|start| format!("{start}issuer=1\n"))
        );
    }

    /// Takes three octets at a time, and is interrupted and full in between.
    #[derive(Default)]
    struct Slow {
        taken: Vec<u8>,
        calls: usize,
    }

    impl Write for Slow {
        fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
            self.calls += 1;
            match self.calls {
                2 => Err(io::ErrorKind::Interrupted.into()),
                4 => Err(io::ErrorKind::WouldBlock.into()),
                _ => {
                    let count = octets.len().min(3);
                    self.taken.extend(&octets[..count]);
                    Ok(count)
                }
            }
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_stderr_that_takes_little_at_a_time_gets_all() {
        let mut slow = Slow::default();
        print(&mut slow, Form::Journal, &line(Level::Info));
        assert_eq!(slow.taken, b"<6>issuer=1\n");
    }
}
