//! Containers and images as things one can name: run, pull, push, load, save, inspect, remove.

pub mod request;

pub use request::{Network, Pull, RunRequest, Security, Ulimit, Volume};
