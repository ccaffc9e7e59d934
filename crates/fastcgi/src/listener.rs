//! Listening sockets: own ones, TCP or Unix, and inherited ones.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use rustix::fs::{Gid, Mode, Uid};
use rustix::io::Errno;
use rustix::net::{self, AddressFamily, SocketAddrUnix, SocketFlags, SocketType, sockopt};

/// What kind of address a socket has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// IPv4 or IPv6.
    Tcp,
    /// A path in the file system, or an abstract name.
    Unix,
}

/// Who may connect to a Unix socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Access {
    /// Permission bits, such as `0o660`; connecting takes the right to write.
    pub mode: u32,
    /// The owner's user id; `None`: who starts the program.
    pub owner: Option<u32>,
    /// The group id; `None`: that of who starts the program, or of the folder.
    pub group: Option<u32>,
}

/// Why there is no listening socket.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// Another program serves it.
    #[error("{0}: another program is listening there")]
    Taken(PathBuf),
    /// A file of another kind, which is not for us to replace.
    #[error("{0}: exists and is no socket")]
    NotASocket(PathBuf),
    /// An inherited descriptor that is no listening stream socket, TCP or Unix.
    #[error("the inherited descriptor is no listening TCP or Unix socket")]
    NotListening,
    /// The system refused.
    #[error("{place}")]
    System {
        /// The address or path.
        place: String,
        /// What it said.
        source: io::Error,
    },
}

/// A listening socket.
///
/// The file of an own Unix socket is removed with it, if it is still ours.
#[derive(Debug)]
pub struct Listener {
    // Dropped first: while we still listen, no other server puts its own file there.
    _file: Option<SocketFile>,
    socket: OwnedFd,
    family: Family,
    maker: Maker,
}

/// Who has made a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Maker {
    /// Nobody else accepts its connections.
    We,
    /// It may outlive us, and be shared.
    Other,
}

impl Listener {
    /// Listens on a TCP address. All of IPv6 (`[::]`) is not all of IPv4 too, so that both
    /// can be listened on.
    ///
    /// # Errors
    ///
    /// [`ListenError::System`], such as an address in use.
    pub fn tcp(address: SocketAddr) -> Result<Self, ListenError> {
        let refused = |source| ListenError::System { place: address.to_string(), source };
        let socket = bind_tcp(address).map_err(|error| refused(error.into()))?;
        net::listen(&socket, BACKLOG).map_err(|error| refused(error.into()))?;
        Self::new(socket, Family::Tcp, Maker::We).map_err(refused)
    }

    /// Whether a TCP address could be listened on: nobody can connect meanwhile.
    ///
    /// # Errors
    ///
    /// As for [`Listener::tcp`]; an address in use may be in use by us.
    pub fn try_tcp(address: SocketAddr) -> Result<(), ListenError> {
        let refused = |source| ListenError::System { place: address.to_string(), source };
        bind_tcp(address).map(drop).map_err(|error| refused(error.into()))
    }

    /// Listens on a Unix socket at `path`, in place of one that nobody serves any more.
    ///
    /// Nobody can connect before owner, group and mode are as wanted.
    ///
    /// # Errors
    ///
    /// [`ListenError::Taken`] and [`ListenError::NotASocket`] where `path` is
    /// something to be left alone; [`ListenError::System`].
    pub fn unix(path: &Path, access: Access) -> Result<Self, ListenError> {
        let refused = |source| ListenError::System { place: path.display().to_string(), source };
        may_replace(path)?;
        let (socket, file) = bind_unix(path, access).map_err(refused)?;
        let listener = Self::new(socket, Family::Unix, Maker::We).map_err(refused)?;
        Ok(Self { _file: Some(file), ..listener })
    }

    /// Whether a Unix socket could be put at `path`: makes one beside it, and removes it.
    /// One that is served there already is left alone, and no obstacle.
    ///
    /// # Errors
    ///
    /// As for [`Listener::unix`].
    pub fn try_unix(path: &Path, access: Access) -> Result<(), ListenError> {
        match may_replace(path) {
            Ok(()) | Err(ListenError::Taken(_)) => {}
            Err(error) => return Err(error),
        }
        let made = bind_beside(path, access).map(drop);
        made.map_err(|source| ListenError::System { place: path.display().to_string(), source })
    }

    /// Takes a listening socket that another program has made: descriptor 0 of a
    /// FastCGI application (specification section 2.2), or one of LISTEN_FDS.
    ///
    /// # Errors
    ///
    /// [`ListenError::NotListening`]; [`ListenError::System`].
    pub fn inherited(socket: OwnedFd) -> Result<Self, ListenError> {
        let family = listening_family(&socket).ok_or(ListenError::NotListening)?;
        let refused = |source| ListenError::System { place: "inherited socket".into(), source };
        Self::new(socket, family, Maker::Other).map_err(refused)
    }

    /// The address of a TCP socket, with the port that the system chose for port 0.
    pub fn tcp_address(&self) -> Option<SocketAddr> {
        SocketAddr::try_from(net::getsockname(&self.socket).ok()?).ok()
    }

    /// What kind of address it has.
    pub fn family(&self) -> Family {
        self.family
    }

    /// Whether nobody but us accepts its connections.
    pub(crate) fn is_ours_alone(&self) -> bool {
        self.maker == Maker::We
    }

    fn new(socket: OwnedFd, family: Family, maker: Maker) -> io::Result<Self> {
        // One of several threads that are woken for one connection must not hang in accept().
        rustix::io::ioctl_fionbio(&socket, true)?;
        if family == Family::Tcp {
            // Linux hands it down to accepted connections: no system call for each.
            sockopt::set_tcp_nodelay(&socket, true)?;
        }
        Ok(Self { _file: None, socket, family, maker })
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// The family of a listening stream socket; `None` for any other descriptor.
///
/// How an application tells that it was started for FastCGI: descriptor 0 is one
/// (specification section 2.2; SO_ACCEPTCONN says so without the side effects
/// of the getpeername() proposed there).
pub fn listening_family(descriptor: impl AsFd) -> Option<Family> {
    let listening = sockopt::socket_acceptconn(&descriptor).ok()?;
    let stream = sockopt::socket_type(&descriptor).ok()? == SocketType::STREAM;
    if !(listening && stream) {
        return None;
    }
    match sockopt::socket_domain(&descriptor).ok()? {
        AddressFamily::INET | AddressFamily::INET6 => Some(Family::Tcp),
        AddressFamily::UNIX => Some(Family::Unix),
        _ => None,
    }
}

/// Whether a socket may be put at `path`: nothing there, or a socket nobody serves.
fn may_replace(path: &Path) -> Result<(), ListenError> {
    let system = |source| ListenError::System { place: path.display().to_string(), source };
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(system(error)),
        Ok(metadata) if metadata.file_type().is_socket() => {}
        Ok(_) => return Err(ListenError::NotASocket(path.to_owned())),
    }
    // Non-blocking: a server whose queue is full would make us wait.
    let probe = stream_socket(SocketFlags::NONBLOCK).map_err(|error| system(error.into()))?;
    let address = SocketAddrUnix::new(path).map_err(|error| system(error.into()))?;
    match net::connect(&probe, &address) {
        Err(Errno::CONNREFUSED | Errno::NOENT) => Ok(()),
        // Not allowed to connect is no proof that nobody serves it.
        _ => Err(ListenError::Taken(path.to_owned())),
    }
}

fn bind_tcp(address: SocketAddr) -> Result<OwnedFd, Errno> {
    let family = match address {
        SocketAddr::V4(_) => AddressFamily::INET,
        SocketAddr::V6(_) => AddressFamily::INET6,
    };
    let socket = net::socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    // Connections of before that are not quite gone are in nobody's way.
    sockopt::set_socket_reuseaddr(&socket, true)?;
    if family == AddressFamily::INET6 {
        sockopt::set_ipv6_v6only(&socket, true)?;
    }
    net::bind(&socket, &address)?;
    Ok(socket)
}

/// Makes the socket under another name, gives it its owner and mode, and only
/// then lets it listen and moves it to `path`.
fn bind_unix(path: &Path, access: Access) -> io::Result<(OwnedFd, SocketFile)> {
    let (socket, mut file) = bind_beside(path, access)?;
    net::listen(&socket, BACKLOG)?;
    fs::rename(&file.path, path)?;
    file.path = path.to_owned();
    Ok((socket, file))
}

/// The socket under another name than `path`, with its owner and mode.
fn bind_beside(path: &Path, access: Access) -> io::Result<(OwnedFd, SocketFile)> {
    let socket = stream_socket(SocketFlags::empty())?;
    let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    let temporary = path.with_file_name(name_beside(name, std::process::id()));
    match fs::remove_file(&temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {} // of a process that had our number and was killed
    }
    net::bind(&socket, &SocketAddrUnix::new(&temporary)?)?;
    let file = SocketFile::at(temporary)?;
    // The id -1 means none (chown(2)), and no user or group has it.
    let owner = access.owner.filter(|id| *id != u32::MAX).map(Uid::from_raw);
    let group = access.group.filter(|id| *id != u32::MAX).map(Gid::from_raw);
    if owner.is_some() || group.is_some() {
        rustix::fs::chown(&file.path, owner, group)?;
    }
    rustix::fs::chmod(&file.path, Mode::from_raw_mode(access.mode & 0o777))?;
    Ok((socket, file))
}

/// The name of a socket that is to be `name`: no longer than that, or than the number of the
/// process takes, as the path of a socket has 107 octets.
fn name_beside(name: &OsStr, process: u32) -> OsString {
    let mut beside = format!(".{process}").into_bytes();
    let longest = name.len().max(beside.len());
    beside.push(b'.');
    beside.extend_from_slice(name.as_bytes());
    beside.truncate(longest);
    OsString::from_vec(beside)
}

fn stream_socket(flags: SocketFlags) -> Result<OwnedFd, Errno> {
    net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags | SocketFlags::CLOEXEC, None)
}

/// The file of a Unix socket, removed on drop.
#[derive(Debug)]
struct SocketFile {
    path: PathBuf,
    device: u64,
    inode: u64,
}

impl SocketFile {
    fn at(path: PathBuf) -> io::Result<Self> {
        let metadata = fs::symlink_metadata(&path)?;
        Ok(Self { path, device: metadata.dev(), inode: metadata.ino() })
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let ours = fs::symlink_metadata(&self.path)
            .is_ok_and(|there| (there.dev(), there.ino()) == (self.device, self.inode));
        if ours && let Err(error) = fs::remove_file(&self.path) {
            log::warn!("socket file left behind: path={:?} error={error}", self.path);
        }
    }
}

/// Connections that may wait to be accepted; the system cuts it to its own limit.
pub(crate) const BACKLOG: i32 = 4096;

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};
    use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};

    use super::*;

    const OPEN: Access = Access { mode: 0o600, owner: None, group: None };

    #[test]
    fn all_addresses_of_both_families_can_be_listened_on() {
        let first = Listener::tcp("0.0.0.0:0".parse().unwrap()).unwrap();
        let port = first.tcp_address().unwrap().port();
        let second: SocketAddr = format!("[::]:{port}").parse().unwrap();
        Listener::try_tcp(second).unwrap();
        let second = Listener::tcp(second).unwrap();
        for address in [&first, &second].map(|listener| listener.tcp_address().unwrap()) {
            let taken = Listener::try_tcp(address).unwrap_err();
            let ListenError::System { source, .. } = taken else { panic!("{taken}") };
            assert_eq!(source.kind(), io::ErrorKind::AddrInUse);
        }
        for local in ["127.0.0.1", "::1"] {
            TcpStream::connect((local, port)).unwrap();
        }
    }

    #[test]
    fn connections_that_are_not_quite_gone_are_in_nobodys_way() {
        let listener = Listener::tcp("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = listener.tcp_address().unwrap();
        let mut client = TcpStream::connect(address).unwrap();
        // The side that ends first has to wait (TIME_WAIT).
        drop(net::accept(&listener).unwrap());
        assert_eq!(io::Read::read(&mut client, &mut [0]).unwrap(), 0);
        drop((client, listener));
        Listener::tcp(address).unwrap();
    }

    // rule: FCG-4
    #[test]
    fn a_unix_socket_has_the_mode_asked_for_and_leaves_with_its_listener() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let access = Access { mode: 0o640, ..OPEN };
        let listener = Listener::unix(&path, access).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o640);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        UnixStream::connect(&path).unwrap();
        drop(listener);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    // rule: FCG-4
    #[test]
    fn a_unix_socket_has_the_owner_and_group_asked_for() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let mine = fs::metadata(folder.path()).unwrap();
        // Only root may give files away; anybody may give them to himself.
        let other = if mine.uid() == 0 { (4711, 4712) } else { (mine.uid(), mine.gid()) };
        let access = Access { owner: Some(other.0), group: Some(other.1), ..OPEN };
        let _listener = Listener::unix(&path, access).unwrap();
        let there = fs::metadata(&path).unwrap();
        assert_eq!((there.uid(), there.gid()), other);
    }

    // rule: FCG-4
    #[test]
    fn a_path_may_be_as_long_as_the_system_takes_it() {
        let folder = tempfile::tempdir().unwrap();
        let name = "s".repeat(107 - folder.path().as_os_str().len() - 1);
        let path = folder.path().join(name);
        Listener::try_unix(&path, OPEN).unwrap();
        let _listener = Listener::unix(&path, OPEN).unwrap();
        UnixStream::connect(&path).unwrap();
    }

    // rule: FCG-4
    #[test]
    fn a_stale_socket_is_replaced_and_a_served_one_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        drop(UnixListener::bind(&path).unwrap()); // std leaves the file
        let _first = Listener::unix(&path, OPEN).unwrap();
        let second = Listener::unix(&path, OPEN);
        assert!(matches!(second, Err(ListenError::Taken(_))), "{second:?}");
        UnixStream::connect(&path).unwrap();
    }

    // rule: FCG-4
    #[test]
    fn a_file_of_another_kind_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        fs::write(&path, "precious").unwrap();
        let refused = Listener::unix(&path, OPEN);
        assert!(matches!(refused, Err(ListenError::NotASocket(_))), "{refused:?}");
        assert_eq!(fs::read(&path).unwrap(), b"precious");
    }

    #[test]
    fn a_socket_file_that_another_process_has_put_there_stays() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let ours = Listener::unix(&path, OPEN).unwrap();
        let elsewhere = folder.path().join("other");
        let _theirs = UnixListener::bind(&elsewhere).unwrap();
        fs::rename(&elsewhere, &path).unwrap();
        drop(ours);
        UnixStream::connect(&path).unwrap();
    }

    // rule: FCG-4
    #[test]
    fn a_listening_socket_is_told_from_any_other_descriptor() {
        let folder = tempfile::tempdir().unwrap();
        let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
        let connected = TcpStream::connect(tcp.local_addr().unwrap()).unwrap();
        let unix = UnixListener::bind(folder.path().join("socket")).unwrap();
        let file = fs::File::open("/dev/null").unwrap();
        assert_eq!(listening_family(&tcp), Some(Family::Tcp));
        assert_eq!(listening_family(&unix), Some(Family::Unix));
        assert_eq!(listening_family(&connected), None);
        assert_eq!(listening_family(UnixDatagram::unbound().unwrap()), None);
        assert_eq!(listening_family(&file), None);
        let refused = Listener::inherited(file.into());
        assert!(matches!(refused, Err(ListenError::NotListening)), "{refused:?}");
    }

    #[test]
    fn accepted_tcp_connections_send_without_delay() {
        let listener = Listener::tcp("127.0.0.1:0".parse().unwrap()).unwrap();
        let _client = TcpStream::connect(listener.tcp_address().unwrap()).unwrap();
        let accepted = net::accept(&listener).unwrap();
        assert!(sockopt::tcp_nodelay(accepted).unwrap());
    }
}
