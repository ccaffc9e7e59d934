//! MariaDB nodes of one Galera cluster, on loopback, each in a folder of its own.
//!
//! A `sh` starts each node and waits on its standard input: whatever way the bench
//! ends, the pipe closes, and the shell ends the node and removes its folder.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use mysql::prelude::Queryable;
use mysql::{Conn, OptsBuilder};
use nix::unistd::User;

use crate::support::mariadb::SHELL;
use crate::support::web::{is_root, program};
use crate::support::{free_port, run};

/// How soon nodes give up one that is silent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Timers {
    /// As docs/operation.md recommends for nodes in one place.
    Recommended,
    /// As Galera has them by itself.
    Defaults,
}

/// The nodes, the first of which is the oldest.
pub struct Cluster {
    pub nodes: Vec<Node>,
}

/// One node.
pub struct Node {
    pub port: u16,
    folder: PathBuf,
    child: Child,
    output: BufReader<ChildStdout>,
}

/// The way in which a node has got what it had missed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transfer {
    /// The missing writes.
    Ist,
    /// The whole state.
    Sst,
}

impl Cluster {
    /// Three nodes; `prepare` fills the first before the others join.
    pub fn start(timers: Timers, prepare: impl FnOnce(&Node)) -> Self {
        let group: Vec<u16> = (0..3).map(|_| free_port()).collect();
        let mut nodes: Vec<Node> =
            group.iter().map(|port| Node::install(&group, *port, timers)).collect();
        nodes[0].tell("start --wsrep-new-cluster");
        nodes[0].wait_until_synced();
        prepare(&nodes[0]);
        // One after the other, as each takes the whole state from a donor.
        for node in &mut nodes[1..] {
            node.tell("start");
            node.wait_until_synced();
        }
        Self { nodes }
    }
}

impl Node {
    fn install(group: &[u16], own: u16, timers: Timers) -> Self {
        let folder = tempfile::Builder::new().prefix("ocsp-fcgi-galera-").tempdir().unwrap().keep();
        // mariadbd gives up root, and rsync, which would not, refuses to be it.
        if is_root() {
            let user = User::from_name("mysql").unwrap().expect("the user mysql");
            chown(&folder, Some(user.uid.as_raw()), Some(user.gid.as_raw())).unwrap();
            fs::set_permissions(&folder, fs::Permissions::from_mode(0o755)).unwrap();
        }
        let install = Command::new("mariadb-install-db")
            .args(["--no-defaults", "--auth-root-authentication-method=normal", "--skip-test-db"])
            .args(common_arguments(&folder))
            .output();
        let install = install.expect("mariadb-install-db, of the Debian package mariadb-server");
        assert!(install.status.success(), "{}", String::from_utf8_lossy(&install.stderr));
        let port = free_port();
        let mut child = Command::new("sh")
            .args(["-c", SHELL, "sh", folder.to_str().unwrap()])
            .arg(program("mariadbd", "mariadb-server"))
            .arg("--no-defaults")
            .args(common_arguments(&folder))
            .arg(format!("--socket={}", folder.join("socket").display()))
            .arg(format!("--pid-file={}", folder.join("pid").display()))
            .arg(format!("--port={port}"))
            .args(OPTIONS)
            .args(wsrep_arguments(&folder, group, own, timers))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            // Not ended by a ^C before it has ended the server.
            .process_group(0)
            .spawn()
            .unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        Self { port, folder, child, output }
    }

    /// Ends it as a failing machine would.
    pub fn kill(&mut self) {
        self.tell("kill");
    }

    /// Starts it again.
    pub fn start(&mut self) {
        self.tell("start");
    }

    /// Stops it from running without ending it, as a virtual machine may be.
    pub fn freeze(&mut self) {
        self.tell("freeze");
    }

    /// Lets it run again.
    pub fn thaw(&mut self) {
        self.tell("thaw");
    }

    /// A connection of root's.
    pub fn root(&self) -> mysql::Result<Conn> {
        let socket = self.folder.join("socket");
        Conn::new(
            OptsBuilder::new()
                .socket(socket.to_str())
                .prefer_socket(false)
                .user(Some("root"))
                .read_timeout(Some(PATIENCE)),
        )
    }

    /// Runs statements as root.
    pub fn run(&self, statements: &[&str]) {
        let mut root = self.root().unwrap();
        for statement in statements {
            root.query_drop(statement).unwrap_or_else(|error| panic!("{statement}: {error}"));
        }
    }

    /// Waits until it has all that the others have, and says so.
    pub fn wait_until_synced(&self) {
        let until = Instant::now() + PATIENCE;
        while !self.is_synced() {
            assert!(Instant::now() < until, "a node does not join:\n{}", self.log());
            thread::sleep(Duration::from_millis(50));
        }
    }

    /// How it got the state when it was last started.
    pub fn last_transfer(&self) -> Transfer {
        let log = self.log();
        let last = log.rfind("Version: ").or(log.rfind("starting as process")).unwrap_or(0);
        match log[last..].contains("SST started on joiner") && log[last..].contains("SST complete")
        {
            true => Transfer::Sst,
            false => Transfer::Ist,
        }
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }

    fn is_synced(&self) -> bool {
        let status = "SHOW STATUS LIKE 'wsrep_local_state_comment'";
        let row = self.root().and_then(|mut root| root.query_first::<(String, String), _>(status));
        row.is_ok_and(|row| row.is_some_and(|(_, state)| state == "Synced"))
    }

    fn tell(&mut self, command: &str) {
        writeln!(self.child.stdin.as_mut().unwrap(), "{command}").unwrap();
        let mut answer = String::new();
        self.output.read_line(&mut answer).unwrap();
        assert_eq!(answer, "done\n");
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _status = self.child.wait();
    }
}

/// `mariadbd --version` and the version of the provider, for the report.
pub fn versions(node: &Node) -> String {
    let mariadbd =
        run(Command::new(program("mariadbd", "mariadb-server")).arg("-V"), "mariadb-server");
    let mariadbd = String::from_utf8_lossy(&mariadbd.stdout).into_owned();
    let mariadbd = mariadbd.split("Ver ").last().unwrap().split(' ').next().unwrap().to_owned();
    let status = "SHOW STATUS LIKE 'wsrep_provider_version'";
    let row = node.root().unwrap().query_first::<(String, String), _>(status).unwrap();
    format!("MariaDB {mariadbd}, Galera {}", row.map(|(_, version)| version).unwrap_or_default())
}

fn common_arguments(folder: &Path) -> Vec<String> {
    let folder = folder.display();
    let mut arguments = vec![format!("--datadir={folder}/data"), format!("--tmpdir={folder}")];
    arguments.extend(FAST.map(Into::into));
    if is_root() {
        arguments.push("--user=mysql".into());
    }
    arguments
}

fn wsrep_arguments(folder: &Path, group: &[u16], own: u16, timers: Timers) -> Vec<String> {
    let members: Vec<String> = group.iter().map(|port| format!("127.0.0.1:{port}")).collect();
    let timers = match timers {
        Timers::Recommended => RECOMMENDED,
        Timers::Defaults => "",
    };
    let (ist, sst) = (free_port(), free_port());
    vec![
        format!("--wsrep-cluster-address=gcomm://{}", members.join(",")),
        format!("--wsrep-node-address=127.0.0.1:{own}"),
        format!("--wsrep-sst-receive-address=127.0.0.1:{sst}"),
        format!(
            "--wsrep-provider-options=gmcast.listen_addr=tcp://127.0.0.1:{own};\
             ist.recv_addr=127.0.0.1:{ist};gcache.size=32M;gcache.dir={};{timers}",
            folder.display()
        ),
    ]
}

/// The recommendation of docs/operation.md.
const RECOMMENDED: &str = "evs.keepalive_period=PT0.3S;evs.inactive_check_period=PT0.3S;\
     evs.suspect_timeout=PT1S;evs.inactive_timeout=PT3S";

const PATIENCE: Duration = Duration::from_secs(60);

const FAST: [&str; 5] = [
    "--innodb-flush-method=nosync",
    "--innodb-flush-log-at-trx-commit=0",
    "--innodb-buffer-pool-size=64M",
    "--innodb-log-file-size=4M",
    "--innodb-data-file-path=ibdata1:4M:autoextend",
];

const OPTIONS: [&str; 9] = [
    "--bind-address=127.0.0.1",
    "--skip-name-resolve",
    "--performance-schema=OFF",
    "--binlog-format=ROW",
    "--innodb-autoinc-lock-mode=2",
    "--wsrep-on=ON",
    "--wsrep-provider=/usr/lib/galera/libgalera_smm.so",
    "--wsrep-cluster-name=ocsp-fcgi-bench",
    "--wsrep-sst-method=rsync",
];
