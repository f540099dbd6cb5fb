//! Layered root filesystems.
