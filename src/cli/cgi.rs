//! `cgi`: one exchange, as a web server's CGI program or by hand.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;

use crate::app::{self, Keys};
use crate::logging::Launcher;
use crate::service::Service;
use crate::transport::cgi::{self, Limits};

pub fn run(config: Option<PathBuf>) -> Result<ExitCode> {
    let launcher = if std::env::var_os("GATEWAY_INTERFACE").is_some() {
        Launcher::WebServer
    } else {
        Launcher::Operator
    };
    let (config, _log) = super::start(config, launcher)?;
    let limits = Limits { body: config.limits.request_bytes, ..Limits::default() };
    let (responder, warnings) = app::responder_for_one(config, Keys::WhenNeeded)?;
    for warning in warnings {
        log::debug!("{warning}");
    }
    cgi::run(&Service::new(responder), &limits)?;
    Ok(ExitCode::SUCCESS)
}
