//! The mount API: fsopen, fsmount, move_mount, open_tree, mount_setattr.
