//! End-to-end tests: the binary from outside, by the eyes of a person who uses it.
//!
//! Each test has a [`lab`]: an empty environment, a home, a store of its own. What runs in steps is
//! busybox, from Debian's busybox-static, so no registry is needed. The same tests are run by root
//! and by an ordinary user; those that need root say so in their names and skip aloud.
//!
//! The binary is `RBUILD_E2E_BINARY`, else the one that cargo builds beside this test.

// Tests stand where the person stands: they read the environment, and say what they skip.
#![allow(clippy::disallowed_methods, clippy::print_stderr)]

mod broken_graphs;
mod build_client;
mod built;
mod cache;
mod check;
mod cli;
mod daemon;
mod daemon_bridge;
mod daemon_builds;
mod daemon_caches;
mod daemon_ending;
mod daemon_history;
mod daemon_hostile;
mod daemon_hostile_files;
mod daemon_rights;
mod daemon_sharing;
mod devices;
mod dockerfile;
mod ending;
mod errors;
mod examples;
mod explain;
mod export;
mod graphs;
mod hostile;
mod images;
mod lab;
mod limits;
mod metadata;
mod mounts;
mod network;
mod outcome;
mod platforms;
mod raw_calls;
mod registry;
mod remote_cache;
mod reproducible;
mod rootless;
mod run;
mod sandbox;
mod terminal;
