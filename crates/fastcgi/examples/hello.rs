//! Answers every request with `hello`: on a TCP address, a Unix socket, or the
//! listening socket on descriptor 0.
//!
//! ```sh
//! cargo run --release --example hello -- 127.0.0.1:9000
//! cargo run --release --example hello -- /run/hello.socket
//! spawn-fcgi -n -s /run/hello.socket -- target/release/examples/hello
//! ```

use std::error::Error;
use std::io::stdin;
use std::os::fd::AsFd;
use std::path::Path;

use fastcgi::connection::{Application, FastCgi, Limits, Request};
use fastcgi::listener::{Access, Listener};
use fastcgi::record::Stdout;
use fastcgi::server::{Server, Settings};

struct Hello;

impl Application for Hello {
    fn respond(&self, _: &Request<'_>, stdout: &mut Stdout<'_>, _: &dyn Fn()) {
        stdout.extend_from_slice(b"Content-Type: text/plain\r\n\r\nhello");
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let listener = match arguments.next() {
        None => Listener::inherited(stdin().as_fd().try_clone_to_owned()?)?,
        Some(address) => match address.parse() {
            Ok(address) => Listener::tcp(address)?,
            Err(_) => {
                let access = Access { mode: 0o666, owner: None, group: None };
                Listener::unix(Path::new(&address), access)?
            }
        },
    };
    let workers = arguments.next().map_or(Ok(64), |workers| workers.parse())?;
    let settings = Settings { workers, ..Settings::default() };
    let mut server = Server::new(FastCgi::new(Hello, Limits::default()), settings)?;
    server.listen(listener)?;
    server.run()?;
    Ok(())
}
