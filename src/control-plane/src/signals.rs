//! SIGTERM and SIGINT become one shutdown that everything waits for.

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

/// Turns true once a signal has come.
pub(crate) fn shutdown() -> std::io::Result<watch::Receiver<bool>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let (sender, receiver) = watch::channel(false);
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => tracing::info!("SIGTERM: shutting down"),
            _ = interrupt.recv() => tracing::info!("SIGINT: shutting down"),
        }
        sender.send_replace(true);
        // Whoever waits holds a receiver; the sender must not go before them.
        sender.closed().await;
    });
    Ok(receiver)
}

/// Resolves when shutdown has been asked for.
pub(crate) async fn asked(mut shutdown: watch::Receiver<bool>) {
    // An error means that nobody can ask any more, which ends the wait as well.
    let _ = shutdown.wait_for(|asked| *asked).await;
}
