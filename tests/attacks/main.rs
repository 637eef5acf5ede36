//! What hostile and unlucky clients do to the binary, and what its commands say when they fail.
//!
//! The binary runs as a child process, one for each test; everything goes over real sockets. Each
//! attack asserts what the attacker gets, and then that nothing is left of it (`Proxy::unharmed`):
//! an honest client is served at once, the process lives, its threads and file descriptors are as
//! many as before, and at its worst it took no more memory than the test allows.
//!
//! `cargo test` attacks the binary of the debug profile. `.ci/run` also runs
//! `cargo test --release --test attacks`, so that what is shipped is attacked as it is shipped.
//!
//! Linux only: file descriptors, threads and memory are read from `/proc`.

#![cfg(target_os = "linux")]

mod commands;
mod floods;
mod harness;
mod heads;
mod settings;
mod stop;
mod tls;
