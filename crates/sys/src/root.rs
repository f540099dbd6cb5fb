//! Paths under an open root: the only way into a rootfs, layer or context.
