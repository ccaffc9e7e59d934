//! Whose the arguments of a CGI program are.

use std::fs;
use std::process::Command;

use super::{Reply, World};
use crate::support::ocsp::Answer;
use crate::support::with_input;

// rule: FCG-5
#[test]
fn the_words_of_a_query_are_not_arguments() {
    // RFC 3875 section 4.4: the words of a query without `=` become the arguments.
    let world = World::new();
    let der = world.about("0a1b").der();
    let evil = format!("--config={}", world.site.path("evil.toml").display());
    for (query, words) in [
        ("help", &["help"][..]),
        ("--help", &["--help"]),
        ("check", &["check"]),
        ("demo+--keep", &["demo", "--keep"]),
        (&evil.replace('=', "%3D"), &[&evil]),
        ("serve+%2d%2dconfig+x", &["serve", "--config", "x"]),
    ] {
        for own in [&[][..], &["cgi", "--config", "config.toml"]] {
            let mut command = world.command(&[("REQUEST_METHOD", "POST"), ("QUERY_STRING", query)]);
            let output = with_input(command.args(own).args(words), &der);
            assert_eq!(Answer::read(&Reply::of(&output).body).statuses(), ["good"], "{query}");
        }
    }
}

// rule: FCG-5
#[test]
fn the_words_of_a_wrapper_are_arguments_whatever_the_query() {
    let world = World::new();
    // Nothing but what the wrapper names is to be found.
    fs::rename(world.site.path("config.toml"), world.site.path("own.toml")).unwrap();
    let der = world.about("0a1b").der();
    let lines =
        ["cgi --config own.toml", "--config=own.toml \"$@\"", "-c own.toml $*", "$* -c own.toml"];
    for line in lines {
        world.wrap(line);
        for (query, words) in [
            ("", &[][..]),
            ("x", &["x"]),
            ("a=b", &[]),
            ("cgi", &["cgi"]),
            ("--help+serve", &["--help", "serve"]),
            ("--config%3Devil.toml", &["--config=evil.toml"]),
            ("-c+evil.toml", &["-c", "evil.toml"]),
            ("x%20-c%20evil.toml", &["x -c evil.toml"]),
            ("%7e%3B+-V", &["\\~\\;", "-V"]),
        ] {
            let mut command = Command::new("/bin/sh");
            let post = [("REQUEST_METHOD", "POST"), ("QUERY_STRING", query)];
            world.start_as_cgi(&mut command, &post);
            let output = with_input(command.arg("wrapper.sh").args(words), &der);
            let body = Reply::of(&output).body;
            assert_eq!(Answer::read(&body).statuses(), ["good"], "{line} {query}");
        }
    }
}
