//! End-to-end tests: the binary from outside.
