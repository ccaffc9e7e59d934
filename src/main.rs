//! The program `ocsp-fcgi`; all of it is in the library.

fn main() -> std::process::ExitCode {
    ocsp_fcgi::cli::main()
}
