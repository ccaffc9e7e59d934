//! A server that runs as long as a test.

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::thread::JoinHandle;

use fastcgi::connection::{Application, FastCgi, Limits, Request};
use fastcgi::listener::{Access, Listener};
use fastcgi::record::Stdout;
use fastcgi::server::{Handle, Server, Settings, Stopped};

use crate::support::{Client, Echo, settings};

/// An application made of a closure, which may wait.
pub struct Answering<F>(pub F);

impl<F: Fn(&Request<'_>, &mut Stdout<'_>) + Send + Sync + 'static> Application for Answering<F> {
    fn respond(&self, request: &Request<'_>, stdout: &mut Stdout<'_>, before_waiting: &dyn Fn()) {
        before_waiting();
        (self.0)(request, stdout);
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    Tcp,
    Unix,
}

#[derive(Clone, Debug)]
enum Place {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

/// A running server; stopped on drop.
pub struct Running {
    place: Place,
    handle: Handle,
    thread: Option<JoinHandle<io::Result<Stopped>>>,
    _folder: tempfile::TempDir,
}

impl Running {
    pub fn echo(transport: Transport) -> Self {
        Self::start(transport, settings(), Limits::default(), Echo)
    }

    pub fn start(
        transport: Transport,
        settings: Settings,
        limits: Limits,
        application: impl Application,
    ) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (listener, place) = match transport {
            Transport::Tcp => {
                let listener = Listener::tcp("127.0.0.1:0".parse().unwrap()).unwrap();
                let address = listener.tcp_address().unwrap();
                (listener, Place::Tcp(address))
            }
            Transport::Unix => {
                let path = folder.path().join("socket");
                let access = Access { mode: 0o600, owner: None, group: None };
                (Listener::unix(&path, access).unwrap(), Place::Unix(path))
            }
        };
        let mut server = Server::new(FastCgi::new(application, limits), settings).unwrap();
        server.listen(listener).unwrap();
        let handle = server.handle();
        let thread = Some(std::thread::spawn(move || server.run()));
        Self { place, handle, thread, _folder: folder }
    }

    pub fn connect(&self) -> Client {
        self.try_connect().unwrap()
    }

    pub fn try_connect(&self) -> io::Result<Client> {
        Ok(match &self.place {
            Place::Tcp(address) => TcpStream::connect(address)?.into(),
            Place::Unix(path) => UnixStream::connect(path)?.into(),
        })
    }

    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// Waits for the server to end.
    pub fn wait(&mut self) -> Stopped {
        self.thread.take().unwrap().join().unwrap().unwrap()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.handle.stop();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
