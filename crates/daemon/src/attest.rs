//! Attestations: how a build's results came to be, and what is in them.
//!
//! ```text
//! Scope (who asked for what, which images and results) ─┐
//! Graph and pins of its sources ─ capture ──────────────┼▶ Capture ─▶ provenance of each platform ─▶ exporters, history
//! Definition ─ steps ───────────────────────────────────┘
//! ```

mod capture;
mod layers;
mod operation;
mod producers;
mod provenance;
mod scan;
mod scope;
mod steps;
#[cfg(test)]
mod tests;

pub(crate) use capture::capture;
pub(crate) use layers::layers;
pub(crate) use operation::message;
pub(crate) use producers::Producers;
pub(crate) use provenance::{Attested, Origin, attested, of_history};
pub(crate) use scan::scanned;
pub(crate) use scope::{Request, Scope};
