//! A command on a host whose stdin and stdout are a byte stream. Whatever the login shell prints first is passed
//! over: the stream begins after a line of our own.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use russh::client::Msg;
use russh::{Channel, ChannelMsg, ChannelReadHalf, ChannelWriteHalf};
use tokio::io::{AsyncWrite, AsyncWriteExt, BufReader, DuplexStream};
use tokio::sync::{oneshot, watch};
use tokio::task::AbortHandle;
use tokio::time::timeout;

use crate::session::keep;

/// The line after which the stream begins.
pub(crate) const BEGIN: &str = "naru-begin";
/// What sudo is told to ask with; doas asks with words of its own.
pub(crate) const PROMPT: &str = "naru-password:";
const DOAS_PROMPT: &[u8] = b"password:";
/// Text before the stream, and stderr, are kept up to here.
const MAX_TEXT_BYTES: usize = 64 * 1024;
/// Bytes on their way from the channel to the reader.
const PIPE_BYTES: usize = 64 * 1024;
const PACKET_BYTES: usize = 32 * 1024;

/// A running command.
pub(crate) struct Command {
    pub(crate) stdin: DuplexStream,
    pub(crate) stdout: DuplexStream,
    pub(crate) watch: Watch,
}

/// What can be told about a command from outside; when the last one is gone, the command's channel is closed.
#[derive(Clone)]
pub(crate) struct Watch {
    outcome: Arc<Mutex<Outcome>>,
    progress: watch::Receiver<Progress>,
    _closer: Arc<oneshot::Sender<()>>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Progress {
    pub(crate) has_begun: bool,
    pub(crate) has_ended: bool,
    /// How often a password was asked for.
    pub(crate) prompts: usize,
}

/// What a command left behind.
#[derive(Debug, Clone, Default)]
pub(crate) struct Outcome {
    /// Stdout before the stream began.
    pub(crate) text: String,
    pub(crate) stderr: String,
    pub(crate) status: Option<u32>,
}

impl Watch {
    pub(crate) fn progress(&self) -> Progress {
        *self.progress.borrow()
    }

    /// Waits for something; no answer when it does not come in time.
    pub(crate) async fn until(&self, deadline: Duration, wanted: impl Fn(&Progress) -> bool) -> Option<Progress> {
        let mut progress = self.progress.clone();
        let waiting = progress.wait_for(|progress| progress.has_ended || wanted(progress));
        match timeout(deadline, waiting).await {
            Ok(Ok(progress)) => Some(*progress),
            Ok(Err(_)) => Some(Progress { has_ended: true, ..self.progress() }),
            Err(_) => None,
        }
    }

    pub(crate) fn outcome(&self) -> Outcome {
        self.outcome.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Watches over a channel on which a command was started.
pub(crate) fn run(channel: Channel<Msg>) -> Command {
    let (stdout, near) = tokio::io::duplex(PIPE_BYTES);
    let (closer, closed) = oneshot::channel();
    let (sender, progress) = watch::channel(Progress::default());
    let outcome = Arc::<Mutex<Outcome>>::default();
    let (reader, writer) = channel.split();
    let (stdin, far) = tokio::io::duplex(PIPE_BYTES);
    let feeder = tokio::spawn(feed(far, writer.make_writer())).abort_handle();
    let pump =
        Pump { reader, writer, feeder, stdout: near, outcome: outcome.clone(), progress: sender, raw: Raw::default() };
    tokio::spawn(pump.run(closed));
    Command { stdin, stdout, watch: Watch { outcome, progress, _closer: Arc::new(closer) } }
}

/// Passes stdin on, its end included.
async fn feed(from: DuplexStream, mut to: impl AsyncWrite + Unpin) {
    // As much at a time as fits into one packet.
    let mut from = BufReader::with_capacity(PACKET_BYTES, from);
    if tokio::io::copy_buf(&mut from, &mut to).await.is_ok() {
        let _ = to.shutdown().await;
    }
}

#[derive(Default)]
struct Raw {
    text: Vec<u8>,
    stderr: Vec<u8>,
    status: Option<u32>,
}

struct Pump {
    reader: ChannelReadHalf,
    writer: ChannelWriteHalf<Msg>,
    /// Ends with the channel, so that who writes to it is not left waiting for room that never comes.
    feeder: AbortHandle,
    stdout: DuplexStream,
    outcome: Arc<Mutex<Outcome>>,
    progress: watch::Sender<Progress>,
    raw: Raw,
}

impl Pump {
    async fn run(mut self, mut closed: oneshot::Receiver<()>) {
        loop {
            let message = tokio::select! {
                message = self.reader.wait() => message,
                _ = &mut closed => {
                    let _ = self.writer.close().await;
                    break;
                }
            };
            match message {
                Some(ChannelMsg::Data { data }) => self.take(&data).await,
                Some(ChannelMsg::ExtendedData { data, .. }) => {
                    keep(&mut self.raw.stderr, &data, MAX_TEXT_BYTES);
                    self.publish(false);
                }
                Some(ChannelMsg::ExitStatus { exit_status }) => self.raw.status = Some(exit_status),
                Some(ChannelMsg::ExitSignal { .. }) => self.raw.status = Some(u32::MAX),
                Some(ChannelMsg::Close) | None => break,
                Some(_) => {}
            }
        }
        self.feeder.abort();
        self.publish(true);
    }

    async fn take(&mut self, data: &[u8]) {
        if self.progress.borrow().has_begun {
            // Nobody reads any more once the stream was dropped; then the channel is about to be closed.
            let _ = self.stdout.write_all(data).await;
            return;
        }
        // Bytes behind the marker may be more than text ever is.
        let room = MAX_TEXT_BYTES + data.len();
        keep(&mut self.raw.text, data, room);
        let Some((from, to)) = marker(&self.raw.text) else {
            self.raw.text.truncate(MAX_TEXT_BYTES);
            self.publish(false);
            return;
        };
        let rest = self.raw.text.split_off(to);
        self.raw.text.truncate(from);
        self.progress.send_modify(|progress| progress.has_begun = true);
        if !rest.is_empty() {
            let _ = self.stdout.write_all(&rest).await;
        }
    }

    fn publish(&self, has_ended: bool) {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).replace(PROMPT, "");
        *self.outcome.lock().unwrap_or_else(PoisonError::into_inner) =
            Outcome { text: text(&self.raw.text), stderr: text(&self.raw.stderr), status: self.raw.status };
        let prompts = count(&self.raw.stderr, PROMPT.as_bytes()) + count(&self.raw.text, DOAS_PROMPT);
        self.progress.send_modify(|progress| {
            progress.prompts = prompts;
            progress.has_ended |= has_ended;
        });
    }
}

/// Where the marker's line begins and where the stream behind it does.
fn marker(text: &[u8]) -> Option<(usize, usize)> {
    let mut from = 0;
    while let Some(length) = text[from..].iter().position(|byte| *byte == b'\n') {
        if text[from..from + length].trim_ascii() == BEGIN.as_bytes() {
            return Some((from, from + length + 1));
        }
        from += length + 1;
    }
    None
}

fn count(text: &[u8], word: &[u8]) -> usize {
    text.windows(word.len()).filter(|window| *window == word).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stream_begins_after_the_marker_whatever_stands_before() {
        assert_eq!(marker(b"naru-begin\nrest"), Some((0, 11)));
        assert_eq!(marker(b"Welcome!\r\nnaru-begin\r\n\0\0"), Some((10, 22)));
        assert_eq!(marker(b"echo naru-begin\nnaru-beg"), None);
    }
}
