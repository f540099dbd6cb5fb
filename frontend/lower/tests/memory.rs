//! Memory for reading and lowering grows with the file, not with its square: X42.

#[allow(dead_code, reason = "shared by several tests")]
mod common;
#[path = "common/generate.rs"]
mod generate;

use std::alloc::System;

use cap::Cap;

#[global_allocator]
static MEMORY: Cap<System> = Cap::new(System, usize::MAX);

/// The only test of this program, or others' memory would be counted.
#[test]
fn x42_memory_is_linear() {
    let mut before = None;
    for size in [256 << 10, 512 << 10, 1 << 20] {
        let source = generate::of_size(size);
        let start = MEMORY.allocated();
        let lowered = common::build(&source, &common::request()).expect("what is generated is right");
        // The most ever allocated is of this round, as each is larger than the one before.
        let peak = MEMORY.max_allocated() - start;
        drop(lowered);
        let each = peak / source.len();
        assert!(each < 200, "{each} bytes for each byte of {}", source.len());
        if let Some(before) = before {
            assert!(peak < before * 5 / 2, "{peak} bytes for {}, {before} for half of it", source.len());
        }
        before = Some(peak);
    }
}
