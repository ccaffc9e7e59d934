//! How far a long command has come: a bar on a terminal, a line now and then elsewhere.

use std::fmt::Display;
use std::io::{self, IsTerminal};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use crate::cli::say_on_stderr;

/// Shows progress on standard error.
pub struct Meter {
    place: Place,
    begun: Instant,
}

enum Place {
    Terminal(ProgressBar),
    /// When the last line was written.
    Lines(Instant),
}

impl Meter {
    /// Nothing is shown yet.
    pub fn new() -> Self {
        let begun = Instant::now();
        let place = match io::stderr().is_terminal() {
            true => Place::Terminal(ProgressBar::no_length()),
            false => Place::Lines(begun),
        };
        Self { place, begun }
    }

    /// Shows that `done` of `total` (`None`: nobody knows) are behind, and a note.
    pub fn show(&mut self, done: u64, total: Option<u64>, note: impl Display) {
        match &mut self.place {
            Place::Terminal(bar) => {
                if bar.length() != total || done == 0 {
                    bar.set_style(style(total));
                    if let Some(total) = total {
                        bar.set_length(total);
                    }
                }
                bar.set_position(done);
                bar.set_message(note.to_string());
            }
            Place::Lines(last) => {
                if last.elapsed() < BETWEEN_LINES {
                    return;
                }
                *last = Instant::now();
                let left = total.and_then(|total| left(done, total, self.begun.elapsed()));
                let of = total.map_or(String::new(), |total| format!(" of {total}"));
                let left = left.map_or(String::new(), |left| {
                    format!(", about {} s left", left.as_secs().max(1))
                });
                say_on_stderr(format_args!("{done}{of}, {note}{left}"));
            }
        }
    }

    /// Takes the bar away.
    pub fn end(self) {
        if let Place::Terminal(bar) = self.place {
            bar.finish_and_clear();
        }
    }
}

fn style(total: Option<u64>) -> ProgressStyle {
    let template = match total {
        Some(_) => "{bar:30} {human_pos}/{human_len} {per_sec}, {eta} left, {msg}",
        None => "{spinner} {human_pos} {per_sec}, {msg}",
    };
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

/// The time that the rest will take, if it goes on so.
fn left(done: u64, total: u64, elapsed: Duration) -> Option<Duration> {
    let rest = total.checked_sub(done)?;
    let millis = u64::try_from(elapsed.as_millis()).ok()?.checked_mul(rest)?.checked_div(done)?;
    Some(Duration::from_millis(millis))
}

const BETWEEN_LINES: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_takes_as_long_as_what_is_done() {
        let second = Duration::from_secs(1);
        assert_eq!(left(100, 300, second), Some(2 * second));
        assert_eq!(left(0, 300, second), None);
        assert_eq!(left(301, 300, second), None);
    }
}
