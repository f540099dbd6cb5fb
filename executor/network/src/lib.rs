//! Network namespaces and their wiring.
