//! Dockerfile text to syntax tree to typed instructions; pure.
