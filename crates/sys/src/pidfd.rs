//! Processes as file descriptors.
