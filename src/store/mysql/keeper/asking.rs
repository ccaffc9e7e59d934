//! Asks over a kept connection or a new one, of one host after the other, and tells a question
//! that fails alone from a server that is away.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use super::{Keeper, Lease};
use crate::logging::quoted;
use crate::serial::Serial;
use crate::store::StoreError;
use crate::store::mapping::{Dialect, Parameter};
use crate::store::mysql::dial::Link;
use crate::store::mysql::errors::{is_of_the_server, not_now, refusal, words};
use crate::store::row::{self, Row};

/// Why a question has no answer.
#[derive(Debug, thiserror::Error)]
pub(in crate::store::mysql) enum Failure {
    /// Every host was tried; what each said.
    #[error("{0}")]
    Hosts(Arc<str>),
    /// They failed a moment ago, and are left alone for the pause.
    #[error("not tried again yet after: {0}")]
    Paused(Arc<str>),
    /// Others held every connection for longer than the time-out.
    #[error("all {0} connections are in use")]
    Busy(usize),
    /// The server is well, and refuses this question: a row that a view cannot show, say.
    #[error("{0}")]
    Refused(String),
    /// The server answers others, and cannot answer this question, which is not its fault.
    #[error("{0}")]
    Unable(String),
}

/// What a question brings, or why a server that is well refuses it alone.
type Told<T> = Result<T, Failure>;

impl Failure {
    /// Of a question about this serial.
    pub(in crate::store::mysql) fn about(self, serial: &Serial) -> StoreError {
        match self {
            Self::Refused(problem) => StoreError::BadRow { key: row::key(serial), problem },
            failure => StoreError::unavailable(failure),
        }
    }
}

impl Keeper {
    /// The rows under any of the keys.
    pub(in crate::store::mysql) fn ask(
        self: &Arc<Self>,
        parameters: &[Parameter],
    ) -> Result<Vec<Row>, Failure> {
        self.ask_by(&|link| link.rows(parameters))
    }

    /// What a question over a connection brings; it may be asked more than once. Where no
    /// further connection can be made (the server has as many as it takes, the password has
    /// changed), it waits for one of the others.
    pub(in crate::store::mysql) fn ask_by<T>(
        self: &Arc<Self>,
        question: &impl Fn(&mut Link) -> mysql::Result<T>,
    ) -> Result<T, Failure> {
        let options = &self.dialler.options;
        // Longer than a silent host needs to be found out by those who hold one.
        let deadline = Instant::now() + options.timeout + options.connect_timeout;
        let mut problem = None;
        loop {
            let lease = self.lease(deadline);
            let lease = lease.map_err(|error| problem.map_or(error, Failure::Hosts))?;
            let is_new = lease.link.is_none();
            match self.ask_over(lease, question) {
                Err(Failure::Hosts(error)) if is_new && self.has_connections() => {
                    self.tell_shortage(&error);
                    problem = Some(error);
                }
                outcome => return outcome.and_then(|told| told),
            }
        }
    }

    fn ask_over<T>(
        &self,
        mut lease: Lease<'_>,
        question: &impl Fn(&mut Link) -> mysql::Result<T>,
    ) -> Result<Told<T>, Failure> {
        if let Some(link) = &mut lease.link {
            match self.ask_patiently(link, question) {
                Ok(rows) => {
                    if let Some(trouble) = self.host_troubles.get(link.host) {
                        let name = quoted(self.dialler.name(link.host));
                        trouble.end(format_args!("database host answers again: host={name}"));
                    }
                    link.questions = link.questions.saturating_add(1);
                    return Ok(rows);
                }
                // Servers close idle connections, and restart: worth a new one.
                Err(error) => self.lost(&mut lease, &error),
            }
        }
        let (link, rows) = self.ask_anew(question)?;
        lease.fill(link);
        Ok(rows)
    }

    /// Asks over a new connection to the first host that answers.
    fn ask_anew<T>(
        &self,
        question: &impl Fn(&mut Link) -> mysql::Result<T>,
    ) -> Result<(Link, Told<T>), Failure> {
        let mut problems = Vec::new();
        let order = self.lock().order(Instant::now());
        for host in order {
            match self.ask_host(host, question) {
                Ok(answer) => return Ok(answer),
                Err(problem) => problems.push(problem),
            }
        }
        Err(Failure::Hosts(problems.join("; ").into()))
    }

    pub(super) fn ask_host<T>(
        &self,
        host: usize,
        question: &impl Fn(&mut Link) -> mysql::Result<T>,
    ) -> Result<(Link, Told<T>), String> {
        let answer = self.dialler.dial(host).and_then(|mut link| {
            let rows = self.ask_patiently(&mut link, question).map_err(|error| words(&error))?;
            Ok((link, rows))
        });
        match answer {
            Ok(answer) => {
                self.host_answered(host);
                Ok(answer)
            }
            Err(problem) => Err(self.host_failed(host, &problem)),
        }
    }

    /// Asks again for as long as [`Options::timeout`] while a server that is well cannot
    /// tell at the moment: in the pause of a host that fails nobody would be told. From the
    /// first question on, as a lock that has lasted for so long ends with the same error.
    ///
    /// [`Options::timeout`]: crate::store::mysql::Options::timeout
    fn ask_patiently<T>(
        &self,
        link: &mut Link,
        question: &impl Fn(&mut Link) -> mysql::Result<T>,
    ) -> mysql::Result<Told<T>> {
        let begun = Instant::now();
        let mut outcome = question(link);
        while outcome.as_ref().is_err_and(not_now) && begun.elapsed() < self.dialler.options.timeout
        {
            thread::sleep(BEFORE_ASKING_AGAIN);
            outcome = question(link);
        }
        match outcome {
            Ok(answer) => Ok(Ok(answer)),
            Err(error) => self.refused(link, question, error),
        }
    }

    /// Whether a server that has refused a question is well, and refuses this one alone: it
    /// answers another one, and says the same again. Were that taken for a server that is
    /// away, nobody would be told of any other serial, and what is kept about this one would
    /// be given. It is where the fault is the server's: another host, if there is one, is
    /// asked then.
    fn refused<T>(
        &self,
        link: &mut Link,
        question: &impl Fn(&mut Link) -> mysql::Result<T>,
        error: mysql::Error,
    ) -> mysql::Result<Told<T>> {
        let Some(number) = refusal(&error) else { return Err(error) };
        let options = &self.dialler.options;
        let probe = options.mapping.parameters(&Serial::PROBE, Dialect::Mysql);
        if link.rows(&probe).is_err() {
            return Err(error);
        }
        match question(link) {
            Err(again) if refusal(&again) == Some(number) => match is_of_the_server(number) {
                true if options.hosts.len() > 1 => Err(again),
                true => Ok(Err(Failure::Unable(words(&again)))),
                false => Ok(Err(Failure::Refused(words(&again)))),
            },
            again => again.map(Ok),
        }
    }
}

/// Between questions to a server that cannot tell at the moment.
const BEFORE_ASKING_AGAIN: Duration = Duration::from_millis(50);
