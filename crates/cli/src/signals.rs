//! Signals that end a build: the first one asks, the second one insists.

use tokio::signal::unix::{Signal, SignalKind, signal};

/// Waits for the first signal that asks us to end; returns the exit code that tells of it.
pub(crate) async fn first() -> u8 {
    let kinds = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup(), SignalKind::quit()];
    let mut signals: Vec<(i32, Signal)> = Vec::new();
    for kind in kinds {
        if let Ok(signal) = signal(kind) {
            signals.push((kind.as_raw_value(), signal));
        }
    }
    std::future::poll_fn(|context| {
        for (number, signal) in &mut signals {
            if signal.poll_recv(context).is_ready() {
                return std::task::Poll::Ready(128 + u8::try_from(*number).unwrap_or(127));
            }
        }
        std::task::Poll::Pending
    })
    .await
}

/// Ends the program at once when asked a second time; the kernel ends what it ran.
#[expect(clippy::exit, reason = "a second signal means: now")]
pub(crate) async fn insist() {
    let code = first().await;
    std::process::exit(i32::from(code));
}
