//! The `log` backend.

/// Where the lines go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Target {
    /// stderr on a terminal, under systemd or by hand; syslog otherwise.
    #[default]
    Auto,
    /// The local syslog socket.
    Syslog,
    /// Standard error.
    Stderr,
}
