//! FastCGI 1.0, the application side: what runs behind nginx or Apache.
//!
//! ```no_run
//! use fastcgi::connection::{Application, FastCgi, Limits, Request, Stdin};
//! use fastcgi::listener::Listener;
//! use fastcgi::record::Stdout;
//! use fastcgi::server::{Server, Settings};
//!
//! struct Echo;
//!
//! impl Application for Echo {
//!     fn respond(&self, request: &Request<'_>, stdout: &mut Stdout<'_>, _before_waiting: &dyn Fn()) {
//!         match request.stdin {
//!             Stdin::Whole(body) => {
//!                 stdout.extend_from_slice(b"Content-Type: text/plain\r\n\r\n");
//!                 stdout.extend_from_slice(request.params.get("REQUEST_URI").unwrap_or_default());
//!                 stdout.extend_from_slice(body);
//!             }
//!             Stdin::TooLarge => stdout.extend_from_slice(b"Status: 413 Content Too Large\r\n\r\n"),
//!         }
//!     }
//! }
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let mut server = Server::new(FastCgi::new(Echo, Limits::default()), Settings::default())?;
//! server.listen(Listener::tcp("127.0.0.1:9000".parse()?)?)?;
//! let handle = server.handle(); // handle.stop(), from another thread, ends it
//! server.run()?;
//! # Ok(())
//! # }
//! ```
//!
//! # Map
//!
//! Each module uses only those above it (`pool`, `worker` and `server` belong together).
//! The server and its private helpers know
//! no FastCGI, `connection` knows no sockets.
//!
//! | module | |
//! | --- | --- |
//! | [`record`] | records: octets to values and back; the answer's STDOUT |
//! | [`params`] | name-value pairs, borrowed |
//! | [`listener`] | listening sockets: TCP, Unix with owner and mode, inherited |
//! | `peer` | one connection's socket: read, write, time-outs |
//! | `poller` | the epoll set: listeners and resting connections |
//! | `crew` | which worker polls, serves, sleeps |
//! | `accept` | what errors of accept() mean and when they are logged |
//! | `pool`, `worker` | the threads and what they do |
//! | [`server`] | the server, its settings, its end; the traits of a protocol |
//! | [`connection`] | FastCGI as such a protocol: requests in, answers out |
//!
//! # Bounds
//!
//! Threads: [`server::Settings::workers`], started when needed. Connections:
//! [`server::Settings::connections`]. Memory of a connection: nothing between
//! requests; one record and [`connection::Limits`] while a request comes in. Time: a
//! deadline for each request to come in, for silence, for the answer to be read,
//! and for the end.
//!
//! Linux only: epoll, and accepted sockets that inherit `TCP_NODELAY`.

mod accept;
pub mod connection;
mod crew;
pub mod listener;
pub mod params;
mod peer;
mod poller;
mod pool;
pub mod record;
pub mod server;
mod worker;
