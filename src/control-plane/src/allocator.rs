//! Keeps glibc's allocator from holding on to memory: few arenas, and freed pages go back early.

use std::ffi::c_int;

/// `M_ARENA_MAX`, `M_TRIM_THRESHOLD` and `M_MMAP_THRESHOLD` of malloc.h.
const ARENA_MAX: c_int = -8;
const TRIM_THRESHOLD: c_int = -1;
const MMAP_THRESHOLD: c_int = -3;
/// Arenas for two worker threads, the sequencer and the odd blocking thread.
const ARENAS: c_int = 2;
const TRIM_BYTES: c_int = 128 * 1024;
const MMAP_BYTES: c_int = 256 * 1024;

#[allow(unsafe_code)]
unsafe extern "C" {
    fn mallopt(parameter: c_int, value: c_int) -> c_int;
}

/// To be called before other threads exist.
#[allow(unsafe_code)]
pub(crate) fn keep_small() {
    for (parameter, value) in [(ARENA_MAX, ARENAS), (TRIM_THRESHOLD, TRIM_BYTES), (MMAP_THRESHOLD, MMAP_BYTES)] {
        // SAFETY: mallopt only sets a parameter of the allocator; the program has one thread at this point.
        unsafe { mallopt(parameter, value) };
    }
}
