//! The build graph: LLB ops as bytes, vertices, edges, validation.
