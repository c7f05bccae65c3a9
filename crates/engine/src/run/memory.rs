//! What the allocator keeps.

/// Gives back to the system what the allocator keeps after a backlog. Takes milliseconds, so it is for those who are idle.
#[allow(unsafe_code)]
pub fn give_back() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: it takes no pointer and may be called at any time from any thread.
    unsafe {
        libc::malloc_trim(0);
    }
}
