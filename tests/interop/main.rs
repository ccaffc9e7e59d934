//! OCSP clients, linters and web servers that others wrote, against the real binary.
//!
//! No part of `cargo test`, as it takes programs that few machines have:
//! `./interop.sh` installs them and runs this. `cargo test --test interop -- java go`
//! runs some clients only. It prints the rows of the table in docs/interop.md; what
//! fails, or is missing, is told below the table and fails the run.

// clippy.toml's exceptions for tests do not reach a test without libtest's harness.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::print_stdout, clippy::print_stderr)]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;

use report::Report;
use world::World;

mod botan;
mod gnutls;
mod lint;
mod mutations;
mod nss;
mod openssl_ocsp;
mod programs;
mod report;
mod strongswan;
mod stunnel;
#[expect(dead_code, reason = "the integration tests use the rest")]
#[path = "../integration/support/mod.rs"]
mod support;
mod tls;
mod world;

/// A client, under the name that selects it.
type Client = (&'static str, fn(&mut Report, &[World]));

const CLIENTS: &[Client] = &[
    ("openssl", openssl_ocsp::run),
    ("gnutls", gnutls::run),
    ("botan", botan::run),
    ("nss", nss::run),
    ("strongswan", strongswan::run),
    ("python", programs::python),
    ("go", programs::go),
    ("java", programs::java),
    ("bouncycastle", programs::bouncy_castle),
    ("pkilint", lint::run),
    ("nginx", tls::nginx),
    ("apache", tls::apache),
    ("stunnel", stunnel::run),
    ("tls-clients", tls::clients),
    ("through-nginx", programs::through_nginx),
    ("vectors", mutations::run),
];

fn main() -> ExitCode {
    // libtest's options, as `cargo test -- --nocapture` gives them, mean nothing here.
    let wanted: Vec<String> =
        std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    if let Some(unknown) = wanted.iter().find(|name| CLIENTS.iter().all(|(is, _)| is != name)) {
        let names: Vec<&str> = CLIENTS.iter().map(|(name, _)| *name).collect();
        eprintln!("no client {unknown}, wanted: {}", names.join(" "));
        return ExitCode::FAILURE;
    }
    let worlds = world::all();
    let mut asked = 0;
    let mut failures = Vec::new();
    println!("| client | version | asked | as wanted |\n| --- | --- | --- | --- |");
    for (name, run) in CLIENTS {
        if wanted.is_empty() || wanted.iter().any(|wanted| wanted == name) {
            let mut report = Report::new(name);
            // A client that is missing panics with a sentence, and the others go on.
            if let Err(panic) = catch_unwind(AssertUnwindSafe(|| run(&mut report, &worlds))) {
                let sentence = panic.downcast_ref::<String>().map_or("see above", String::as_str);
                report.fail("ended early", "", sentence);
            }
            asked += report.asked();
            failures.extend(report.print());
        }
    }
    for failure in &failures {
        println!("\n{failure}");
    }
    println!("\n{asked} asked, {} failed", failures.len());
    if failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
