//! The binary as a CGI program: by hand, and as a web server starts it.

use std::fs;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ocsp_fcgi::demo::KeyKind;

use crate::support::mariadb::{Database, MariaDb};
use crate::support::ocsp::{
    Answer, CertId, INTERNAL_ERROR, MALFORMED, Request, TRY_LATER, UNAUTHORIZED,
};
use crate::support::site::{PROGRAM, Site};
use crate::support::{eventually, with_input};

mod arguments;

// rule: FCG-5, WEB-2
#[test]
fn a_request_by_hand_is_answered_on_stdout() {
    let world = World::new();
    let der = world.about("0a1b").der();
    fs::write(world.site.path("request.der"), &der).unwrap();
    // As the help has it.
    let line = format!(
        "REQUEST_METHOD=POST CONTENT_LENGTH={} {PROGRAM} cgi < request.der",
        "$(stat -c %s request.der)"
    );
    let mut shell = Command::new("sh");
    shell.args(["-c", &line]).current_dir(world.site.folder.path()).env_clear();
    let reply = Reply::of(&shell.output().unwrap());
    let head = "Status: 200 OK\r\nContent-Type: application/ocsp-response\r\n";
    assert!(reply.head.starts_with(head), "{}", reply.head);
    assert!(!reply.head.replace("\r\n", "").contains('\n'), "lines end in CRLF");
    assert!(reply.head.contains(&format!("\r\nContent-Length: {}\r\n", reply.body.len())));
    assert_eq!(Answer::read(&reply.body).statuses(), ["good"]);
}

// rule: FCG-5
#[test]
fn the_bare_binary_answers_where_a_web_server_has_started_it() {
    let world = World::new();
    for serial in ["0a1b", "ff02", "0c03"] {
        let der = world.about(serial).der();
        let reply = Reply::of(&world.post(&der, &[("CONTENT_LENGTH", &der.len().to_string())]));
        let wanted = match serial {
            "0a1b" => "good",
            "ff02" => "revoked 1767323045 1",
            _ => "unknown",
        };
        assert_eq!(Answer::read(&reply.body).statuses(), [wanted]);
    }
}

// rule: FCG-5, REQ-2
#[test]
fn every_ocsp_answer_is_exit_code_0_errors_too() {
    let world = World::new();
    let foreign = CertId {
        name_hash: vec![7; 20],
        ..CertId::new(&world.site.ca.identity.certificate, "0a1b")
    };
    for (der, wanted) in [
        (b"nonsense".to_vec(), MALFORMED),
        (b"".to_vec(), MALFORMED),
        (Request::about(&foreign).der(), UNAUTHORIZED),
    ] {
        let reply = Reply::of(&world.post(&der, &[("CONTENT_LENGTH", &der.len().to_string())]));
        assert!(reply.head.starts_with("Status: 200 OK\r\n"), "{}", reply.head);
        assert_eq!(reply.body, wanted);
    }
    fs::remove_file(world.site.path("certs.db")).unwrap();
    let der = world.about("0c03").der();
    let reply = Reply::of(&world.post(&der, &[]));
    assert_eq!(reply.body, TRY_LATER);
}

// rule: FCG-5
#[test]
fn without_content_length_the_body_ends_with_stdin() {
    // A chunked body, under Apache.
    let world = World::new();
    let der = world.about("0a1b").der();
    for length in [None, Some(("CONTENT_LENGTH", ""))] {
        let reply = Reply::of(&world.post(&der, length.as_slice()));
        assert_eq!(Answer::read(&reply.body).statuses(), ["good"]);
    }
    let reply = Reply::of(&world.post(&der, &[("CONTENT_LENGTH", "many")]));
    assert!(reply.head.starts_with("Status: 400 Bad Request\r\n"), "{}", reply.head);
}

// rule: FCG-5
#[test]
fn what_stands_behind_the_body_is_read_and_does_not_matter() {
    let world = World::new();
    let der = world.about("0a1b").der();
    let length = der.len().to_string();
    let behind = [&der[..], &vec![b'x'; 1 << 20]].concat();
    // On a socket, as under Apache's mod_cgid: closed with octets unread it is reset.
    let (mut ours, theirs) = UnixStream::pair().unwrap();
    let mut command = world.command(&[("REQUEST_METHOD", "POST"), ("CONTENT_LENGTH", &length)]);
    let theirs = OwnedFd::from(theirs);
    command.stdin(theirs.try_clone().unwrap()).stdout(theirs).stderr(Stdio::inherit());
    let mut child = command.spawn().unwrap();
    drop(command); // with its copy of their end
    ours.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    ours.write_all(&behind).unwrap();
    ours.shutdown(std::net::Shutdown::Write).unwrap();
    let mut output = Vec::new();
    ours.read_to_end(&mut output).unwrap();
    assert!(child.wait().unwrap().success());
    assert_eq!(Answer::read(&Reply::parse(&output).body).statuses(), ["good"]);
    // And a GET that comes with a body.
    let path = format!("/{}", STANDARD.encode(&der));
    let reply =
        Reply::of(&world.run(&[("REQUEST_METHOD", "GET"), ("REQUEST_URI", &path)], &behind));
    assert_eq!(Answer::read(&reply.body).statuses(), ["good"]);
}

// rule: FCG-5
#[test]
fn a_body_that_ends_early_is_malformed() {
    let world = World::new();
    let der = world.about("0a1b").der();
    let longer = (der.len() + 1).to_string();
    assert_eq!(Reply::of(&world.post(&der, &[("CONTENT_LENGTH", &longer)])).body, MALFORMED);
}

// rule: WEB-5, FCG-5
#[test]
fn a_body_over_the_limit_is_413_and_exit_code_0() {
    let world = World::new();
    for length in [Some(("CONTENT_LENGTH", "3145729")), None] {
        let reply = Reply::of(&world.post(&vec![b'x'; (3 << 20) + 1], length.as_slice()));
        assert!(reply.head.starts_with("Status: 413 Content Too Large\r\n"), "{}", reply.head);
    }
    let reply = Reply::of(&world.run(&[("REQUEST_METHOD", "PUT")], b""));
    assert!(reply.head.starts_with("Status: 405 Method Not Allowed\r\n"), "{}", reply.head);
    assert!(reply.head.contains("\r\nAllow: GET, HEAD, POST\r\n"));
}

// rule: WEB-1
#[test]
fn a_get_is_read_from_request_uri() {
    let world = World::new();
    let der = world.about("0a1b").with_nonce(&[0xff, 0xff, 0xfb, 0xef, 0xbe, 0xff, 0xff]).der();
    let path = STANDARD.encode(&der).replace('+', "%2B").replace('/', "%2F").replace('=', "%3D");
    let uri = format!("/cgi-bin/ocsp/{path}");
    let variables = [("REQUEST_URI", uri.as_str()), ("PATH_INFO", "/decoded")];
    let get = [&[("REQUEST_METHOD", "GET")], &variables[..]].concat();
    let reply = Reply::of(&world.run(&get, b""));
    assert_eq!(Answer::read(&reply.body).statuses(), ["good"]);
    let head = [&[("REQUEST_METHOD", "HEAD")], &variables[..]].concat();
    let reply = Reply::of(&world.run(&head, b""));
    assert!(reply.head.contains("\r\nContent-Length: ") && reply.body.is_empty());
}

// rule: WEB-4
#[test]
fn a_client_that_has_the_answer_gets_304() {
    let world = World::new();
    let uri = format!("/{}", STANDARD.encode(world.about("0a1b").der()));
    let get = [("REQUEST_METHOD", "GET"), ("REQUEST_URI", &uri)];
    let first = Reply::of(&world.run(&get, b""));
    let tag = first.head.lines().find_map(|line| line.strip_prefix("ETag: ")).unwrap();
    // The next process finds the answer in the cache folder.
    let second = Reply::of(&world.run(&[&get[..], &[("HTTP_IF_NONE_MATCH", tag)]].concat(), b""));
    assert!(second.head.starts_with("Status: 304 Not Modified\r\n"), "{}", second.head);
    assert!(second.body.is_empty());
}

#[test]
fn a_program_that_is_not_set_up_prints_nothing_on_stdout_and_exits_with_1() {
    let world = World::new();
    fs::remove_file(world.site.path("ca.crt")).unwrap();
    let output = world.post(&world.about("0a1b").der(), &[]);
    assert_eq!((output.status.code(), output.stdout.len()), (Some(1), 0));
    assert!(String::from_utf8_lossy(&output.stderr).contains("ca.crt"));
    let output = world.post(b"", &[("OCSP_FCGI_CONFIG", "/nowhere/config.toml")]);
    assert_eq!((output.status.code(), output.stdout.len()), (Some(1), 0));
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(stderr.ends_with("\n/nowhere/config.toml: no such file\n"), "{stderr}");
    // Also for syslog, in whose place standard error takes the line.
    let logged = "error ocsp-fcgi: stopped: error=\"/nowhere/config.toml: no such file\"\n";
    assert!(stderr.contains(logged) || Path::new("/dev/log").exists(), "{stderr}");
}

#[test]
fn by_hand_without_variables_it_says_what_is_missing() {
    let world = World::new();
    let mut command = world.command(&[]);
    let output = with_input(command.arg("cgi").env_remove("GATEWAY_INTERFACE"), b"");
    assert_eq!((output.status.code(), output.stdout.len()), (Some(1), 0));
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(stderr.contains("REQUEST_METHOD is not set"), "{stderr}");
}

#[test]
fn processes_of_one_request_each_share_the_cache_folder() {
    let world = World::new();
    let der = world.about("0a1b").der();
    let first = Reply::of(&world.post(&der, &[])).body;
    fs::rename(world.site.path("certs.db"), world.site.path("gone.db")).unwrap();
    let second = Reply::of(&world.post(&der, &[])).body;
    assert_eq!(first, second, "from the folder, the store being gone");
}

#[test]
fn a_key_is_loaded_where_it_is_to_sign_and_an_answer_that_is_kept_needs_none() {
    let world = World::new();
    let der = world.about("0a1b").der();
    let first = Reply::of(&world.post(&der, &[])).body;
    let other = KeyKind::P256.generate().unwrap().private_key_to_pem_pkcs8().unwrap();
    for (key, trouble) in [
        (&other[..], "the key does not belong to the certificate"),
        (b"no key", "ca.key: no private key in PEM or DER"),
    ] {
        fs::write(world.site.path("ca.key"), key).unwrap();
        for freshness in ["1h", "0s"] {
            world.configure(&format!("[cache]\nfreshness = \"{freshness}\"\n"));
            assert_eq!(Reply::of(&world.post(&der, &[])).body, first, "{freshness}");
        }
        let output = world.post(&world.about("0c2d").der(), &[]);
        assert_eq!(Reply::of(&output).body, INTERNAL_ERROR);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(stderr.contains("key does not sign, answering internalError: "), "{stderr}");
        assert!(stderr.contains(trouble), "{stderr}");
    }
}

#[test]
fn mariadb_is_connected_to_where_a_row_is_needed_and_never_broken_off() {
    let server = MariaDb::start();
    let database = server.database();
    database.insert("0x0a1b", "'Valid', NULL, NULL");
    server.run("SET GLOBAL userstat = 1");
    let world = World::over(&database, "");
    let der = world.about("0a1b").der();
    // New, from the folder, and nothing to look for.
    for (question, wanted) in [(&der[..], &["good"][..]), (&der, &["good"]), (&der[1..], &[])] {
        let body = Reply::of(&world.post(question, &[])).body;
        if wanted.is_empty() {
            assert_eq!(body, MALFORMED);
        } else {
            assert_eq!(Answer::read(&body).statuses(), wanted);
        }
    }
    // Nor where the process ends at once, for another reason.
    fs::write(world.site.path("ca.crt"), "no certificate").unwrap();
    assert_eq!(world.post(&der, &[]).status.code(), Some(1));
    eventually("the server has seen the end of each", || {
        database.connections().is_empty().then_some(())
    });
    let name = &database.name;
    let counted: Vec<(u64, u64)> = server.rows(&format!(
        "SELECT total_connections, lost_connections FROM information_schema.user_statistics \
         WHERE user = '{name}'"
    ));
    assert_eq!(counted, [(1, 0)]);
    // A server shuts out who does not end what it has begun (`max_connect_errors`).
    let aborted: Vec<(String, String)> =
        server.rows("SHOW GLOBAL STATUS WHERE Variable_name LIKE 'Aborted_conn%' AND Value <> 0");
    assert_eq!(aborted, []);
}

#[test]
fn a_database_that_is_silent_does_not_hold_up_an_answer_of_the_folder() {
    let server = MariaDb::start();
    let database = server.database();
    database.insert("0x0a1b", "'Valid', NULL, NULL");
    let world = World::over(&database, "connect_timeout = \"20s\"\ntimeout = \"20s\"\n");
    let der = world.about("0a1b").der();
    let first = Reply::of(&world.post(&der, &[])).body;
    assert_eq!(Answer::read(&first).statuses(), ["good"]);
    server.freeze();
    let start = Instant::now();
    let second = Reply::of(&world.post(&der, &[])).body;
    let time = start.elapsed();
    server.thaw();
    assert_eq!(first, second);
    assert!(time < Duration::from_secs(10), "{time:?}");
}

#[test]
fn a_web_server_that_hangs_up_is_no_panic() {
    let world = World::new();
    let mut command = world.command(&[("REQUEST_METHOD", "GET"), ("REQUEST_URI", "/")]);
    let (ours, theirs) = UnixStream::pair().unwrap();
    drop(ours);
    command.stdin(Stdio::null()).stdout(OwnedFd::from(theirs)).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let status = eventually("it ends", || child.try_wait().unwrap());
    let mut stderr = String::new();
    child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
    assert_eq!(status.code(), Some(1));
    assert!(stderr.contains("standard output") && !stderr.contains("panicked"), "{stderr}");
}

#[test]
fn of_the_files_of_several_cas_that_of_the_one_asked_about_is_read() {
    let world = World::new();
    let other = Site::new(KeyKind::P256);
    let of = |site: &Site, index: &str| {
        let [ca, key] = ["ca.crt", "ca.key"].map(|name| site.path(name).display().to_string());
        format!("[[issuer]]\ncertificate = {ca:?}\nkey = {key:?}\nindex = {index:?}\n")
    };
    let line = "V\t361231000000Z\t\t0A1B\tunknown\t/CN=good\n";
    fs::write(world.site.path("index.txt"), line).unwrap();
    let both = [of(&world.site, "index.txt"), of(&other, "missing.txt")].concat();
    world.site.write_config(&format!("[log]\ntarget = \"stderr\"\n{both}"));
    let output = world.post(&world.about("0a1b").der(), &[]);
    assert_eq!(Answer::read(&Reply::of(&output).body).statuses(), ["good"]);
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    let output = world.post(&other.about("0a1b").der(), &[]);
    assert_eq!(Reply::of(&output).body, TRY_LATER);
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(told.contains("missing.txt"), "{told}");
}

/// A site whose folder is the working directory of its CGI program.
struct World {
    site: Site,
}

/// What a CGI program printed.
struct Reply {
    head: String,
    body: Vec<u8>,
}

impl World {
    fn new() -> Self {
        let site = Site::with_certificates(KeyKind::P256);
        let world = Self { site };
        world.configure("");
        world
    }

    /// With `more` in the configuration.
    fn configure(&self, more: &str) {
        self.site.configure(&format!("[log]\ntarget = \"stderr\"\n{more}"));
    }

    /// Over a table of MariaDB, with answers that stay fresh; `more` is of `[database]`.
    fn over(database: &Database<'_>, more: &str) -> Self {
        let site = Site::with_certificates(KeyKind::P256);
        site.write_config(&format!(
            "cachefolder = \"cache\"\nitcert = \"ca.crt\"\nitkey = \"ca.key\"\n{}\
             [database]\n{more}[cache]\nfreshness = \"1h\"\n[log]\ntarget = \"stderr\"\n",
            database.keys(),
        ));
        Self { site }
    }

    fn about(&self, serial: &str) -> Request {
        self.site.about(serial)
    }

    /// The bare binary with these meta-variables.
    fn command(&self, variables: &[(&str, &str)]) -> Command {
        let mut command = Command::new(PROGRAM);
        self.start_as_cgi(&mut command, variables);
        command
    }

    fn start_as_cgi(&self, command: &mut Command, variables: &[(&str, &str)]) {
        command.env_clear().env("GATEWAY_INTERFACE", "CGI/1.1").envs(variables.iter().copied());
        command.current_dir(self.site.folder.path());
    }

    /// Writes a wrapper that runs the program with these arguments.
    fn wrap(&self, arguments: &str) {
        let script = format!("exec {PROGRAM} {arguments}\n");
        fs::write(self.site.path("wrapper.sh"), script).unwrap();
    }

    fn run(&self, variables: &[(&str, &str)], input: &[u8]) -> Output {
        with_input(&mut self.command(variables), input)
    }

    fn post(&self, der: &[u8], more: &[(&str, &str)]) -> Output {
        let post = [("REQUEST_METHOD", "POST"), ("REQUEST_URI", "/"), ("QUERY_STRING", "")];
        self.run(&[&post[..], more].concat(), der)
    }
}

impl Reply {
    #[track_caller]
    fn of(output: &Output) -> Self {
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "{stderr}");
        Self::parse(&output.stdout)
    }

    #[track_caller]
    fn parse(stdout: &[u8]) -> Self {
        let end = stdout.windows(4).position(|four| four == b"\r\n\r\n").expect("a head") + 4;
        let head = String::from_utf8(stdout[..end].to_vec()).unwrap();
        Self { head, body: stdout[end..].to_vec() }
    }
}
