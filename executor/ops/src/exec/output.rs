//! What a step writes goes to the log, as it comes, up to a limit.

use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU64, Ordering};

use rbuild_events::Stream;
use rbuild_solver::Context;

/// The most bytes of one step that are kept.
pub(crate) const LOG_LIMIT: u64 = 2 << 20;

/// Reads a stream of the process to its end.
pub(crate) fn pump(from: OwnedFd, stream: Stream, context: &Context, written: &AtomicU64) {
    let mut from = File::from(from);
    let mut buffer = vec![0; 32 << 10];
    loop {
        let read = match from.read(&mut buffer) {
            Ok(0) => return,
            Ok(read) => read,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            // A terminal whose other side is gone answers EIO; either way there is no more to read.
            Err(_) => return,
        };
        let before = written.fetch_add(read as u64, Ordering::Relaxed);
        if before >= LOG_LIMIT {
            continue;
        }
        let kept = read.min(usize::try_from(LOG_LIMIT - before).unwrap_or(read));
        context.log(stream, buffer[..kept].to_vec());
        if kept < read || before + read as u64 == LOG_LIMIT {
            context.log(stream, b"\n[output clipped, log limit 2MiB reached]\n".to_vec());
        }
    }
}
