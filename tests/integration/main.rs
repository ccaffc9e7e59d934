//! The tests of the whole, in one binary so that OpenSSL is linked once.

// clippy.toml's exceptions for tests do not reach the helpers beside them.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::print_stdout, clippy::print_stderr)]

mod abuse;
mod apache;
mod cache_commands;
mod cache_files;
mod cache_folder;
mod cache_processes;
mod cgi;
mod commands;
mod config_errors;
mod documents;
mod fastcgi;
mod forgetting;
mod freshness;
mod full_folder;
mod http;
mod index_to_sql;
mod install;
mod issuers;
mod keys;
mod layering;
mod logging;
mod monitoring;
mod nginx;
mod presigned;
mod protocol;
mod read_only;
mod reload;
mod renewing;
mod sources;
mod stores;
mod successors;
mod support;
mod switching;
mod waiting;
