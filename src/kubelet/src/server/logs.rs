//! GET /containerLogs: which file, from where, and how its lines are shown.

use std::io::{Read, Seek, SeekFrom};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use fs_err as fs;
use futures::StreamExt;
use http::{Response, StatusCode};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use jiff::Timestamp;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::{Answer, follow, runtime_failure, text};
use crate::Context;
use crate::cri::CONTAINER_NAME_LABEL;
use crate::pod::{PodExt, find_container};

/// Chunks that wait for a slow reader.
const QUEUE: usize = 8;
const TAIL_BLOCK: u64 = 64 << 10;

#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Options {
    pub follow: bool,
    pub previous: bool,
    pub timestamps: bool,
    pub tail_lines: Option<u64>,
    pub limit_bytes: Option<u64>,
    pub since: Option<Timestamp>,
}

impl Options {
    fn parse(query: &[(String, String)], now: Timestamp) -> Result<Self, String> {
        let mut options = Self::default();
        for (name, value) in query {
            let flag = || value.is_empty() || value == "true" || value == "1";
            let number = || value.parse::<u64>().map_err(|_| format!("invalid {name}: {value:?}"));
            match name.as_str() {
                "follow" => options.follow = flag(),
                "previous" => options.previous = flag(),
                "timestamps" => options.timestamps = flag(),
                "tailLines" if !value.is_empty() => options.tail_lines = Some(number()?),
                "limitBytes" if !value.is_empty() => options.limit_bytes = Some(number()?),
                "sinceSeconds" if !value.is_empty() => {
                    let seconds = Duration::from_secs(number()?);
                    options.since = now.checked_sub(seconds).ok();
                }
                "sinceTime" if !value.is_empty() => {
                    options.since = Some(value.parse().map_err(|_| format!("invalid {name}: {value:?}"))?);
                }
                _ => {}
            }
        }
        Ok(options)
    }
}

pub(super) async fn serve(
    context: &Arc<Context>,
    namespace: &str,
    pod_name: &str,
    container: &str,
    query: &[(String, String)],
) -> Answer {
    let options = match Options::parse(query, Timestamp::now()) {
        Ok(options) => options,
        Err(message) => return text(StatusCode::BAD_REQUEST, message),
    };
    let Some(pod) = context.pods.find(namespace, pod_name) else {
        return text(StatusCode::NOT_FOUND, format!("pod \"{pod_name}\" not found"));
    };
    if find_container(&pod, container).is_none() {
        let message = format!("container \"{container}\" not found in pod \"{pod_name}\"");
        return text(StatusCode::NOT_FOUND, message);
    }
    let mut found = match context.runtime.containers(Some(pod.uid())).await {
        Ok(found) => found,
        Err(error) => return runtime_failure(&error),
    };
    found.retain(|item| item.labels.get(CONTAINER_NAME_LABEL).is_some_and(|name| name == container));
    found.sort_by_key(|item| std::cmp::Reverse(item.created_at));
    let created = k8s_cri::v1::ContainerState::ContainerCreated as i32;
    found.retain(|item| item.state != created);
    let Some(item) = found.into_iter().nth(usize::from(options.previous)) else {
        let message = if options.previous {
            format!("previous terminated container \"{container}\" in pod \"{pod_name}\" not found")
        } else {
            format!("container \"{container}\" in pod \"{pod_name}\" is waiting to start: ContainerCreating")
        };
        return text(StatusCode::BAD_REQUEST, message);
    };
    let attempt = item.metadata.as_ref().map_or(0, |metadata| metadata.attempt);
    let path = pod.log_folder(&context.config).join(container).join(format!("{attempt}.log"));
    stream(context.clone(), item.id, path, options)
}

fn stream(context: Arc<Context>, container_id: String, path: PathBuf, options: Options) -> Answer {
    let (sender, receiver) = mpsc::channel::<Bytes>(QUEUE);
    tokio::spawn(async move {
        if let Err(error) = follow::copy(&context, &container_id, &path, &options, &sender).await {
            tracing::debug!(%error, "log not read");
        }
    });
    let frames = ReceiverStream::new(receiver).map(|bytes| Ok(Frame::data(bytes)));
    let mut response = Response::new(BodyExt::boxed(StreamBody::new(frames)));
    response.headers_mut().insert("content-type", http::HeaderValue::from_static("text/plain"));
    response
}

/// Where the last `lines` lines begin.
pub(super) fn tail_offset(file: &mut fs::File, lines: u64) -> std::io::Result<u64> {
    let length = file.metadata()?.len();
    if lines == 0 {
        return Ok(length);
    }
    let mut seen = 0;
    let mut end = length;
    while end > 0 {
        let start = end.saturating_sub(TAIL_BLOCK);
        let mut block = vec![0; usize::try_from(end - start).unwrap_or(0)];
        file.seek(SeekFrom::Start(start))?;
        file.read_exact(&mut block)?;
        for (index, _) in block.iter().enumerate().rev().filter(|(_, byte)| **byte == b'\n') {
            let position = start + u64::try_from(index).unwrap_or(0);
            // The newline that ends the file does not begin a line.
            if position + 1 == length {
                continue;
            }
            seen += 1;
            if seen == lines {
                return Ok(position + 1);
            }
        }
        end = start;
    }
    Ok(0)
}

/// One line of the runtime's format as it is shown, or `None` if it is too old or no such line.
pub(super) fn render<'a>(line: &'a [u8], options: &Options) -> Option<(Option<&'a str>, &'a [u8], bool)> {
    let mut parts = line.splitn(4, |byte| *byte == b' ');
    let time = std::str::from_utf8(parts.next()?).ok()?;
    let (_stream, tag) = (parts.next()?, parts.next()?);
    let content = parts.next().unwrap_or_default();
    if let Some(since) = options.since
        && time.parse::<Timestamp>().is_ok_and(|at| at < since)
    {
        return None;
    }
    Some((options.timestamps.then_some(time), content, tag.starts_with(b"F")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn options() {
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let now = Timestamp::from_second(1000).unwrap();
        let query = [pair("follow", "true"), pair("tailLines", "5"), pair("sinceSeconds", "100")];
        let options = Options::parse(&query, now).unwrap();
        assert!(options.follow && !options.previous);
        assert_eq!(options.tail_lines, Some(5));
        assert_eq!(options.since, Some(Timestamp::from_second(900).unwrap()));
        assert!(Options::parse(&[pair("tailLines", "x")], now).is_err());
    }

    #[test]
    fn tail() {
        let path = std::env::temp_dir().join(format!("naru-tail-{}", std::process::id()));
        fs::File::create(&path).unwrap().write_all(b"one\ntwo\nthree\n").unwrap();
        let mut file = fs::File::open(&path).unwrap();
        assert_eq!(tail_offset(&mut file, 1).unwrap(), 8);
        assert_eq!(tail_offset(&mut file, 2).unwrap(), 4);
        assert_eq!(tail_offset(&mut file, 9).unwrap(), 0);
        assert_eq!(tail_offset(&mut file, 0).unwrap(), 14);
        fs::remove_file(path).unwrap();
    }

    #[test]
    fn lines() {
        let line = b"2026-01-01T00:00:00.5Z stdout F hello world";
        let shown = render(line, &Options::default()).unwrap();
        assert_eq!(shown, (None, &b"hello world"[..], true));
        let since = Some("2027-01-01T00:00:00Z".parse().unwrap());
        assert!(render(line, &Options { since, ..Options::default() }).is_none());
    }
}
