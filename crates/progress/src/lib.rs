//! Events to a terminal: fold into a model, render as tty, plain or rawjson.
//!
//! A [`Display`] owns one thread that takes events from a channel, folds them into a [`Model`] and
//! draws. What is drawn is decided by pure functions ([`draw`], the plain and JSON renderers); how
//! it gets onto a screen is [`screen`]'s matter. Nothing here knows the environment: the writer, the
//! terminal's size and the choice of mode are handed in by the command line.
//!
//! Names, logs and errors come from Dockerfiles, programs and registries. On a terminal none of
//! their control bytes survives: they could move the cursor, forge lines or retitle windows.

pub mod display;
pub mod draw;
pub mod model;
pub mod screen;

mod failure;
mod json;
mod log;
mod plain;
mod text;

pub use display::{Display, Failure, Mode, Terminal, Warnings};
pub use draw::{Line, Paint, Size, draw};
pub use log::LogLimits;
pub use model::Model;
