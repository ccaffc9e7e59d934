//! FastCGI 1.0, the application side.

mod accept;
pub mod connection;
pub mod listener;
pub mod params;
mod peer;
mod poller;
mod pool;
pub mod record;
pub mod server;
mod worker;
