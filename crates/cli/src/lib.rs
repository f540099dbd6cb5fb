//! The rbuild binary.
