//! The daemon: BuildKit's gRPC services in front of the builder.
//!
//! [`config`] is what an administrator decides, from flags and from the TOML of BuildKit's daemon; [`listen`] the
//! sockets; [`serve`] connects them to [`routes`](routes::Routes) of services until it is told to stop. The
//! environment is read by whoever starts the daemon, never here, and nothing here writes to a terminal: see
//! [`log::Log`].

mod attest;
mod bridge;
mod build;
mod builds;
mod caches;
mod capability;
mod choice;
mod control;
mod destination;
mod dockerfile;
mod engine;
mod export;
mod fault;
mod feed;
mod frontend;
mod judge;
mod lazy;
mod outcome;
mod pipes;
mod run;
mod shown;
mod solve;
mod stat;
mod tenancy;
mod verify;
mod wire;

pub mod address;
pub mod client;
pub mod collect;
pub mod config;
pub mod content;
pub mod error;
pub mod health;
pub mod history;
pub mod listen;
pub mod log;
pub mod notify;
pub mod reflection;
pub mod routes;
pub mod serve;
pub mod traces;
pub mod usage;
pub mod workers;

pub use engine::{Engine, Parts};
pub use error::DaemonError;

use std::sync::Arc;

use rbuild_buildkit_api::services::bridge::l_l_b_bridge_server::LLBBridgeServer;
use rbuild_buildkit_api::services::content::content_server::ContentServer;
use rbuild_buildkit_api::services::control::control_server::ControlServer;
use rbuild_buildkit_api::services::traces::trace_service_server::TraceServiceServer;

/// Returns the routes to BuildKit's services.
pub fn services(engine: &Arc<Engine>) -> routes::Routes {
    let content = content::ContentService::new(engine.parts().images.store().clone());
    let limit = serve::MAX_MESSAGE;
    routes::Routes::new()
        .with(ControlServer::new(control::Door::new(engine.clone())).max_decoding_message_size(limit))
        .with(LLBBridgeServer::new(bridge::Bridge::new(engine.clone())).max_decoding_message_size(limit))
        .with(ContentServer::new(content))
        .with(TraceServiceServer::new(traces::TraceSink).max_decoding_message_size(limit))
}
