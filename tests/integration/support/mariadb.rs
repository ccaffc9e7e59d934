//! The real MariaDB of Debian, for one test or shared by all; or MySQL, in the root that
//! `MYSQL_ROOT` names (`make mysql`).
//!
//! A `sh` starts the server and waits on its standard input: whatever way the
//! test process ends, the pipe closes, and the shell ends the server and
//! removes its folder.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant};

use mysql::prelude::{FromRow, Queryable};
use mysql::{Conn, OptsBuilder};
use ocsp_fcgi::store::Mapping;
use ocsp_fcgi::store::mysql::{Host, Mysql, Options, Tls};

/// A server with its data in a folder of its own, ended on drop.
pub struct MariaDb {
    folder: PathBuf,
    port: u16,
    shell: Mutex<Shell>,
}

/// A database of a server: the table, and an account of the same name that may
/// only SELECT from it.
pub struct Database<'s> {
    pub server: &'s MariaDb,
    pub name: String,
}

impl MariaDb {
    /// A server for tests that stop it.
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    /// A server with these arguments behind the usual ones.
    pub fn start_with(arguments: &[&str]) -> Self {
        let folder = tempfile::Builder::new().prefix("ocsp-fcgi-mariadb-").tempdir().unwrap();
        let folder = folder.keep();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let shell = Mutex::new(Shell::start(&folder, port, arguments));
        let server = Self { folder, port, shell };
        make_certificate(&server.file("server.pem"), &server.file("server.key"));
        install(&server.folder);
        server.start_again();
        server
    }

    /// One server for the whole test process: take a [`Database`] of it.
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<MariaDb> = OnceLock::new();
        SHARED.get_or_init(Self::start)
    }

    /// A new database with the table of `schema/mysql.sql`.
    pub fn database(&self) -> Database<'_> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        self.database_named(&format!("ocsp_{}", NUMBER.fetch_add(1, Ordering::Relaxed)))
    }

    /// The same by this name, as that of another server.
    pub fn database_named(&self, name: &str) -> Database<'_> {
        self.run(&format!("CREATE DATABASE {name}"));
        let database = Database { server: self, name: name.to_owned() };
        let schema = include_str!("../../../schema/mysql.sql");
        let code: Vec<_> = schema.lines().filter(|line| !line.starts_with("--")).collect();
        code.join("\n").split(';').filter(|sql| !sql.trim().is_empty()).for_each(|statement| {
            database.run(statement);
        });
        self.run(&format!("CREATE USER {name} IDENTIFIED BY '{PASSWORD}'"));
        self.run(&format!("GRANT SELECT ON {name}.* TO {name}"));
        database
    }

    /// Stops the server as its service would; connections end.
    pub fn stop(&self) {
        self.shell.lock().unwrap().tell("stop");
    }

    /// Starts it on the same port and socket, with the same data.
    pub fn start_again(&self) {
        self.shell.lock().unwrap().tell("start");
        let deadline = Instant::now() + Duration::from_secs(60);
        while let Err(error) = Conn::new(self.root_options()) {
            let late = Instant::now() > deadline;
            assert!(!late, "mariadbd does not answer: {error}\n{}", self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Stops it from running without ending it: connections stay, nothing answers.
    pub fn freeze(&self) {
        self.shell.lock().unwrap().tell("freeze");
    }

    /// Lets it run again.
    pub fn thaw(&self) {
        self.shell.lock().unwrap().tell("thaw");
    }

    /// Runs a statement as root.
    pub fn run(&self, sql: &str) {
        self.rows::<mysql::Row>(sql);
    }

    /// The rows of a question asked as root.
    pub fn rows<T: FromRow>(&self, sql: &str) -> Vec<T> {
        let rows = Conn::new(self.root_options()).and_then(|mut root| root.query(sql));
        rows.unwrap_or_else(|error| panic!("{sql}: {error}\n{}", self.log()))
    }

    pub fn tcp(&self) -> Host {
        Host::Tcp { host: "127.0.0.1".into(), port: self.port }
    }

    /// By name, for which the server's certificate is good, unlike its address.
    pub fn localhost(&self) -> Host {
        Host::Tcp { host: "localhost".into(), port: self.port }
    }

    pub fn unix(&self) -> Host {
        Host::Unix(self.file("socket"))
    }

    /// The server's certificate, which it signed itself.
    pub fn certificate(&self) -> PathBuf {
        self.file("server.pem")
    }

    fn log(&self) -> String {
        fs::read_to_string(self.file("log")).unwrap_or_default()
    }

    fn root_options(&self) -> OptsBuilder {
        OptsBuilder::new()
            .socket(Some(self.file("socket").to_str().unwrap()))
            .prefer_socket(false)
            .user(Some("root"))
            .read_timeout(Some(PATIENCE))
            .init(vec!["SET sql_mode = ''"])
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }
}

impl Database<'_> {
    /// For the SELECT-only account; time-outs short enough for tests.
    pub fn options(&self, hosts: &[Host]) -> Options {
        Options {
            hosts: hosts.to_vec(),
            user: self.name.clone(),
            password: PASSWORD.into(),
            name: self.name.clone(),
            mapping: Mapping::of_table("list_certs"),
            connections: 4,
            renew_after: u32::MAX,
            connect_timeout: Duration::from_secs(5),
            timeout: Duration::from_secs(5),
            retry_pause: Duration::from_millis(300),
            tls: Tls::Off,
        }
    }

    /// The flat keys of a configuration for the same, over the Unix socket.
    pub fn keys(&self) -> String {
        let Options { user, password, name, .. } = self.options(&[]);
        let socket = self.server.unix().to_string();
        format!(
            "dbip = {socket:?}\ndbuser = {user:?}\ndbpassword = {password:?}\ndbname = {name:?}\n"
        )
    }

    /// A store over the Unix socket.
    pub fn store(&self) -> Mysql {
        Mysql::new(self.options(&[self.server.unix()]))
    }

    /// Runs a statement in this database as root.
    pub fn run(&self, sql: &str) {
        self.root().query_drop(sql).unwrap_or_else(|error| panic!("{sql}: {error}"));
    }

    /// A connection of root's to this database.
    pub fn root(&self) -> Conn {
        self.patient_root(PATIENCE)
    }

    /// The same, which waits so long for what a statement takes.
    pub fn patient_root(&self, patience: Duration) -> Conn {
        let options = self.server.root_options().db_name(Some(&self.name));
        Conn::new(options.read_timeout(Some(patience))).unwrap()
    }

    /// A row as SQL writes its values: `insert("0xa1b", "'Valid', NULL, NULL")`.
    pub fn insert(&self, cert_num: &str, status_time_reason: &str) {
        self.run(&format!(
            "INSERT INTO list_certs (cert, cert_num, status, revocation_time, revocation_reason) \
             VALUES ('', '{cert_num}', {status_time_reason})"
        ));
    }

    /// The server's numbers of the connections of this database's account.
    pub fn connections(&self) -> Vec<u32> {
        let name = &self.name;
        self.server.rows(&format!(
            "SELECT id FROM information_schema.processlist WHERE user = '{name}' ORDER BY id"
        ))
    }
}

/// A table of the numbers from 1 to `last`, named `n`, for statements of MariaDB and MySQL.
pub fn numbers(last: u32) -> String {
    const DIGIT: &str = "SELECT 0 AS digit UNION ALL SELECT 1 UNION ALL SELECT 2 UNION ALL SELECT 3 \
         UNION ALL SELECT 4 UNION ALL SELECT 5 UNION ALL SELECT 6 UNION ALL SELECT 7 \
         UNION ALL SELECT 8 UNION ALL SELECT 9";
    let places = 0..=last.ilog10();
    let value: Vec<_> =
        places.clone().map(|at| format!("d{at}.digit * {}", 10_u32.pow(at))).collect();
    let tables: Vec<_> = places.map(|at| format!("({DIGIT}) AS d{at}")).collect();
    let (value, tables) = (value.join(" + "), tables.join(" CROSS JOIN "));
    format!("(SELECT {value} AS n FROM {tables} HAVING n BETWEEN 1 AND {last})")
}

/// A certificate that signed itself, for the name localhost.
pub fn make_certificate(certificate: &Path, key: &Path) {
    let made = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"])
        .args(["-nodes", "-days", "30", "-subj", "/CN=localhost"])
        .args(["-addext", "subjectAltName=DNS:localhost", "-keyout"])
        .arg(key)
        .arg("-out")
        .arg(certificate)
        .output()
        .expect("openssl is missing: install the Debian package openssl");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
}

/// The shell that has the server as its child.
struct Shell {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl Shell {
    fn start(folder: &Path, port: u16, arguments: &[&str]) -> Self {
        let path = |name| folder.join(name).into_os_string().into_string().unwrap();
        let mut child = Command::new("sh")
            .args(["-c", SHELL, "sh", folder.to_str().unwrap()])
            .args(programs().1)
            .args(common_arguments(folder))
            .arg(format!("--socket={}", path("socket")))
            .arg(format!("--pid-file={}", path("pid")))
            .arg(format!("--ssl-cert={}", path("server.pem")))
            .arg(format!("--ssl-key={}", path("server.key")))
            .arg(format!("--port={port}"))
            .args(["--bind-address=127.0.0.1", "--skip-name-resolve", "--skip-log-bin"])
            // A zone that shows where a time is converted by mistake.
            .args(["--performance-schema=OFF", "--default-time-zone=+05:00"])
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            // Not ended by a ^C before it has ended the server.
            .process_group(0)
            .spawn()
            .unwrap();
        let input = child.stdin.take();
        let output = BufReader::new(child.stdout.take().unwrap());
        Self { child, input, output }
    }

    fn tell(&mut self, command: &str) {
        writeln!(self.input.as_mut().unwrap(), "{command}").unwrap();
        let mut answer = String::new();
        self.output.read_line(&mut answer).unwrap();
        assert_eq!(answer, "done\n");
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        drop(self.input.take());
        self.child.wait().unwrap();
    }
}

fn install(folder: &Path) {
    let (install, _) = programs();
    let installed =
        Command::new(&install[0]).args(&install[1..]).args(common_arguments(folder)).output();
    let installed = installed.expect(MISSING);
    let [output, errors] =
        [&installed.stdout, &installed.stderr].map(|o| String::from_utf8_lossy(o));
    assert!(installed.status.success(), "{install:?}: {output}{errors}");
}

fn common_arguments(folder: &Path) -> Vec<String> {
    let folder = folder.display();
    // Not /tmp: each server that starts removes the temporary tables of others there.
    let mut arguments = vec![format!("--datadir={folder}/data"), format!("--tmpdir={folder}")];
    arguments.extend(FAST.map(Into::into));
    // The server refuses to run as root unless told to.
    if rustix::process::geteuid().is_root() {
        arguments.push("--user=root".into());
    }
    arguments
}

/// What makes a folder ready for the server, and the server, with their first arguments.
fn programs() -> (Vec<String>, Vec<String>) {
    let words = |words: &[&str]| words.iter().map(|word| String::from(*word)).collect::<Vec<_>>();
    let Ok(root) = std::env::var("MYSQL_ROOT") else {
        // Not on the path of a normal user.
        let places = ["/usr/sbin/mariadbd", "/usr/local/sbin/mariadbd", "/usr/bin/mariadbd"];
        let server = places.into_iter().find(|place| Path::new(place).exists()).expect(MISSING);
        let install = ["mariadb-install-db", "--no-defaults", "--skip-test-db"];
        let mut install = words(&install);
        install.push("--auth-root-authentication-method=normal".to_owned());
        return (install, words(&[server, "--no-defaults"]));
    };
    // With the libraries of its own system.
    let server = words(&[
        &format!("{root}/usr/lib64/ld-linux-x86-64.so.2"),
        "--library-path",
        &format!("{root}/usr/lib/x86_64-linux-gnu"),
        &format!("{root}/usr/sbin/mysqld"),
        "--no-defaults",
        &format!("--lc-messages-dir={root}/usr/share/mysql"),
        &format!("--character-sets-dir={root}/usr/share/mysql/charsets"),
        &format!("--plugin-dir={root}/usr/lib/mysql/plugin"),
        "--secure-file-priv=NULL",
        "--mysqlx=OFF",
    ]);
    ([&server[..], &["--initialize-insecure".to_owned()]].concat(), server)
}

const PASSWORD: &str = "a password";

/// How long a statement of root's may take.
const PATIENCE: Duration = Duration::from_secs(20);
const MISSING: &str = "mariadbd is missing: install the Debian package mariadb-server";

const FAST: [&str; 6] = [
    "--innodb-flush-method=nosync",
    "--innodb-flush-log-at-trx-commit=0",
    "--skip-innodb-doublewrite",
    "--innodb-buffer-pool-size=16M",
    "--loose-innodb-log-file-size=4M",
    "--innodb-data-file-path=ibdata1:5M:autoextend",
];

/// What a server is the child of: told by lines what to do, it ends the server and removes
/// the folder when its input ends. An option may follow `start`.
pub const SHELL: &str = r#"
folder=$1
shift
pid=
while read -r command option; do
    case $command in
    start) "$@" $option </dev/null >>"$folder/log" 2>&1 & pid=$! ;;
    stop) kill -TERM "$pid" && wait "$pid" ;;
    kill) kill -KILL "$pid"; wait "$pid" ;;
    freeze)
        kill -STOP "$pid"
        # It is only sent by then: each thread stops when it gets to it.
        while grep -qs '^State:.[RSD]' /proc/"$pid"/task/*/status; do sleep 0.01; done
        ;;
    thaw) kill -CONT "$pid" ;;
    esac
    echo done
done
kill -KILL "$pid"
wait "$pid"
rm -rf "$folder"
"#;
