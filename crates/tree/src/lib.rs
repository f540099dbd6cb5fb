//! A tree of files as a value.
