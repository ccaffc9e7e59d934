//! The tests of the whole, in one binary so that OpenSSL is linked once.

mod logging;
