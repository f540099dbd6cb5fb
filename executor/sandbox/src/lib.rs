//! Run one process in a box.
//!
//! A [`SandboxSpec`] (plain values) becomes a [`Plan`] (a list of [`Step`]s, made by the pure
//! function [`plan::plan`]); an init process carries the steps out in namespaces of its own, executes
//! the program, reaps, cleans up and reports. `RUN` steps and containers both come through here.
//!
//! ```text
//!  engine                            init (same binary, argv[0] = rbuild-init)
//!  ──────                            ─────────────────────────────────────────
//!  spec ─plan▶ Plan                  new mnt, pid, ipc, uts (net) namespaces
//!  sources ─open_tree▶ detached      step 1..n: cgroup, net, root, mounts, masks, pivot …
//!  clone, exec of a read-only        vfork: ids, seccomp, caps, exec ──▶ program
//!  clone of our own binary  ──────▶  report "started" or "step 7 of 15, …"
//!  Running: wait, kill, resize ◀──▶  reap; then kill all, remove stubs, report the exit
//! ```
//!
//! The room does not know images, layers or the build graph; it prints nothing and reads no environment.

pub mod caps;
pub mod cgroup;
mod emulator;
mod error;
pub mod facts;
mod init;
mod launch;
mod machine;
mod mount_points;
mod paths;
pub mod plan;
mod running;
pub mod seccomp;
mod spare;
pub mod spec;
pub mod step;
mod user;
mod wire;
mod within;

pub use emulator::{Emulator, EmulatorError};
pub use error::{SandboxError, SpecError};
pub use facts::HostFacts;
pub use init::init_main;
pub use launch::Sandbox;
pub use machine::{Handler, Machine};
pub use mount_points::fill_mount_points;
pub use running::{Exit, Running, Stats};
pub use spec::*;
pub use step::{Plan, Step};
pub use within::within_root;

/// What `argv[0]` is when our own binary is to be the init of a box.
pub const INIT_NAME: &str = "rbuild-init";
