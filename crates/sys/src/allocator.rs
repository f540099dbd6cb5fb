//! How the C library's allocator treats large blocks (mallopt(3)).

/// Has every block of this many bytes or more given back to the system as soon as it is freed. By itself the allocator
/// raises its limit with each large block that it sees freed, and keeps later ones for the process that had them once:
/// a daemon would stay as large as its largest request made it. Other C libraries do so anyway.
pub fn give_back_blocks(bytes: i32) {
    #[cfg(target_env = "gnu")]
    // SAFETY: it takes two numbers, and locks the allocator itself.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, bytes);
    }
    #[cfg(not(target_env = "gnu"))]
    let _ = bytes;
}
