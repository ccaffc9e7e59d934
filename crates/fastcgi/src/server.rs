//! Listeners and the workers that serve their connections.

/// What one connection speaks: octets in, octets out, no I/O of its own.
pub trait Session: Send {
    /// Looks at everything received and not yet consumed (never empty), appends
    /// what is to be sent to `output`, and says how far it got.
    ///
    /// Called again only after more octets have come, so it must take all
    /// complete messages in one call. `output` is sent in one write after each call.
    fn advance(&mut self, input: &[u8], output: &mut Vec<u8>) -> Advance;

    /// Whether a request is under way. It decides which time-out silence meets,
    /// and what a graceful stop waits for.
    fn activity(&self) -> Activity;
}

/// Makes the session of a new connection.
pub trait Protocol: Send + Sync + 'static {
    /// The sessions it makes.
    type Session: Session + 'static;

    /// Called with the first octet that the peer sent.
    fn open(&self, first_octet: u8) -> Self::Session;
}

/// How far a session got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Advance {
    /// Octets of `input` that are done with.
    pub consumed: usize,
    /// What follows once `output` is sent.
    pub then: Then,
}

/// What follows once the output is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    /// The connection stays; more may come.
    Read,
    /// The connection is closed.
    Close,
    /// The connection is closed although the peer has not sent all of its request:
    /// what still comes is thrown away for a bounded time first, so that the
    /// answer is not lost to a reset.
    Discard,
}

/// Whether a request is under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activity {
    /// Between requests.
    Idle,
    /// A request has begun and is not answered.
    Request,
}
