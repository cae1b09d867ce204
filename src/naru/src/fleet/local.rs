//! `connection: local`: the agent in this process, for the machine that `naru` runs on.

use futures::future::BoxFuture;
use naru_agent::{Host, Stop, serve};
use naru_observe::AgentError;

use super::agent::{Line, Reader, Writer};

/// Room between both ends of a stream.
const PIPE_BYTES: usize = 256 * 1024;

pub(super) struct LocalLine {
    pub(super) host: Host,
}

impl Line for LocalLine {
    fn open(&self) -> BoxFuture<'_, Result<(Reader, Writer), AgentError>> {
        let host = self.host.clone();
        Box::pin(async move {
            let (near, far) = tokio::io::duplex(PIPE_BYTES);
            let (far_reader, far_writer) = tokio::io::split(far);
            // It ends with the near end of the stream.
            tokio::spawn(async move {
                if let Err(error) = serve(far_reader, far_writer, host, Stop::default()).await {
                    tracing::debug!(%error, "the local agent's stream broke");
                }
            });
            let (reader, writer) = tokio::io::split(near);
            Ok((Box::new(reader) as Reader, Box::new(writer) as Writer))
        })
    }
}

#[cfg(test)]
mod tests {
    use naru_agent::{Request, Response};
    use naru_observe::HostAgent;
    use naru_resources::Resource;

    use super::super::agent::StreamAgent;
    use super::*;

    fn agent(root: &std::path::Path) -> StreamAgent {
        StreamAgent::new("here", Box::new(LocalLine { host: Host::rooted(root) }))
    }

    #[tokio::test]
    async fn checks_applies_and_finds_nothing_more() {
        let folder = tempfile::tempdir().unwrap();
        let agent = agent(folder.path());
        let resources = vec![Resource::Directory { path: "/etc/naru".to_owned(), mode: 0o755 }];
        for (verb, expected) in [(0, 1), (1, 1), (0, 0)] {
            let resources = resources.clone();
            let request = if verb == 0 { Request::Check { resources } } else { Request::Apply { resources } };
            let Response::Changes { changes } = agent.call(request).await.unwrap() else { panic!() };
            assert_eq!(changes.len(), expected);
        }
        assert!(folder.path().join("etc/naru").is_dir());
    }

    #[tokio::test]
    async fn uploads_and_keeps_the_lock_over_a_reset() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("program");
        fs_err::write(&file, "program").unwrap();
        let (sha256, _) = crate::artifacts::hash_file(&file).unwrap();
        let (first, second) = (agent(folder.path()), agent(folder.path()));
        let lock = |owner: &str| Request::Lock { owner: owner.to_owned() };
        assert_eq!(first.call(lock("first")).await.unwrap(), Response::Done);
        first.upload(&sha256, &file, &|_| {}).await.unwrap();
        let missing = first.call(Request::MissingArtifacts { sha256: vec![sha256] }).await.unwrap();
        assert_eq!(missing, Response::MissingArtifacts { sha256: vec![] });
        assert!(second.call(lock("second")).await.unwrap_err().to_string().contains("first"));
        first.reset();
        // The next change opens a new stream and takes the lock before anything else. Until the old agent has seen
        // its end that fails for a moment, as something that passes.
        let apply = || Request::Apply { resources: vec![] };
        let mut result = first.call(apply()).await;
        for _ in 0..50 {
            match &result {
                Err(error) if error.is_transient() => {
                    tokio::time::sleep(std::time::Duration::from_millis(20)).await;
                    result = first.call(apply()).await;
                }
                _ => break,
            }
        }
        result.unwrap();
        assert!(second.call(lock("second")).await.is_err());
    }
}
