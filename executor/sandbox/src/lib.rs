//! Run one process in a box.
