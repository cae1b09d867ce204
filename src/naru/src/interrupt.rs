//! Ctrl-C. Where nothing is being changed it ends the program. In a run the first one lets running steps end and begins
//! no others; the second ends the program at once, which is safe as well: the next run goes on from there.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::watch;

use crate::commands::tell;
use crate::exit::Exit;

#[derive(Clone)]
pub(crate) struct Interrupts {
    wanted: watch::Receiver<bool>,
    is_running: Arc<AtomicBool>,
}

/// While this lives a run is under way.
pub(crate) struct Running(Arc<AtomicBool>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.store(false, Ordering::SeqCst);
    }
}

impl Interrupts {
    pub(crate) fn listen() -> Self {
        let (sender, wanted) = watch::channel(false);
        let is_running = Arc::new(AtomicBool::new(false));
        let state = is_running.clone();
        tokio::spawn(async move {
            while tokio::signal::ctrl_c().await.is_ok() {
                if !state.load(Ordering::SeqCst) {
                    tell("\nEnded; nothing was changed.\n");
                    std::process::exit(Exit::UserMistake as i32);
                }
                if sender.send_replace(true) {
                    tell("\nEnded at once. Run the same command again to go on.\n");
                    std::process::exit(Exit::OurFailure as i32);
                }
                tell("\nInterrupted: running steps are finished, no new ones begin. Once more ends at once.\n");
            }
            // Without a signal handler there is nothing to hear; the sender must live as long as the program.
            std::future::pending::<()>().await;
        });
        Self { wanted, is_running }
    }

    /// What the executor looks at.
    pub(crate) fn wanted(&self) -> watch::Receiver<bool> {
        self.wanted.clone()
    }

    pub(crate) fn running(&self) -> Running {
        self.is_running.store(true, Ordering::SeqCst);
        Running(self.is_running.clone())
    }
}
