//! The agent on stdin and stdout, as it runs at the far end of an SSH channel.

use std::io::Read;

use naru_resources::{Host, Stop};
use tokio::io::{AsyncWriteExt, DuplexStream};
use tokio::runtime::Handle;
use tokio::signal::unix::{SignalKind, signal};

use crate::FrameError;
use crate::server::serve_as;
use crate::watchdog::Watchdog;

const PIPE_BYTES: usize = 1024 * 1024;
const READ_BYTES: usize = 64 * 1024;

/// Serves this machine until stdin closes. A change that is under way when the connection dies is finished.
pub async fn serve_stdio() -> Result<(), FrameError> {
    serve_stdio_on(Host::local()).await
}

/// The same for a host below another root.
pub async fn serve_stdio_on(host: Host) -> Result<(), FrameError> {
    let stop = Stop::default();
    let watcher = tokio::spawn(stop_on_signals(stop.clone()));
    let served = serve_as(stdin(), tokio::io::stdout(), host, stop, Watchdog::own()).await;
    watcher.abort();
    served
}

/// A thread of its own reads stdin: a reader of tokio's would keep the runtime from ending.
fn stdin() -> DuplexStream {
    let (mut writer, reader) = tokio::io::duplex(PIPE_BYTES);
    let runtime = Handle::current();
    std::thread::spawn(move || {
        let mut buffer = vec![0_u8; READ_BYTES];
        let mut stdin = std::io::stdin().lock();
        while let Ok(count) = stdin.read(&mut buffer) {
            if count == 0 || runtime.block_on(writer.write_all(&buffer[..count])).is_err() {
                break;
            }
        }
    });
    reader
}

/// A signal means the same as the end of the connection: finish the step at hand, then stop.
async fn stop_on_signals(stop: Stop) {
    let (Ok(mut hangup), Ok(mut terminate)) = (signal(SignalKind::hangup()), signal(SignalKind::terminate())) else {
        return;
    };
    tokio::select! {
        _ = hangup.recv() => {}
        _ = terminate.recv() => {}
    }
    stop.stop();
}
