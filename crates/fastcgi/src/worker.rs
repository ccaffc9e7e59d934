//! A worker: takes a connection that has something to say, and serves it.
//!
//! One read, what the protocol makes of it, one write, or one for each answer that was
//! waited for; then the connection rests in the poller, also where its request is not
//! whole: a slow peer holds no worker, and one that never stops sending is served in turn
//! with the others. Buffers belong to the worker.

use std::cell::Cell;
use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::peer::{FIRST_REQUEST_TIME, Peer, Received};
use crate::poller::Waiting;
use crate::pool::{Phase, Pool};
use crate::server::{Activity, Advance, MAX_UNCONSUMED, Protocol, Session, Settings, Then};

/// What a worker does until the end.
pub(crate) fn work<P: Protocol>(pool: &Arc<Pool<P>>) {
    let mut buffers = Buffers::default();
    let mut events = Vec::new();
    while let Some(mut peer) = pool.next(&mut events) {
        let waits = Cell::new(false);
        let before_waiting = || {
            if !waits.replace(true) {
                pool.before_waiting();
            }
        };
        let after = match peer.discard {
            None => serve(pool, &mut peer, &mut buffers, &before_waiting),
            Some(octets) => discard(&mut peer, &mut buffers, octets),
        };
        if waits.get() {
            pool.after_waiting();
        }
        match after {
            After::Close => pool.close(peer),
            After::Again => pool.again(peer),
            After::Rest(waiting, deadline) => pool.rest(peer, waiting, deadline),
        }
        buffers.tidy();
    }
}

/// Stack of a worker, in octets. Buffers are on the heap.
pub(crate) const STACK_BYTES: usize = 512 * 1024;

/// What becomes of a connection when its worker leaves it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum After {
    Close,
    /// There may be more to read.
    Again,
    Rest(Waiting, Instant),
}

/// Whether all that had come was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Drained {
    Yes,
    Perhaps,
}

fn serve<P: Protocol>(
    pool: &Pool<P>,
    peer: &mut Peer<P::Session>,
    buffers: &mut Buffers,
    before_waiting: &dyn Fn(),
) -> After {
    buffers.load(mem::take(&mut peer.leftover));
    let space = buffers.space();
    let room = space.len();
    let fills_space = match peer.receive(space) {
        Received::Octets(octets) => {
            buffers.filled += octets;
            octets == room
        }
        Received::Nothing => return pause(pool, peer, buffers, Drained::Yes),
        Received::End => return After::Close,
    };
    let Some(advance) = answer(pool, peer, buffers, before_waiting) else {
        return After::Close;
    };
    match advance.then {
        Then::Close => return After::Close,
        Then::Discard => return begin_discard(peer),
        Then::Read => {}
    }
    if advance.answered > 0 {
        peer.request_deadline = None;
    }
    if buffers.consume(advance.consumed).is_err() {
        log::warn!("connection closed, too much unconsumed: octets={}", buffers.filled);
        return After::Close;
    }
    // What fills the space may be a part. Once the peer or the server is ending,
    // nothing tells of more: it has to be looked for.
    let is_last = peer.ending || pool.progress.phase() != Phase::Serving;
    let drained = if fills_space || is_last { Drained::Perhaps } else { Drained::Yes };
    pause(pool, peer, buffers, drained)
}

/// Lets the session see what has come, and sends what it says. `None` where the connection
/// is lost.
fn answer<P: Protocol>(
    pool: &Pool<P>,
    peer: &mut Peer<P::Session>,
    buffers: &mut Buffers,
    before_waiting: &dyn Fn(),
) -> Option<Advance> {
    buffers.output.clear();
    let mut done = Advance { consumed: 0, answered: 0, then: Then::Read };
    let sent = loop {
        let next = advance(&pool.protocol, peer, buffers, done.consumed, before_waiting)?;
        done.consumed += next.consumed;
        done.answered += next.answered;
        done.then = next.then;
        if next.answered == 0 || next.then != Then::Read || done.consumed >= buffers.filled {
            break peer.send(&buffers.output, pool.settings.write_timeout, || {
                let place = pool.place_to_send()?;
                before_waiting();
                Some(place)
            });
        }
        // What was asked behind it may take as long again. Room to send is waited for once.
        match peer.send_at_once(&buffers.output) {
            Ok(octets) => drop(buffers.output.drain(..octets)),
            Err(error) => break Err(error),
        }
    };
    if let Err(error) = sent {
        log::debug!("connection closed, answer not sent: error={error}");
        return None;
    }
    Some(done)
}

/// Until more comes, the connection waits where it costs no worker.
fn pause<P: Protocol>(
    pool: &Pool<P>,
    peer: &mut Peer<P::Session>,
    buffers: &mut Buffers,
    drained: Drained,
) -> After {
    let now = Instant::now();
    let (waiting, deadline) = if is_within_request(peer, buffers) {
        let latest = now + pool.settings.read_timeout;
        let deadline = *peer.request_deadline.get_or_insert(latest);
        let held = peer.session.as_ref().map_or(0, Session::held) + buffers.filled;
        if deadline <= now || peer.held.set(held) > pool.settings.held_bytes {
            return After::Close;
        }
        (Waiting::ForRest, deadline)
    } else {
        peer.request_deadline = None;
        peer.held.set(0);
        if drained == Drained::Yes && pool.progress.phase() != Phase::Serving {
            return match rests_until(peer, &pool.settings) {
                Some(deadline) => After::Rest(Waiting::ForRest, deadline),
                None => After::Close,
            };
        }
        (Waiting::ForRequest, now + pool.settings.idle_timeout)
    };
    peer.leftover = buffers.unload();
    match drained {
        Drained::Yes => After::Rest(waiting, deadline),
        Drained::Perhaps => After::Again,
    }
}

/// How long a connection without a request may stay at the end: what has come already is
/// answered, who has just connected is about to send, and nothing else is waited for.
pub(crate) fn rests_until<S>(peer: &Peer<S>, settings: &Settings) -> Option<Instant> {
    let time = match (peer.look(), &peer.session) {
        (Received::Octets(_), _) => settings.read_timeout,
        (Received::Nothing, None) => FIRST_REQUEST_TIME,
        (Received::Nothing, Some(_)) | (Received::End, _) => return None,
    };
    Some(Instant::now() + time)
}

/// Lets the session see what has come, from octet `start` on. `None` where it, or the
/// application, panics.
fn advance<P: Protocol>(
    protocol: &P,
    peer: &mut Peer<P::Session>,
    buffers: &mut Buffers,
    start: usize,
    before_waiting: &dyn Fn(),
) -> Option<Advance> {
    let input = buffers.input.get(start..buffers.filled)?;
    let first_octet = *input.first()?;
    // What the closure touches is thrown away with the connection.
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        let session = peer.session.get_or_insert_with(|| protocol.open(first_octet));
        session.advance(input, &mut buffers.output, before_waiting)
    }));
    if outcome.is_err() {
        log::error!("connection closed, the application panicked");
    }
    outcome.ok()
}

fn is_within_request<S: Session>(peer: &Peer<S>, buffers: &Buffers) -> bool {
    let activity = peer.session.as_ref().map(Session::activity);
    buffers.filled > 0 || activity == Some(Activity::Request)
}

/// Closing while octets are unread would send a reset, and that can overtake the answer.
fn begin_discard<S>(peer: &mut Peer<S>) -> After {
    peer.end_output();
    peer.session = None;
    peer.discard = Some(DISCARD_BYTES);
    peer.request_deadline = Some(Instant::now() + DISCARD_TIME);
    // What has come in the meantime is told already.
    After::Again
}

fn discard<S>(peer: &mut Peer<S>, buffers: &mut Buffers, mut octets: usize) -> After {
    let mut drained = Drained::Perhaps;
    // A few reads, then it is somebody else's turn.
    for _ in 0..16 {
        match peer.receive(buffers.space()) {
            Received::Octets(received) if received < octets => octets -= received,
            Received::Nothing => {
                drained = Drained::Yes;
                break;
            }
            Received::Octets(_) | Received::End => return After::Close,
        }
    }
    peer.discard = Some(octets);
    match (peer.request_deadline, drained) {
        (Some(deadline), _) if deadline <= Instant::now() => After::Close,
        (Some(deadline), Drained::Yes) => After::Rest(Waiting::ForRest, deadline),
        (Some(_), Drained::Perhaps) => After::Again,
        (None, _) => After::Close,
    }
}

/// The octets of the connection being served.
#[derive(Debug)]
struct Buffers {
    /// The first `filled` octets have come and are not consumed.
    input: Vec<u8>,
    filled: usize,
    output: Vec<u8>,
}

/// A session that neither consumes its input nor closes.
struct TooMuch;

impl Default for Buffers {
    fn default() -> Self {
        Self { input: vec![0; INPUT_BYTES], filled: 0, output: Vec::new() }
    }
}

impl Buffers {
    fn load(&mut self, leftover: Vec<u8>) {
        self.filled = leftover.len();
        if leftover.len() >= self.input.len() {
            self.input.resize(leftover.len() + INPUT_BYTES, 0);
        }
        if let Some(start) = self.input.get_mut(..leftover.len()) {
            start.copy_from_slice(&leftover);
        }
    }

    fn unload(&mut self) -> Vec<u8> {
        let leftover = self.input.get(..self.filled).unwrap_or_default().to_vec();
        self.filled = 0;
        leftover
    }

    /// Where the next octets go; never empty.
    fn space(&mut self) -> &mut [u8] {
        self.input.get_mut(self.filled..).unwrap_or_default()
    }

    fn consume(&mut self, octets: usize) -> Result<(), TooMuch> {
        let consumed = octets.min(self.filled);
        self.input.copy_within(consumed..self.filled, 0);
        self.filled -= consumed;
        if self.filled > MAX_UNCONSUMED {
            return Err(TooMuch);
        }
        if self.filled == self.input.len() {
            self.input.resize(self.filled * 2, 0);
        }
        Ok(())
    }

    /// Between connections: forgets the octets, and gives back what one of them made large.
    fn tidy(&mut self) {
        self.filled = 0;
        self.input.truncate(INPUT_BYTES);
        self.input.shrink_to(INPUT_BYTES);
        self.output.clear();
        self.output.shrink_to(OUTPUT_BYTES);
    }
}

/// Room for the longest FastCGI record (65,798 octets), so that one always fits.
const INPUT_BYTES: usize = 66 * 1024;
/// What a worker keeps of the output buffer for the next connection.
const OUTPUT_BYTES: usize = 64 * 1024;
const DISCARD_TIME: Duration = Duration::from_secs(2);
const DISCARD_BYTES: usize = 8 << 20;

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::unix::net::UnixStream;

    use super::*;
    use crate::peer::Held;

    #[test]
    fn what_is_thrown_away_ends_with_its_time_though_octets_keep_coming() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let mut peer = Peer::<()>::new(ours.into(), Held::default());
        let now = Instant::now();
        let later = now + Duration::from_secs(60);
        for (deadline, after) in
            [(later, After::Rest(Waiting::ForRest, later)), (now, After::Close)]
        {
            peer.request_deadline = Some(deadline);
            theirs.write_all(b"x").unwrap();
            assert_eq!(discard(&mut peer, &mut Buffers::default(), DISCARD_BYTES), after);
        }
    }
}
