//! Copies a log file to a reader, and goes on while the container lives if asked to.

use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, Instant};

use bytes::Bytes;
use fs_err as fs;
use tokio::sync::mpsc;

use super::logs::{Options, render, tail_offset};
use crate::Context;

const CHUNK_BYTES: usize = 32 << 10;
const POLL: Duration = Duration::from_millis(100);
/// How often a follower asks whether its container still runs.
const LIFE_CHECK: Duration = Duration::from_secs(1);

/// Lines of the runtime's format in, what users see out.
struct Renderer<'a> {
    options: &'a Options,
    pending: Vec<u8>,
    inside_line: bool,
    left: Option<u64>,
}

impl Renderer<'_> {
    fn feed(&mut self, bytes: &[u8]) -> Vec<u8> {
        self.pending.extend_from_slice(bytes);
        let mut output = Vec::new();
        let mut start = 0;
        while let Some(length) = self.pending[start..].iter().position(|byte| *byte == b'\n') {
            if let Some((time, content, full)) = render(&self.pending[start..start + length], self.options) {
                if let Some(time) = time.filter(|_| !self.inside_line) {
                    output.extend_from_slice(time.as_bytes());
                    output.push(b' ');
                }
                output.extend_from_slice(content);
                if full {
                    output.push(b'\n');
                }
                self.inside_line = !full;
            }
            start += length + 1;
        }
        self.pending.drain(..start);
        if let Some(left) = &mut self.left {
            output.truncate(usize::try_from(*left).unwrap_or(usize::MAX));
            *left -= u64::try_from(output.len()).unwrap_or(0);
        }
        output
    }
}

pub(super) async fn copy(
    context: &Context,
    container_id: &str,
    path: &Path,
    options: &Options,
    sender: &mpsc::Sender<Bytes>,
) -> std::io::Result<()> {
    let mut file = fs::File::open(path)?;
    let offset = options.tail_lines.map(|lines| tail_offset(&mut file, lines)).transpose()?.unwrap_or(0);
    file.seek(SeekFrom::Start(offset))?;
    let mut renderer = Renderer { options, pending: Vec::new(), inside_line: false, left: options.limit_bytes };
    let mut buffer = vec![0; CHUNK_BYTES];
    let mut ended = false;
    let mut checked = Instant::now();
    loop {
        let count = file.read(&mut buffer)?;
        if count > 0 {
            let output = renderer.feed(&buffer[..count]);
            if !output.is_empty() && sender.send(output.into()).await.is_err() {
                return Ok(());
            }
            if renderer.left == Some(0) {
                return Ok(());
            }
            continue;
        }
        // Rotated: the old file was read to its end, the new one begins.
        if let Ok(now) = fs::metadata(path)
            && now.ino() != file.metadata()?.ino()
        {
            file = fs::File::open(path)?;
            continue;
        }
        if !options.follow || ended || sender.is_closed() {
            return Ok(());
        }
        if checked.elapsed() >= LIFE_CHECK {
            checked = Instant::now();
            // One more read after the end: the last lines may just have been written.
            ended = !is_running(context, container_id).await;
            if ended {
                continue;
            }
        }
        tokio::select! {
            () = tokio::time::sleep(POLL) => {}
            () = sender.closed() => return Ok(()),
        }
    }
}

async fn is_running(context: &Context, container_id: &str) -> bool {
    match context.runtime.container_status(container_id).await {
        Ok(status) => status.state == k8s_cri::v1::ContainerState::ContainerRunning as i32,
        Err(error) => !error.is_not_found(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn joins_partial_lines_and_limits() {
        let options = Options { timestamps: true, ..Options::default() };
        let mut renderer = Renderer { options: &options, pending: Vec::new(), inside_line: false, left: None };
        let mut output = renderer.feed(b"t1 stdout P ab\nt2 std");
        output.extend(renderer.feed(b"out F c\nt3 stderr F d\n"));
        assert_eq!(String::from_utf8(output).unwrap(), "t1 abc\nt3 d\n");
        let options = Options::default();
        let mut renderer = Renderer { options: &options, pending: Vec::new(), inside_line: false, left: Some(3) };
        assert_eq!(renderer.feed(b"t stdout F hello\n"), b"hel");
    }
}
