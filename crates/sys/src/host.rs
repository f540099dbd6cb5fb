//! What this host offers and who we are on it.
