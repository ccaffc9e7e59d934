//! What HTTP caches may do with an answer (RFC 9919 sections 6 and 7.2).

/// The header fields that change from one reply to the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Caching {
    /// `no-store`: errors, answers about serials that were never issued, pages.
    NoStore,
    /// `max-age=0`: an answer with a nonce.
    OwnUseOnly,
    /// An authoritative answer.
    Public {
        /// Seconds for caches anywhere, at most up to nextUpdate.
        max_age: u32,
        /// Seconds for the web server in front (`X-Accel-Expires`): what is left
        /// of the freshness window.
        accel_expires: u32,
    },
}
