//! The real nginx with the shipped `examples/nginx.conf`.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use super::free_port;
use super::site::{PROGRAM, Running, Site};
use super::web::{WEB_USER, WebServer, is_root, open_to_the_web_server, program, shipped};

/// Where the responder listens.
pub fn socket(site: &Site) -> PathBuf {
    site.path("ocsp-fcgi.sock")
}

/// The responder of a site on a Unix socket as `config.toml.example` has it, and on a
/// port; `more` are tables of the configuration but `[listen]` and `[database]`.
pub fn serve(site: &Site, more: &str) -> Running {
    let unix = socket(site);
    // The group of the socket is nobody else's to give.
    let group = if is_root() { format!("unix_group = \"{WEB_USER}\"\n") } else { String::new() };
    site.serve(&format!("[listen]\nunix = \"{}\"\n{group}{more}", unix.display()))
}

/// nginx before the responder's socket.
pub fn nginx(site: &Site) -> WebServer {
    nginx_before(site, &format!("server unix:{};", socket(site).display()))
}

/// nginx with another `server` line in the upstream of the shipped file.
pub fn nginx_before(site: &Site, upstream: &str) -> WebServer {
    let port = free_port();
    let listen = format!("listen 127.0.0.1:{port};");
    let cache = site.path("nginx-cache");
    let replacements = [
        ("server unix:/run/ocsp-fcgi/ocsp-fcgi.sock;", upstream),
        ("/run/nginx-ocsp-fcgi", cache.to_str().unwrap()),
        ("listen 80;", &listen),
        ("listen [::]:80;", ""),
    ];
    fs::write(site.path("nginx-site.conf"), shipped("nginx.conf", &replacements)).unwrap();
    let folder = site.folder.path().display();
    let user = if is_root() { format!("user {WEB_USER};") } else { String::new() };
    // As Debian's, with its own files elsewhere; then what the administrator of other
    // sites may have set for all, to spoil this one; and the tests see what the cache does.
    let main = format!(
        "{user}
         worker_processes 2;
         pid {folder}/nginx.pid;
         error_log {folder}/nginx.log info;
         daemon off;
         events {{ worker_connections 768; }}
         http {{
             sendfile on;
             tcp_nopush on;
             gzip on;
             default_type application/octet-stream;
             access_log off;
             client_body_temp_path {folder}/nginx-body;
             fastcgi_temp_path {folder}/nginx-fastcgi;
             proxy_temp_path {folder}/nginx-proxy;
             scgi_temp_path {folder}/nginx-scgi;
             uwsgi_temp_path {folder}/nginx-uwsgi;
             gzip_types *;
             underscores_in_headers on;
             client_max_body_size 1m;
             client_body_in_file_only clean;
             fastcgi_request_buffering off;
             fastcgi_cache_valid any 1h;
             fastcgi_cache_use_stale error timeout updating http_500;
             fastcgi_cache_background_update on;
             fastcgi_cache_revalidate on;
             fastcgi_cache_lock on;
             add_header X-Cache $upstream_cache_status always;
             include {folder}/nginx-site.conf;
         }}"
    );
    let main_file = site.path("nginx.conf");
    fs::write(&main_file, main).unwrap();
    let nginx = program("nginx", "nginx").display().to_string();
    let arguments = vec![nginx, "-c".to_owned(), main_file.display().to_string()];
    WebServer::start(arguments, port, &site.path("nginx.log"))
}

/// A socket that stays while the responder behind it comes and goes, as systemd's.
pub struct HeldSocket {
    listener: UnixListener,
}

impl HeldSocket {
    pub fn new(site: &Site) -> Self {
        let listener = UnixListener::bind(socket(site)).unwrap();
        open_to_the_web_server(&socket(site));
        Self { listener }
    }

    /// Serves on the socket, as descriptor 0.
    pub fn serve(&self, site: &Site) -> Running {
        let config = site.configure("[log]\ntarget = \"stderr\"\n");
        let child = Command::new(PROGRAM)
            .args(["serve", "--config"])
            .arg(&config)
            .stdin(Stdio::from(OwnedFd::from(self.listener.try_clone().unwrap())))
            .stderr(fs::File::create(site.path("serve.log")).unwrap())
            .spawn()
            .unwrap();
        Running { child, port: 0 }
    }
}
