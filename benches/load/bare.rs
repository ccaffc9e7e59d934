//! `bare.c`, which does for a new question only what none can do without.

use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::process::Command;

use ocsp_fcgi::ocsp::response::SignedAnswer;

use crate::peers::{Peer, compile};
use crate::support::{eventually, free_port};
use crate::world::World;

/// Whether each answer gets a file.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Files {
    Written,
    None,
}

/// A process with a thread, and a connection to the database, for each client; where it
/// listens. `answer` is one of the responder, about any row.
pub fn start(world: &World<'_>, answer: &[u8], files: Files, clients: usize) -> (Peer, SocketAddr) {
    let path = |name: &str| world.site.path(name);
    let binary = compile(&world.site, "bare", &["-lmariadb", "-lcrypto"]);
    let answer = SignedAnswer::from_der(answer).unwrap();
    fs::write(path("tbs"), answer.tbs_response_data).unwrap();
    fs::write(path("algorithm"), answer.signature_algorithm).unwrap();
    let port = free_port();
    let server = world.database.server.unix().to_string();
    let account = world.database.options(&[]);
    let mut command = Command::new(binary);
    command.args([port.to_string(), clients.to_string(), server]);
    command.args([account.user, account.password, account.name]);
    command.args(["ca.key", "tbs", "algorithm"].map(path));
    if files == Files::Written {
        let folder = world.new_cache_folder();
        fs::create_dir(&folder).unwrap();
        command.arg(folder);
    }
    let peer = Peer::start(&mut command);
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    eventually("bare listens", || TcpStream::connect(address).ok());
    (peer, address)
}
