//! The solver from outside: scenarios on hand-made vertices, graphs at random against a naive
//! reference, and one suite for all cache storages.

#![allow(missing_docs, reason = "tests")]

mod caches;
mod concurrency;
mod dsl;
mod endings;
mod hits;
mod random;
mod renewal;
