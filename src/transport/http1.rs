//! The built-in HTTP/1.1 server side (RFC 9112): octets in, octets out.
//!
//! No I/O: `fastcgi::server` owns the connection and the time-outs. Meant for
//! debugging, the demo and clients without a web server in between; the framing is
//! as strict as if it stood in front. The input is untrusted.

use std::cell::Cell;
use std::mem;
use std::sync::Arc;

use fastcgi::server::{Activity, Advance, Session, Then};

use crate::http::chunked::{Chunked, Progress};
use crate::http::date::ImfFixdate;
use crate::http::head::{Framing, Head, Keep};
use crate::http::{Body, Exchange, HttpRequest, HttpResponse, Status};
use crate::time::{Clock, Timestamp};

/// What all connections share.
#[derive(Clone)]
pub struct Http1 {
    exchange: Arc<dyn Exchange>,
    clock: Arc<dyn Clock>,
    body_limit: usize,
}

impl Http1 {
    /// Requests go to `exchange`; `clock` gives the `Date` field. A body of more than
    /// `body_limit` octets is not read.
    pub fn new(exchange: Arc<dyn Exchange>, clock: Arc<dyn Clock>, body_limit: usize) -> Self {
        Self { exchange, clock, body_limit }
    }

    /// The session of a new connection.
    #[must_use]
    pub fn session(&self) -> Http1Session {
        let date = (Timestamp::EPOCH, ImfFixdate::new(Timestamp::EPOCH));
        let printer = Printer { http: self.clone(), date, answered: 0 };
        let state = State::Head;
        Http1Session {
            printer,
            state,
            head: Vec::new(),
            body: Vec::new(),
            activity: Activity::Idle,
        }
    }
}

/// One connection.
pub struct Http1Session {
    printer: Printer,
    state: State,
    /// The head of a request whose body was not whole at once.
    head: Vec<u8>,
    /// The body of such a request.
    body: Vec<u8>,
    activity: Activity,
}

/// What comes next on the connection.
enum State {
    Head,
    Sized { length: usize },
    Chunked(Chunked),
    Closed,
}

/// What is to be done next with the octets that have come.
enum Step {
    Again,
    Wait,
    Close,
}

/// Where responses go, and what is to be called before one is waited for.
struct Output<'a> {
    octets: &'a mut Vec<u8>,
    before_waiting: &'a dyn Fn(),
}

impl Session for Http1Session {
    fn advance(
        &mut self,
        input: &[u8],
        output: &mut Vec<u8>,
        before_waiting: &dyn Fn(),
    ) -> Advance {
        let waits = Cell::new(false);
        let before_waiting = || {
            waits.set(true);
            before_waiting();
        };
        let mut output = Output { octets: output, before_waiting: &before_waiting };
        let output = &mut output;
        let mut rest = input;
        loop {
            let step = match self.state {
                State::Head => self.take_head(&mut rest, output),
                State::Sized { length } => self.take_sized(length, &mut rest, output),
                State::Chunked(_) => self.take_chunked(&mut rest, output),
                State::Closed => Step::Close,
            };
            match step {
                Step::Again if !waits.get() => {}
                Step::Again | Step::Wait => {
                    let idle = matches!(self.state, State::Head) && rest.is_empty();
                    self.activity = if idle { Activity::Idle } else { Activity::Request };
                    let answered = mem::take(&mut self.printer.answered);
                    return Advance {
                        consumed: input.len() - rest.len(),
                        answered,
                        then: Then::Read,
                    };
                }
                Step::Close => {
                    let whole = matches!(self.state, State::Head) && rest.is_empty();
                    self.state = State::Closed;
                    self.activity = Activity::Idle;
                    let then = if whole { Then::Close } else { Then::Discard };
                    let answered = mem::take(&mut self.printer.answered);
                    return Advance { consumed: input.len(), answered, then };
                }
            }
        }
    }

    fn activity(&self) -> Activity {
        self.activity
    }

    fn held(&self) -> usize {
        match self.state {
            State::Head | State::Closed => 0,
            State::Sized { .. } | State::Chunked(_) => self.head.len() + self.body.len(),
        }
    }
}

impl Http1Session {
    fn take_head(&mut self, rest: &mut &[u8], output: &mut Output<'_>) -> Step {
        // Empty lines before a request are allowed (RFC 9112 section 2.2).
        while let Some(after) = rest.strip_prefix(b"\r\n").or(rest.strip_prefix(b"\n")) {
            *rest = after;
        }
        if rest.is_empty() {
            return Step::Wait; // as after each request
        }
        let head = match Head::parse(rest) {
            Ok(Some(head)) => head,
            Ok(None) => return Step::Wait,
            Err(status) => return self.refuse(status, output),
        };
        let Some((octets, after)) = rest.split_at_checked(head.octets) else { return Step::Wait };
        let limit = self.printer.http.body_limit;
        self.state = match head.framing {
            Framing::Length(length) => match usize::try_from(length).ok().filter(|&it| it <= limit)
            {
                None => return self.too_large(&head, output),
                Some(length) => match after.split_at_checked(length) {
                    Some((body, after)) => {
                        *rest = after;
                        return self.printer.answer(&head, Body::Whole(body), output);
                    }
                    None => State::Sized { length },
                },
            },
            Framing::Chunked => State::Chunked(Chunked::new(limit)),
        };
        // Whoever has begun to send the body does not wait (RFC 9110 section 10.1.1).
        if head.expect_continue && after.is_empty() {
            output.octets.extend_from_slice(b"HTTP/1.1 100 Continue\r\n\r\n");
        }
        self.head.extend_from_slice(octets);
        *rest = after;
        Step::Again
    }

    fn take_sized(&mut self, length: usize, rest: &mut &[u8], output: &mut Output<'_>) -> Step {
        let missing = length.saturating_sub(self.body.len());
        let (octets, after) = rest.split_at_checked(missing).unwrap_or((rest, b""));
        self.body.extend_from_slice(octets);
        *rest = after;
        if octets.len() < missing { Step::Wait } else { self.answer_gathered(output) }
    }

    fn take_chunked(&mut self, rest: &mut &[u8], output: &mut Output<'_>) -> Step {
        let State::Chunked(chunked) = &mut self.state else { return Step::Again };
        match chunked.advance(rest, &mut self.body) {
            Progress::More => Step::Wait,
            Progress::Done => self.answer_gathered(output),
            Progress::Malformed => self.refuse(Status::BadRequest, output),
            Progress::TooLarge => {
                let octets = mem::take(&mut self.head);
                match Head::parse(&octets) {
                    Ok(Some(head)) => self.too_large(&head, output),
                    _ => self.refuse(Status::BadRequest, output),
                }
            }
        }
    }

    fn answer_gathered(&mut self, output: &mut Output<'_>) -> Step {
        self.state = State::Head;
        // Freed afterwards: thousands of connections rest.
        let (octets, body) = (mem::take(&mut self.head), mem::take(&mut self.body));
        let Ok(Some(head)) = Head::parse(&octets) else {
            return self.refuse(Status::BadRequest, output); // it was parsed before
        };
        self.printer.answer(&head, Body::Whole(&body), output)
    }

    /// Answers without reading the body, and so for the last time.
    fn too_large(&mut self, head: &Head<'_>, output: &mut Output<'_>) -> Step {
        self.state = State::Closed;
        self.printer.answer(&Head { keep: Keep::Close, ..*head }, Body::TooLarge, output);
        Step::Close
    }

    fn refuse(&mut self, status: Status, output: &mut Output<'_>) -> Step {
        self.state = State::Closed;
        self.printer.print(&HttpResponse::refusal(status), b"", Keep::Close, output.octets);
        Step::Close
    }
}

/// The way from a request to the octets of its response.
struct Printer {
    http: Http1,
    /// The second of the last response, and its text.
    date: (Timestamp, ImfFixdate),
    /// Requests, since this was looked at last.
    answered: usize,
}

impl Printer {
    fn answer(&mut self, head: &Head<'_>, body: Body<'_>, output: &mut Output<'_>) -> Step {
        let Head { method, request_uri, if_none_match, keep, .. } = *head;
        let request = HttpRequest { method, request_uri, body, if_none_match };
        let response = self.http.exchange.handle(&request, output.before_waiting);
        self.print(&response, method, keep, output.octets);
        self.answered += 1;
        if keep == Keep::Close { Step::Close } else { Step::Again }
    }

    fn print(&mut self, response: &HttpResponse, method: &[u8], keep: Keep, output: &mut Vec<u8>) {
        let now = self.http.clock.now();
        if self.date.0 != now {
            self.date = (now, ImfFixdate::new(now));
        }
        output.extend_from_slice(b"HTTP/1.1 ");
        output.extend_from_slice(response.status.line().as_bytes());
        output.extend_from_slice(b"\r\nDate: ");
        output.extend_from_slice(self.date.1.as_bytes());
        output.extend_from_slice(b"\r\n");
        response.write_fields(output);
        output.extend_from_slice(match keep {
            Keep::Implied => b"\r\n",
            Keep::Announced => b"Connection: keep-alive\r\n\r\n",
            Keep::Close => b"Connection: close\r\n\r\n",
        });
        output.extend_from_slice(response.content(method));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::http::Shared;
    use crate::http::caching::Caching;
    use crate::time::FixedClock;

    /// Answers with what it was asked; waits before it does so at `/wait`.
    struct Mirror;

    impl Exchange for Mirror {
        fn handle(&self, request: &HttpRequest<'_>, before_waiting: &dyn Fn()) -> HttpResponse {
            if request.request_uri == b"/wait" {
                before_waiting();
            }
            let body = match request.body {
                Body::Whole(body) => String::from_utf8_lossy(body).into_owned(),
                Body::Incomplete => unreachable!("a session sees no end"),
                Body::TooLarge => return HttpResponse::refusal(Status::ContentTooLarge),
            };
            let [method, uri, tag] = [request.method, request.request_uri, request.if_none_match]
                .map(String::from_utf8_lossy);
            let text = format!("<{method} {uri} {tag} {body}>").into_bytes();
            HttpResponse::ocsp(Shared::Counted(text.into()), Caching::NoStore)
        }
    }

    fn session() -> Http1Session {
        let clock = FixedClock(Timestamp::from_unix(784_111_777));
        Http1::new(Arc::new(Mirror), Arc::new(clock), 20).session()
    }

    #[test]
    fn nothing_is_kept_of_a_request_in_parts_once_it_is_answered() {
        for request in [
            &b"POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\nabcde"[..],
            b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabcde\r\n0\r\n\r\n",
        ] {
            let (mut session, mut output) = (session(), Vec::new());
            let (first, second) = request.split_at(request.len() - 3);
            let read = session.advance(first, &mut output, &|| {}).consumed;
            assert!(session.held() > 0);
            session.advance(&[&first[read..], second].concat(), &mut output, &|| {});
            assert!(output.ends_with(b"abcde>"), "{}", String::from_utf8_lossy(&output));
            assert_eq!((session.head.capacity(), session.body.capacity()), (0, 0));
        }
    }

    /// What is sent for `input` that comes in pieces which end at `cuts`, and what
    /// follows.
    fn feed(input: &[u8], cuts: &[usize]) -> (String, Then) {
        let (mut session, mut output, mut taken) = (session(), Vec::new(), 0);
        let mut then = Then::Read;
        for &end in cuts.iter().chain([&input.len()]) {
            if end <= taken || then != Then::Read {
                continue;
            }
            let advance = session.advance(&input[taken..end], &mut output, &|| ());
            taken += advance.consumed;
            then = advance.then;
            assert!(taken <= end);
        }
        (String::from_utf8(output).unwrap(), then)
    }

    fn at_once(input: &str) -> (String, Then) {
        feed(input.as_bytes(), &[])
    }

    fn bodies(output: &str) -> Vec<&str> {
        output.split('<').skip(1).filter_map(|part| part.split('>').next()).collect()
    }

    // rule: WEB-2
    #[test]
    fn an_answer_has_a_date_and_a_length_and_the_connection_stays() {
        let (output, then) = at_once("POST /x HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc");
        let expected = "HTTP/1.1 200 OK\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\n\
            Content-Type: application/ocsp-response\r\nContent-Length: 14\r\n\
            Cache-Control: no-store\r\nX-Accel-Expires: 0\r\n\r\n<POST /x  abc>";
        assert_eq!((output.as_str(), then), (expected, Then::Read));
    }

    // rule: WEB-1
    #[test]
    fn http_1_0_gets_its_answer_and_a_close_unless_it_asks_to_stay() {
        let (output, then) = at_once("GET /MA HTTP/1.0\r\n\r\n");
        assert_eq!((bodies(&output), then), (vec!["GET /MA  "], Then::Close));
        assert!(output.contains("\r\nConnection: close\r\n"));
        let (output, then) = at_once("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
        assert!(output.contains("\r\nConnection: keep-alive\r\n") && then == Then::Read);
    }

    // rule: WEB-4
    #[test]
    fn head_gets_the_head_alone_and_if_none_match_is_passed_on() {
        let (output, _) =
            at_once("HEAD / HTTP/1.1\r\n\r\nGET / HTTP/1.1\r\nIf-None-Match: *\r\n\r\n");
        assert_eq!(bodies(&output), ["GET / * "]);
        assert_eq!(output.matches("Content-Length: 10\r\n").count(), 2);
    }

    /// Several requests in a row, framed in all ways, empty lines between, and more
    /// behind the last.
    const PIPELINE: &str = "GET /1 HTTP/1.1\r\nHost: h:\r\n\r\n\r\n\
        POST /2 HTTP/1.1\r\nContent-Length: 20\r\n\r\nabcdefghijklmnopqrst\r\n\
        POST http://h/3 HTTP/1.1\nTransfer-Encoding: chunked\n\n3;x\r\nabc\r\n2\r\nde\r\n0\r\nT: x\r\n\r\n\
        PUT /4 HTTP/1.1\r\nContent-Length: 0\r\nConnection: close\r\n\r\nGET /5 HTTP/1.1\r\n\r\n";

    // rule: WEB-5
    #[test]
    fn a_pipeline_is_answered_alike_wherever_the_input_is_cut() {
        let (whole, then) = at_once(PIPELINE);
        let expected =
            ["GET /1  ", "POST /2  abcdefghijklmnopqrst", "POST http://h/3  abcde", "PUT /4  "];
        assert_eq!((bodies(&whole), then), (expected.to_vec(), Then::Discard));
        for first in 0..PIPELINE.len() {
            assert_eq!(feed(PIPELINE.as_bytes(), &[first]).0, whole, "{first}");
            assert_eq!(feed(PIPELINE.as_bytes(), &[first, first + 7]).0, whole, "{first}");
        }
        let each: Vec<usize> = (0..PIPELINE.len()).collect();
        assert_eq!(feed(PIPELINE.as_bytes(), &each).0, whole);
    }

    #[test]
    fn an_answer_that_was_waited_for_goes_out_before_what_was_asked_behind_it() {
        let (mut session, mut output) = (session(), Vec::new());
        let input = "GET /1 HTTP/1.1\r\n\r\nGET /wait HTTP/1.1\r\n\r\nGET /2 HTTP/1.1\r\n\r\n";
        let advance = session.advance(input.as_bytes(), &mut output, &|| ());
        let expected = Advance { consumed: 41, answered: 2, then: Then::Read };
        assert_eq!((advance, session.activity()), (expected, Activity::Request));
        let advance = session.advance(&input.as_bytes()[41..], &mut output, &|| ());
        assert_eq!((advance.answered, session.activity()), (1, Activity::Idle));
        assert_eq!(
            bodies(&String::from_utf8(output).unwrap()),
            ["GET /1  ", "GET /wait  ", "GET /2  "]
        );
    }

    #[test]
    fn a_client_that_waits_to_send_its_body_is_told_to_go_on() {
        for framing in ["Content-Length: 2", "Transfer-Encoding: chunked"] {
            let head = format!("POST / HTTP/1.1\r\n{framing}\r\nExpect: 100-continue\r\n\r\n");
            assert_eq!(at_once(&head), ("HTTP/1.1 100 Continue\r\n\r\n".to_owned(), Then::Read));
            let begun = at_once(&format!("{head}1"));
            assert_eq!(begun, (String::new(), Then::Read), "it does not wait");
        }
        let whole = at_once("POST / HTTP/1.1\r\nContent-Length: 0\r\nExpect: 100-continue\r\n\r\n");
        assert!(whole.0.starts_with("HTTP/1.1 200 OK"));
    }

    // rule: WEB-5
    #[test]
    fn a_body_over_the_limit_is_refused_before_it_comes() {
        for framing in [
            "Content-Length: 21\r\nExpect: 100-continue\r\n\r\n",
            "Content-Length: 99999999999999999999999\r\n\r\n",
            "Transfer-Encoding: chunked\r\n\r\n15\r\n",
        ] {
            let (output, then) = at_once(&format!("POST / HTTP/1.1\r\n{framing}"));
            assert!(output.starts_with("HTTP/1.1 413 Content Too Large\r\n"), "{output}");
            assert!(output.contains("\r\nConnection: close\r\n"));
            assert_eq!(then, Then::Discard);
        }
    }

    #[test]
    fn what_is_not_http_1_is_refused_and_the_connection_ends() {
        let large = format!("GET /{} HTTP/1.1\r\n", "x".repeat(16 * 1024));
        for (input, status) in [
            ("\x16\x03\x01", "400"),
            ("GET /\r\n", "400"),
            ("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n", "400"),
            ("POST / HTTP/1.1\r\nTransfer-Encoding: gzip\r\n\r\n", "501"),
            ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "505"),
            (&large, "431"),
        ] {
            let (output, then) = at_once(input);
            assert!(output.starts_with(&format!("HTTP/1.1 {status} ")), "{input:.40} {output}");
            assert!(output.contains("\r\nConnection: close\r\n"));
            assert_eq!(then, Then::Discard);
        }
    }

    #[test]
    fn a_session_is_idle_only_between_requests() {
        let mut session = session();
        assert_eq!(session.activity(), Activity::Idle);
        for (input, consumed, activity) in [
            ("\r\n\r\n", 4, Activity::Idle),
            ("G", 0, Activity::Request),
            ("GET / HTTP/1.1\r\n\r\n", 18, Activity::Idle),
            ("POST / HTTP/1.1\r\nContent-Length: 2\r\n\r\n", 38, Activity::Request),
            ("ab", 2, Activity::Idle),
        ] {
            let advance = session.advance(input.as_bytes(), &mut Vec::new(), &|| ());
            assert_eq!((advance.consumed, session.activity()), (consumed, activity), "{input}");
        }
    }

    /// Pieces of requests, good and bad, in any order.
    fn pieces() -> impl Strategy<Value = String> {
        let piece = prop_oneof![
            Just("GET /MAQwAjAA HTTP/1.1\r\n"),
            Just("POST / HTTP/1.1\r\n"),
            Just("HEAD / HTTP/1.0\r\n"),
            Just("Connection: keep-alive\r\n"),
            Just("Content-Length: 3\r\n"),
            Just("Transfer-Encoding: chunked\r\n"),
            Just("\r\n"),
            Just("\n"),
            Just("abc"),
            Just("3\r\nabc\r\n"),
            Just("0\r\n\r\n"),
            Just(": \r \0"),
        ];
        proptest::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #[test]
        fn pieces_and_the_whole_come_to_the_same(
            input in pieces(),
            mut cuts in proptest::collection::vec(0..200usize, 0..8),
        ) {
            cuts.iter_mut().for_each(|cut| *cut = (*cut).min(input.len()));
            cuts.sort_unstable();
            let (pieces, whole) = (feed(input.as_bytes(), &cuts), at_once(&input));
            prop_assert_eq!(pieces.0, whole.0);
            prop_assert_eq!(pieces.1 == Then::Read, whole.1 == Then::Read);
        }

        #[test]
        fn no_octets_panic(input: Vec<u8>) {
            session().advance(&input, &mut Vec::new(), &|| ());
        }
    }
}
