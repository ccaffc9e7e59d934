//! FastCGI 1.0, the application side.

pub mod connection;
pub mod params;
pub mod record;
pub mod server;
