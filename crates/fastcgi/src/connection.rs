//! One FastCGI connection: records in, records out (FastCGI 1.0 sections 3 to 6).
//!
//! A state machine without I/O. One request at a time; params and stdin are
//! borrowed from the input where each lies in one record, as web servers send
//! them, and gathered up to [`Limits`] otherwise. The input is untrusted.

use std::borrow::Cow;
use std::cell::Cell;
use std::sync::Arc;

use crate::params::{Params, ParamsError};
use crate::record::{self, ProtocolStatus, Record, Stdout};
use crate::server::{Activity, Advance, Protocol, Session, Then};

/// What answers the requests.
pub trait Application: Send + Sync + 'static {
    /// Writes the answer: a CGI header, an empty line, a body (RFC 3875 section 6).
    ///
    /// Calls `before_waiting` first where it has to wait for anything, see
    /// [`Session::advance`]. A panic costs the connection, and nothing else.
    fn respond(&self, request: &Request<'_>, stdout: &mut Stdout<'_>, before_waiting: &dyn Fn());
}

/// One request of a web server.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// The meta-variables (RFC 3875 section 4.1).
    pub params: Params<'a>,
    /// The body.
    pub stdin: Stdin<'a>,
}

/// The body of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stdin<'a> {
    /// All of it.
    Whole(&'a [u8]),
    /// More than [`Limits::stdin_bytes`]; the connection ends after the answer.
    TooLarge,
}

/// What one connection may ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The longest PARAMS stream, in octets; a longer one is answered with `FCGI_OVERLOADED`.
    pub params_bytes: usize,
    /// The longest STDIN stream, in octets; see [`Stdin::TooLarge`].
    pub stdin_bytes: usize,
    /// The connections served at once, as told to a web server that asks (section 4.1).
    pub connections: usize,
}

impl Default for Limits {
    /// 256 KiB of params, 64 KiB of stdin, 1024 connections.
    fn default() -> Self {
        Self { params_bytes: 256 * 1024, stdin_bytes: 64 * 1024, connections: 1024 }
    }
}

/// The protocol of a server that speaks FastCGI alone.
#[derive(Debug)]
pub struct FastCgi<A> {
    application: Arc<A>,
    limits: Limits,
}

impl<A: Application> FastCgi<A> {
    /// Serves `application`.
    pub fn new(application: A, limits: Limits) -> Self {
        Self { application: Arc::new(application), limits }
    }
}

impl<A: Application> Protocol for FastCgi<A> {
    type Session = Connection<A>;

    fn open(&self, _: u8) -> Connection<A> {
        Connection::new(Arc::clone(&self.application), self.limits)
    }
}

/// One connection of a web server.
#[derive(Debug)]
pub struct Connection<A> {
    application: Arc<A>,
    limits: Limits,
    pending: Option<Pending<'static>>,
}

impl<A: Application> Connection<A> {
    /// A connection on which nothing has been received.
    pub fn new(application: Arc<A>, limits: Limits) -> Self {
        Self { application, limits, pending: None }
    }
}

impl<A: Application> Session for Connection<A> {
    fn advance(
        &mut self,
        input: &[u8],
        output: &mut Vec<u8>,
        before_waiting: &dyn Fn(),
    ) -> Advance {
        let mut pending = self.pending.take();
        let (mut consumed, mut answered) = (0, 0);
        let waits = Cell::new(false);
        let before_waiting = || {
            waits.set(true);
            before_waiting();
        };
        let then = loop {
            match record::split(input.get(consumed..).unwrap_or_default()) {
                Ok(None) => break Then::Read,
                Ok(Some(record)) => {
                    consumed += record.len;
                    let was_pending = pending.is_some();
                    let then = self.take(&record, &mut pending, output, &before_waiting);
                    answered += usize::from(was_pending && pending.is_none());
                    if then != Then::Read || waits.get() {
                        break then;
                    }
                }
                Err(error) => {
                    log::debug!("FastCGI connection closed: error={error}");
                    break Then::Close;
                }
            }
        };
        if then == Then::Read {
            self.pending = pending.map(Pending::into_owned);
        }
        Advance { consumed, answered, then }
    }

    fn activity(&self) -> Activity {
        match self.pending {
            None => Activity::Idle,
            Some(_) => Activity::Request,
        }
    }

    fn held(&self) -> usize {
        self.pending.as_ref().map_or(0, |request| request.params.len() + request.stdin.len())
    }
}

impl<A: Application> Connection<A> {
    /// Takes one whole record.
    fn take<'a>(
        &self,
        record: &Record<'a>,
        pending: &mut Option<Pending<'a>>,
        output: &mut Vec<u8>,
        before_waiting: &dyn Fn(),
    ) -> Then {
        if record.request_id == record::FCGI_NULL_REQUEST_ID {
            self.manage(record, output);
            return Then::Read;
        }
        if record.record_type == record::FCGI_BEGIN_REQUEST {
            return begin(record, pending, output);
        }
        let Some(request) = pending.as_mut().filter(|request| request.id == record.request_id)
        else {
            // Of a request that is over or was refused (section 3.3): ignored.
            return Then::Read;
        };
        let step = match record.record_type {
            record::FCGI_PARAMS => request.take_params(record.content, self.limits.params_bytes),
            record::FCGI_STDIN => request.take_stdin(record.content, self.limits.stdin_bytes),
            record::FCGI_ABORT_REQUEST => Step::End(ProtocolStatus::RequestComplete),
            // DATA is for filters (section 6.4); other types may be of a later version.
            _ => Step::More,
        };
        let after = request.after;
        match step {
            Step::More => return Then::Read,
            Step::Broken => return Then::Close,
            Step::End(status) => record::push_end_request(output, record.request_id, status),
            Step::Respond(body) => {
                if let Err(error) = self.respond(request, body, output, before_waiting) {
                    log::debug!("FastCGI connection closed: error={error}");
                    return Then::Close;
                }
            }
        }
        *pending = None;
        match step {
            // The rest of what is too long is still to come.
            Step::End(ProtocolStatus::Overloaded) | Step::Respond(Body::TooLarge) => Then::Discard,
            _ => after,
        }
    }

    fn respond(
        &self,
        request: &Pending<'_>,
        body: Body,
        output: &mut Vec<u8>,
        before_waiting: &dyn Fn(),
    ) -> Result<(), ParamsError> {
        let params = Params::parse(&request.params)?;
        let stdin = match body {
            Body::Whole => Stdin::Whole(&request.stdin),
            Body::TooLarge => Stdin::TooLarge,
        };
        let mut stdout = Stdout::new(output, request.id);
        self.application.respond(&Request { params, stdin }, &mut stdout, before_waiting);
        stdout.finish();
        Ok(())
    }

    /// Answers a management record (section 4).
    fn manage(&self, record: &Record<'_>, output: &mut Vec<u8>) {
        if record.record_type != record::FCGI_GET_VALUES {
            record::push_unknown_type(output, record.record_type);
            return;
        }
        let Ok(asked) = Params::parse(record.content) else {
            return;
        };
        let connections = self.limits.connections;
        // One request on a connection, so as many of the one as of the other.
        let known = [
            (record::FCGI_MAX_CONNS, connections),
            (record::FCGI_MAX_REQS, connections),
            (record::FCGI_MPXS_CONNS, 0),
        ];
        let answered = known.into_iter().filter(|(name, _)| asked.get(name).is_some());
        record::push_get_values_result(output, answered);
    }
}

/// Takes a BEGIN_REQUEST record (section 5.1).
fn begin(record: &Record<'_>, pending: &mut Option<Pending<'_>>, output: &mut Vec<u8>) -> Then {
    if let Some(request) = pending {
        if request.id == record.request_id {
            return Then::Close; // begun twice: what belongs to which is anybody's guess
        }
        record::push_end_request(output, record.request_id, ProtocolStatus::CantMpxConn);
        return Then::Read;
    }
    let Some(&[role_1, role_0, flags, ..]) = record.content.first_chunk::<8>() else {
        return Then::Close;
    };
    let after = if flags & record::FCGI_KEEP_CONN == 0 { Then::Close } else { Then::Read };
    if u16::from_be_bytes([role_1, role_0]) == record::FCGI_RESPONDER {
        *pending = Some(Pending::new(record.request_id, after));
        return Then::Read;
    }
    record::push_end_request(output, record.request_id, ProtocolStatus::UnknownRole);
    match after {
        Then::Close => Then::Discard, // its params and stdin are still to come
        after => after,
    }
}

/// A request of which not everything has come.
#[derive(Debug)]
struct Pending<'a> {
    id: u16,
    /// What follows its answer: FCGI_KEEP_CONN or not.
    after: Then,
    stage: Stage,
    params: Cow<'a, [u8]>,
    stdin: Cow<'a, [u8]>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Params,
    Stdin,
}

/// What one record of a request leads to.
#[derive(Clone, Copy)]
enum Step {
    More,
    Respond(Body),
    End(ProtocolStatus),
    /// Against the order of streams (section 6.2).
    Broken,
}

#[derive(Clone, Copy)]
enum Body {
    Whole,
    TooLarge,
}

impl<'a> Pending<'a> {
    fn new(id: u16, after: Then) -> Self {
        let empty = Cow::Borrowed(&[][..]);
        Self { id, after, stage: Stage::Params, params: empty.clone(), stdin: empty }
    }

    fn take_params(&mut self, content: &'a [u8], limit: usize) -> Step {
        if self.stage != Stage::Params {
            return Step::Broken;
        }
        if content.is_empty() {
            self.stage = Stage::Stdin;
            return Step::More;
        }
        if self.params.len() + content.len() > limit {
            return Step::End(ProtocolStatus::Overloaded);
        }
        gather(&mut self.params, content);
        Step::More
    }

    fn take_stdin(&mut self, content: &'a [u8], limit: usize) -> Step {
        if self.stage != Stage::Stdin {
            return Step::Broken;
        }
        if content.is_empty() {
            return Step::Respond(Body::Whole);
        }
        if self.stdin.len() + content.len() > limit {
            return Step::Respond(Body::TooLarge);
        }
        gather(&mut self.stdin, content);
        Step::More
    }

    /// Keeps what was borrowed from the input, which goes away.
    fn into_owned(self) -> Pending<'static> {
        Pending {
            id: self.id,
            after: self.after,
            stage: self.stage,
            params: Cow::Owned(self.params.into_owned()),
            stdin: Cow::Owned(self.stdin.into_owned()),
        }
    }
}

/// Appends to a stream; the first piece is borrowed, so the usual one is never copied.
fn gather<'a>(stream: &mut Cow<'a, [u8]>, content: &'a [u8]) {
    if stream.is_empty() {
        *stream = Cow::Borrowed(content);
    } else {
        stream.to_mut().extend_from_slice(content);
    }
}
