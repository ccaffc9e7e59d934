//! The cluster, two responders on it, and nginx before them.

use std::fs;
use std::ops::Range;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use mysql::prelude::Queryable;
use nix::sys::signal::Signal;
use ocsp_fcgi::demo::{KeyKind, write_private};

use crate::galera::{Cluster, Node, Timers};
use crate::question::{FIRST_SERIAL, serial};
use crate::support::free_port;
use crate::support::nginx::nginx_before;
use crate::support::site::{Running, Site};
use crate::support::web::WebServer;
use crate::truth::{ROWS, Truth};

/// All that is asked, in the order in which it must end.
pub struct World {
    pub nginx: WebServer,
    pub responders: [Responder; 2],
    pub cluster: Cluster,
    pub site: Site,
}

/// One of the responders, on a port of its own.
pub struct Responder {
    config: PathBuf,
    pub port: u16,
    running: Option<Running>,
}

impl World {
    /// Starts everything. The first responder prefers the first node, the second the
    /// second; the third node is where rows are changed.
    pub fn start(timers: Timers) -> Self {
        let site = Site::new(KeyKind::P256);
        let cluster = Cluster::start(timers, fill);
        let ports: Vec<u16> = cluster.nodes.iter().map(|node| node.port).collect();
        let orders = [[ports[0], ports[1], ports[2]], [ports[1], ports[2], ports[0]]];
        let [first, second] = orders.map(|order| Responder::start(&site, order));
        let upstream: String = [&first, &second]
            .map(|responder| format!("server 127.0.0.1:{} fail_timeout=1s;", responder.port))
            .concat();
        let nginx = nginx_before(&site, &upstream);
        Self { nginx, responders: [first, second], cluster, site }
    }

    /// Revokes certificates on the third node; when that was written.
    pub fn revoke(&self, truth: &Truth, certificates: Range<u32>) -> Instant {
        let [from, to] = [certificates.start, certificates.end - 1].map(serial);
        let update = format!(
            "UPDATE certs.list_certs SET status = 'Revoked', revocation_time = UTC_TIMESTAMP(), \
             revocation_reason = 'key_compromise' \
             WHERE cert_num BETWEEN '0x{from:x}' AND '0x{to:x}'"
        );
        let node = &self.cluster.nodes[2];
        let until = Instant::now() + PATIENCE;
        truth.begin(certificates.clone());
        // A node that is not sure of the majority refuses, as an operator would see it.
        while let Err(error) = node.root().and_then(|mut root| root.query_drop(&update)) {
            assert!(Instant::now() < until, "{error}\n{}", node.log());
            thread::sleep(Duration::from_millis(100));
        }
        truth.commit(&certificates)
    }
}

impl Responder {
    fn start(site: &Site, nodes: [u16; 3]) -> Self {
        let port = free_port();
        let folder = site.path(&format!("responder-{port}"));
        fs::create_dir(&folder).unwrap();
        let config = folder.join("config.toml");
        let hosts = nodes.map(|node| format!("\"127.0.0.1:{node}\"")).join(", ");
        let text = format!(
            "port = {port}\nitcert = \"../ca.crt\"\nitkey = \"../ca.key\"\ncachefolder = \"cache\"\n\
             dbip = [{hosts}]\ndbname = \"certs\"\ndbuser = \"ocsp\"\ndbpassword = \"{PASSWORD}\"\n\
             [database]\ntimeout = \"3s\"\n[log]\ntarget = \"stderr\"\n"
        );
        write_private(&config, text.as_bytes()).unwrap();
        let running = Some(Running::start(&config, port));
        Self { config, port, running }
    }

    /// Ends it at once.
    pub fn kill(&mut self) {
        if let Some(mut running) = self.running.take() {
            running.signal(Signal::SIGKILL);
            running.child.wait().unwrap();
        }
    }

    /// Starts it again, with its cache folder.
    pub fn start_again(&mut self) {
        self.running = Some(Running::start(&self.config, self.port));
    }

    /// What it has said since it was started last.
    pub fn log(&self) -> String {
        fs::read_to_string(self.config.with_file_name("serve.log")).unwrap_or_default()
    }
}

fn fill(node: &Node) {
    let schema = include_str!("../../schema/mysql.sql");
    let schema: Vec<_> = schema.lines().filter(|line| !line.starts_with("--")).collect();
    let schema = schema.join("\n");
    let rows = format!(
        "INSERT INTO list_certs (cert_num, cert, status, revocation_time) \
         SELECT CONCAT('0x', LOWER(HEX({FIRST_SERIAL} + seq))), '', \
         IF(seq % 10 = 9, 'Revoked', 'Valid'), IF(seq % 10 = 9, '2026-01-02 03:04:05', NULL) \
         FROM seq_0_to_{}",
        ROWS - 1
    );
    let user = format!("CREATE USER ocsp IDENTIFIED BY '{PASSWORD}'");
    let mut statements = vec!["CREATE DATABASE certs", "USE certs"];
    statements.extend(schema.split(';').filter(|statement| !statement.trim().is_empty()));
    statements.extend([&*rows, &*user, "GRANT SELECT ON certs.list_certs TO ocsp"]);
    node.run(&statements);
}

const PATIENCE: Duration = Duration::from_secs(30);

const PASSWORD: &str = "a password";
