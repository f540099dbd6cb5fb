//! The daemon: BuildKit's gRPC services in front of the builder.
//!
//! [`config`] is what an administrator decides, from flags and from the TOML of BuildKit's daemon; [`listen`] the
//! sockets; [`serve`] connects them to [`routes`](routes::Routes) of services until it is told to stop. The
//! environment is read by whoever starts the daemon, never here, and nothing here writes to a terminal: see
//! [`log::Log`].

pub mod address;
pub mod config;
pub mod error;
pub mod health;
pub mod listen;
pub mod log;
pub mod notify;
pub mod reflection;
pub mod routes;
pub mod serve;
pub mod traces;

pub use error::DaemonError;
