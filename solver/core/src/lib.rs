//! Evaluates a graph of opaque operations with a content-hash cache.
