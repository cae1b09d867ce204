//! What a container wanted to say at its end: its message file, or the tail of its log.

use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

use fs_err as fs;
use k8s_cri::v1::ContainerStatus;

pub(crate) const PATH_ANNOTATION: &str = "io.kubernetes.container.terminationMessagePath";
pub(crate) const POLICY_ANNOTATION: &str = "io.kubernetes.container.terminationMessagePolicy";
const MAX_FILE_BYTES: usize = 4096;
const MAX_LOG_BYTES: usize = 2048;
const MAX_LOG_LINES: usize = 80;
/// Enough for the lines above with their time stamps.
const LOG_TAIL_BYTES: u64 = 16 << 10;

pub(crate) fn read(status: &ContainerStatus) -> Option<String> {
    let path = status.annotations.get(PATH_ANNOTATION).filter(|path| !path.is_empty());
    let mounted = path.and_then(|path| status.mounts.iter().find(|mount| mount.container_path == *path));
    let mut message = mounted.map(|mount| head(Path::new(&mount.host_path))).unwrap_or_default();
    let fallback = status.annotations.get(POLICY_ANNOTATION).is_some_and(|policy| policy == "FallbackToLogsOnError");
    if message.is_empty() && fallback && status.exit_code != 0 {
        message = log_tail(Path::new(&status.log_path)).unwrap_or_default();
    }
    if message.is_empty() { Some(status.message.clone()).filter(|text| !text.is_empty()) } else { Some(message) }
}

fn head(path: &Path) -> String {
    let Ok(file) = fs::File::open(path) else { return String::new() };
    let mut bytes = Vec::new();
    let limit = u64::try_from(MAX_FILE_BYTES).unwrap_or(u64::MAX);
    if let Err(error) = file.take(limit).read_to_end(&mut bytes) {
        tracing::debug!(%error, "termination message not readable");
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn log_tail(path: &Path) -> std::io::Result<String> {
    let mut file = fs::File::open(path)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(LOG_TAIL_BYTES)))?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    Ok(last_lines(&String::from_utf8_lossy(&bytes)))
}

fn last_lines(log: &str) -> String {
    // time, stream, tag, text
    let lines: Vec<&str> = log.lines().filter_map(|line| line.splitn(4, ' ').nth(3)).collect();
    let start = lines.len().saturating_sub(MAX_LOG_LINES);
    let mut text = lines[start..].iter().map(|line| format!("{line}\n")).collect::<String>();
    if text.len() > MAX_LOG_BYTES {
        let mut cut = text.len() - MAX_LOG_BYTES;
        while !text.is_char_boundary(cut) {
            cut += 1;
        }
        text.drain(..cut);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_the_end_of_the_log() {
        let log: String = (0..100).map(|n| format!("2026-01-01T00:00:00Z stderr F line {n}\n")).collect();
        let text = last_lines(&log);
        assert!(text.starts_with("line 20\n") && text.ends_with("line 99\n"));
        let long = format!("t stdout F {}\n", "x".repeat(5000));
        assert_eq!(last_lines(&long).len(), MAX_LOG_BYTES);
    }
}
