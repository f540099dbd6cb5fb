//! Network namespaces as file descriptors.
