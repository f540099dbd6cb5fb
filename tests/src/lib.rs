//! End-to-end, conformance and architecture tests of rbuild.
