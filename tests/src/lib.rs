//! What the end-to-end suites share: the real programs, the real kubectl, the real machines, and waiting for a
//! condition with a deadline. Nothing here is a stand-in.

mod context;
mod inventory;
mod load;
mod process;
mod running;
mod snapshot;
mod wire;

pub use context::{Context, KUBECTL_OLD};
pub use inventory::{Wish, pinned};
pub use load::{Counted, RequestLoop, request};
pub use process::{Output, command};
pub use running::{Ended, Running};
pub use snapshot::difference;

use std::cell::RefCell;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// Between two looks at a condition.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

thread_local! {
    /// What this thread's lines begin with, when several suites speak at the same time.
    static SPEAKER: RefCell<String> = const { RefCell::new(String::new()) };
}

/// From now on this thread's lines begin with a name.
pub fn speak_as(name: &str) {
    SPEAKER.set(name.to_owned());
}

/// Lines for the person who watches the suites.
#[expect(clippy::print_stdout, reason = "a test runner speaks")]
pub fn say(text: &str) {
    let speaker = SPEAKER.with_borrow(String::clone);
    let lines: Vec<String> = text.lines().map(|line| format!("{speaker}{line}")).collect();
    println!("{}", lines.join("\n"));
}

/// Waits until `condition` answers true; its last error or answer is told when the deadline passes.
///
/// # Errors
/// When the condition does not come true in time.
pub fn wait_until(what: &str, deadline: Duration, mut condition: impl FnMut() -> Result<bool>) -> Result<Duration> {
    let start = Instant::now();
    loop {
        let outcome = condition();
        if matches!(outcome, Ok(true)) {
            return Ok(start.elapsed());
        }
        if start.elapsed() > deadline {
            match outcome {
                Err(error) => bail!("{what}: not within {} s: {error:#}", deadline.as_secs()),
                Ok(_) => bail!("{what}: not within {} s", deadline.as_secs()),
            }
        }
        std::thread::sleep(LOOK_AGAIN);
    }
}
