//! `respond`: one OCSP request in DER from a file or stdin, the answer to a file
//! or stdout.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};

use crate::app::{self, Keys};
use crate::logging::Launcher;

#[derive(clap::Args)]
pub struct Arguments {
    /// The request [default: stdin]
    #[arg(long = "in", value_name = "FILE")]
    input: Option<PathBuf>,
    /// Where the answer goes [default: stdout]
    #[arg(long = "out", value_name = "FILE")]
    output: Option<PathBuf>,
}

pub fn run(config: Option<PathBuf>, arguments: &Arguments) -> Result<ExitCode> {
    let (config, _log) = super::start(config, Launcher::Operator)?;
    let request = read(arguments.input.as_deref(), config.limits.request_bytes)?;
    let (responder, warnings) = app::responder_for_one(config, Keys::AtOnce)?;
    super::report(&warnings);
    let reply = responder.respond(&request, &|| ());
    let answer = reply.der();
    match &arguments.output {
        Some(path) => {
            write_whole(path, answer).with_context(|| format!("answer {}", path.display()))?
        }
        None => io::stdout().write_all(answer).context("answer to stdout")?,
    }
    Ok(ExitCode::SUCCESS)
}

fn read(path: Option<&Path>, limit: usize) -> Result<Vec<u8>> {
    let (name, input): (String, Box<dyn Read>) = match path {
        Some(path) => {
            let name = path.display().to_string();
            (name.clone(), Box::new(File::open(path).with_context(|| format!("request {name}"))?))
        }
        None => ("on stdin".to_owned(), Box::new(io::stdin().lock())),
    };
    let mut request = Vec::new();
    let most = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1);
    input.take(most).read_to_end(&mut request).with_context(|| format!("request {name}"))?;
    if request.len() > limit {
        bail!("request {name}: more than {limit} octets, the limit request_bytes");
    }
    Ok(request)
}

/// The old content or the new, never half of one: a caller may read and write the
/// same file.
fn write_whole(path: &Path, octets: &[u8]) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    if fs::symlink_metadata(path).is_ok_and(|metadata| !metadata.is_file()) {
        return fs::write(path, octets); // a pipe, /dev/stdout, a link
    }
    let mut options = tempfile::Builder::new();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o666); // less the umask
    let mut file =
        options.permissions(mode).tempfile_in(folder.unwrap_or_else(|| Path::new(".")))?;
    file.write_all(octets)?;
    file.persist(path).map(|_| ()).map_err(|error| error.error)
}
