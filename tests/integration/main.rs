//! The tests of the whole, in one binary so that OpenSSL is linked once.

mod config_errors;
mod documents;
mod install;
mod logging;
mod protocol;
mod stores;
mod support;
