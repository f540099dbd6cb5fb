//! Safe Rust over the kernel: the one crate where `unsafe` is allowed.
//!
//! Each module wraps one family of calls; rustix first, `libc` where rustix has no call. Every
//! `unsafe` block opens with the argument why it is sound.

pub mod allocator;
pub mod attendant;
pub mod bpf;
pub mod caps;
pub mod clone;
pub mod dir;
pub mod dirfd;
pub mod host;
pub mod lock;
pub mod mount;
pub mod nested;
pub mod netns;
pub mod pidfd;
pub mod result;
pub mod root;
pub mod seccomp;
pub mod subid;
pub mod tty;
pub mod userns;
pub mod xattr;
