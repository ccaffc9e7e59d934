//! The library against a FastCGI client of its own: streams in memory, and a
//! real server on TCP and Unix sockets.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "allowed in tests, but clippy does not see that helpers are part of them"
)]

#[path = "../support/mod.rs"]
mod support;

mod arbitrary;
mod exchange;
mod hostile;
mod running;
mod stop;
mod streams;
mod workers;
