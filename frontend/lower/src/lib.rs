//! Typed instructions to build graph and image config.
