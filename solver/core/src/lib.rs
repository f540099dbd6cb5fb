//! Evaluates a graph of opaque operations: shares work, finds results in the cache, else runs.
//!
//! # The model
//!
//! A [`Graph`] has vertices; a vertex has an [`Operation`], inputs that are outputs of other vertices, and
//! outputs. An output of a vertex is an *edge*. Values are of some type `R` that the solver never
//! looks into. About every edge there are three questions, each asked at most once and its answer
//! shared by all who want it:
//!
//! 1. its **fast keys**: what the cache calls it, as far as definitions tell;
//! 2. its **slow keys**: what the cache calls it once the contents of its inputs were looked at,
//!    for which their values are needed;
//! 3. its **value**: loaded from a record, or made by running the operation.
//!
//! [`next_probe`] is a pure function from what is known of an edge to what should be asked next, and the
//! only place where policy lives. What it guards: nothing is pulled, read or run unless a cheaper
//! question could not answer.
//!
//! # Keys
//!
//! See [`Key`]. In short: an input is known by several keys (who made it, what is in it), a link leads from
//! each to the key of what was made of it, and an output is found when every input has a link to it.
//! After a run links are written from all keys known then, so that a file copied from a touched but
//! unchanged context finds, by its content, all that was ever built upon it.
//!
//! Some keys mean nothing to later builds ([`Lifetime::Session`]); nothing is stored under them.
//! A step that is to ignore the cache gets a name it never had before, and all links to its former
//! name lead to the new one: what was made of the former result is not found any more. If the same
//! step was done anew already by a job still at work, it takes the name given then.
//!
//! # Promises
//!
//! * The same edge wanted twice is worked on once: by one task in a [`Solver`], by one process among
//!   those that share [`Locks`] and a cache.
//! * Failure is never recorded. Work that was finished is, even if nobody waits for it any more.
//! * Dropping a [`Job`] ends what no other job wants; [`Solver::idle`] waits for the end.
//! * A build that finds everything writes nothing but one batch of usage statistics.
//!
//! What this crate does not know: what operations do, what a result is, where layers are kept.

mod cache;
mod context;
mod drive;
mod error;
mod explain;
mod graph;
mod inquiry;
mod job;
mod key;
mod lock;
mod once;
mod operation;
mod probe;
mod progress;
mod renewal;
mod run;
mod vertex;

pub use cache::{CacheError, CacheStorage, Change, Count, MemoryCache, NewRecord, Others, Record, SqliteCache};
pub use context::Context;
pub use error::{SharedError, SolveError, Task};
pub use explain::{Alternative, ExplainedInput, Explanation, Miss, Verdict};
pub use graph::{Edge, Graph, Node};
pub use job::{Job, Memory, Settings, Solved, Solver};
pub use key::{Derivation, Key, Known, Link, Origin, Via};
pub use lock::Locks;
pub use operation::{CacheMap, InputMap, Lifetime, Operation, OperationError, ResultStore, Saved};
pub use probe::{Content, EdgeView, Found, Goal, InputView, Level, Probe, Question, next_probe};
