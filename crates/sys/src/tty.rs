//! Terminals: raw mode, size, pseudo-terminals.
