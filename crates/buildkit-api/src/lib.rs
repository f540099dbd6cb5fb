//! The gRPC services that BuildKit's clients speak: messages, service traits and clients.
//!
//! Messages are written by hand with the protocol's names and numbers; the stubs of the services are made by
//! `build.rs` from a table. Of every message every field may be missing or hostile: nothing here is validated.
//!
//! What is served by the daemon: [`services::control`], [`services::bridge`], [`services::content`],
//! [`services::traces`], [`services::reflection`]. Served by both sides: [`services::health`]. What is served by the
//! client of a session, and called by the daemon: all others.

pub mod auth;
pub mod caps;
pub mod content;
pub mod control;
pub mod errdefs;
pub mod exporter;
pub mod filesync;
pub mod fsutil;
pub mod gateway;
pub mod health;
pub mod policy;
pub mod reflection;
pub mod rpc;
pub mod secrets;
pub mod ssh;
pub mod stack;
pub mod traces;
pub mod upload;
pub mod verifier;
pub mod worker;

/// Clients and servers of the services.
pub mod services;
