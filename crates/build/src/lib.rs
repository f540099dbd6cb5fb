//! Joins frontend, solver, executor and exporters into one Builder.
