//! What is measured beside the responder: nginx by itself, an answer of the same size
//! by libfcgi, and OpenSSL's own responder.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::process;
use crate::support::nginx::socket;
use crate::support::site::{Running, Site};
use crate::support::web::{WEB_USER, WebServer, is_root, program, shipped};
use crate::support::{eventually, free_port, run};

/// The ways that an answer takes through nginx.
pub struct Nginx {
    server: WebServer,
    /// `examples/nginx.conf` as it is shipped.
    pub shipped: u16,
    /// A file, as Debian's nginx.conf gives it out.
    pub file: u16,
    /// A file that stays open, written without sendfile(), as the shipped file has it.
    pub open_file: u16,
    /// `return 200`.
    pub text: u16,
    /// The responder, nothing kept by nginx: over kept connections, and one for each.
    pub responder: [u16; 2],
    /// `hello.c` in its place.
    pub hello: [u16; 2],
    /// `hello.c` with the header fields of the responder, over kept connections.
    pub hello_alike: u16,
}

impl Nginx {
    /// Before the responder of a site, and `hello`; `answer` is the file given out.
    pub fn start(site: &Site, answer: &[u8]) -> Self {
        let [shipped_port, file, open_file, text] = std::array::from_fn(|_| free_port());
        let [responder, plain, alike]: [[u16; 2]; 3] =
            std::array::from_fn(|_| [free_port(), free_port()]);
        let folder = site.folder.path().display().to_string();
        fs::create_dir_all(site.path("files")).unwrap();
        fs::write(site.path("files/answer"), answer).unwrap();
        let own = shipped_on(site, shipped_port);
        let [few_fields, same_fields] = hellos(site);
        let upstreams = [(responder, socket(site)), (plain, few_fields), (alike, same_fields)];
        let passed = upstreams.map(|(ports, socket)| passing(ports, &socket));
        let user = if is_root() { format!("user {WEB_USER};") } else { String::new() };
        let as_text = "x".repeat(answer.len());
        let all = format!(
            "{user}
             worker_processes 2;
             pid {folder}/nginx.pid;
             error_log {folder}/nginx.log warn;
             daemon off;
             events {{ worker_connections 1024; }}
             http {{
                 sendfile on;
                 tcp_nopush on;
                 access_log off;
                 default_type application/ocsp-response;
                 client_body_temp_path {folder}/nginx-body;
                 fastcgi_temp_path {folder}/nginx-fastcgi;
                 proxy_temp_path {folder}/nginx-proxy;
                 scgi_temp_path {folder}/nginx-scgi;
                 uwsgi_temp_path {folder}/nginx-uwsgi;
                 server {{ listen 127.0.0.1:{file}; root {folder}/files; }}
                 server {{
                     listen 127.0.0.1:{open_file};
                     root {folder}/files;
                     sendfile off;
                     open_file_cache max=1000 inactive=1m;
                     open_file_cache_valid 1m;
                 }}
                 server {{ listen 127.0.0.1:{text}; return 200 {as_text}; }}
                 {}
                 {own}
             }}",
            passed.concat()
        );
        fs::write(site.path("nginx.conf"), all).unwrap();
        let nginx = program("nginx", "nginx").display().to_string();
        let arguments = vec![nginx, "-c".to_owned(), format!("{folder}/nginx.conf")];
        let server = WebServer::start(arguments, shipped_port, &site.path("nginx.log"));
        Self {
            server,
            shipped: shipped_port,
            file,
            open_file,
            text,
            responder,
            hello: plain,
            hello_alike: alike[0],
        }
    }

    /// The processes that serve; not those that look after its cache, which come and go.
    pub fn workers(&self) -> Vec<u32> {
        let masters = process::children(self.server.pid());
        let all = masters.into_iter().flat_map(process::children);
        all.filter(|pid| {
            let title = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            title.starts_with(b"nginx: worker process")
        })
        .collect()
    }
}

/// `examples/nginx.conf` with the addresses and folders of this site.
fn shipped_on(site: &Site, port: u16) -> String {
    let replacements = [
        ("/run/ocsp-fcgi/ocsp-fcgi.sock", socket(site).display().to_string()),
        ("/run/nginx-ocsp-fcgi", site.path("nginx-cache").display().to_string()),
        ("listen 80;", format!("listen 127.0.0.1:{port};")),
        ("listen [::]:80;", String::new()),
    ];
    shipped("nginx.conf", &replacements.each_ref().map(|(from, to)| (*from, to.as_str())))
}

/// Servers that pass everything on as the shipped file does, and keep nothing.
fn passing([kept, closed]: [u16; 2], socket: &Path) -> String {
    let socket = socket.display();
    let location = |upstream: String, more: &str| {
        format!(
            "location / {{
                 fastcgi_pass {upstream};
                 fastcgi_param REQUEST_METHOD $request_method;
                 fastcgi_param REQUEST_URI $request_uri;
                 fastcgi_param CONTENT_LENGTH $content_length;
                 fastcgi_pass_request_headers off;
                 {more}
             }}"
        )
    };
    let keeping = location(format!("kept{kept}"), "fastcgi_keep_conn on;");
    let closing = location(format!("unix:{socket}"), "");
    format!(
        "upstream kept{kept} {{ server unix:{socket}; keepalive 32; }}
         server {{ listen 127.0.0.1:{kept}; {keeping} }}
         server {{ listen 127.0.0.1:{closed}; {closing} }}\n"
    )
}

/// The sockets of [`Peer::hellos`].
fn hellos(site: &Site) -> [PathBuf; 2] {
    ["hello.sock", "hello-alike.sock"].map(|name| site.path(name))
}

/// A process that is ended with the measurement, and what it has started.
pub struct Peer {
    child: Child,
}

impl Peer {
    /// `hello.c` with few fields, and with those of the responder: both give out the
    /// file of [`Nginx::start`].
    pub fn hellos(site: &Site) -> [Self; 2] {
        let binary = compile(site, "hello", &["-lfcgi"]);
        let fields = site.path("fields");
        fs::write(&fields, FIELDS).unwrap();
        let more = [None, Some(fields)];
        std::array::from_fn(|place| {
            let socket = &hellos(site)[place];
            let mut command = Command::new(&binary);
            command.arg(socket).arg("160").arg(site.path("files/answer")).args(&more[place]);
            let peer = Self::start(&mut command);
            eventually("hello listens", || socket.exists().then_some(()));
            peer
        })
    }

    /// `openssl ocsp` as a responder about the certificates of an index.
    pub fn openssl_ocsp(site: &Site, index: &str, port: u16) -> Self {
        fs::write(site.path("index.txt"), index).unwrap();
        let mut command = site.openssl_ocsp();
        command.args(["-index", "index.txt", "-CA", "ca.crt", "-rsigner", "ca.crt"]);
        command.args(["-rkey", "ca.key", "-ndays", "3", "-multi", "2", "-ignore_err"]);
        let peer = Self::start(command.args(["-port", &port.to_string()]));
        // Not by connecting: one that is closed at once keeps a process of it busy for ever.
        eventually("openssl ocsp listens", || {
            let sockets = ["/proc/net/tcp", "/proc/net/tcp6"].map(fs::read_to_string);
            let listening = format!(":{port:04X} ");
            sockets.into_iter().flatten().any(|text| text.contains(&listening)).then_some(())
        });
        peer
    }

    pub fn start(command: &mut Command) -> Self {
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        Self { child: command.process_group(0).spawn().unwrap() }
    }

    /// The process and those that it has started.
    pub fn processes(&self) -> Vec<u32> {
        let own = self.child.id();
        [vec![own], process::children(own)].concat()
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let group = nix::unistd::Pid::from_raw(self.child.id().try_into().unwrap());
        // libfcgi waits for a question before it heeds SIGTERM.
        let _ended_already = nix::sys::signal::killpg(group, nix::sys::signal::Signal::SIGKILL);
        let _status = self.child.wait();
    }
}

/// A program of this folder, in C.
pub fn compile(site: &Site, name: &str, libraries: &[&str]) -> PathBuf {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("benches/load/{name}.c"));
    let binary = site.path(name);
    let mut compiler = Command::new("cc");
    compiler.arg("-O2").arg(source).args(libraries).args(["-lpthread", "-o"]).arg(&binary);
    let output = run(&mut compiler, "gcc");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "see tests/packages.sh bench\n{errors}");
    binary
}

/// The processes of a responder under test.
pub fn processes(responder: &Running) -> Vec<u32> {
    vec![responder.child.id()]
}

/// What the responder sends besides type and length.
const FIELDS: &str = "\
Last-Modified: Thu, 26 Nov 2026 11:54:24 GMT\r
Expires: Sun, 29 Nov 2026 11:54:24 GMT\r
ETag: \"40d0b3ea950f9c328bac2104af2727c3de7d636249aee0f98dd28d1dd163470a\"\r
Cache-Control: max-age=3600, public, no-transform, must-revalidate\r
X-Accel-Expires: 8\r
";
