//! The container runtime over its CRI v1 socket: what a diagnosis asks and a reset needs.

use std::path::PathBuf;
use std::time::Duration;

use hyper_util::rt::TokioIo;
use k8s_cri::v1 as cri;
use k8s_cri::v1::runtime_service_client::RuntimeServiceClient;
use naru_resources::Host;
use tokio::net::UnixStream;
use tokio::time::timeout;
use tonic::transport::{Channel, Endpoint, Uri};

const SOCKET: &str = "/run/containerd/containerd.sock";
const ASK_DEADLINE: Duration = Duration::from_secs(10);
/// Stopping gives processes no time of grace: what they serve is being taken away.
const STOP_DEADLINE: Duration = Duration::from_secs(60);
const MESSAGE_LIMIT_BYTES: usize = 16 << 20;

/// One pod's sandbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Sandbox {
    pub(crate) id: String,
    /// `namespace/name`.
    pub(crate) pod: String,
}

pub(crate) struct Runtime {
    client: RuntimeServiceClient<Channel>,
}

impl Runtime {
    /// `None`: there is no socket, so there is no runtime.
    pub(crate) fn of(host: &Host) -> Option<Self> {
        let socket: PathBuf = host.path(SOCKET);
        if !socket.exists() {
            return None;
        }
        let connector = tower::service_fn(move |_: Uri| {
            let socket = socket.clone();
            async move { UnixStream::connect(socket).await.map(TokioIo::new) }
        });
        let channel = Endpoint::from_static("http://runtime").connect_with_connector_lazy(connector);
        Some(Self { client: RuntimeServiceClient::new(channel).max_decoding_message_size(MESSAGE_LIMIT_BYTES) })
    }

    /// Name and version, and what the runtime says is not ready.
    pub(crate) async fn status(&mut self) -> Result<(String, Vec<String>), String> {
        let version = cri::VersionRequest { version: "v1".to_owned() };
        let version = bounded(ASK_DEADLINE, self.client.version(version)).await?;
        let status = bounded(ASK_DEADLINE, self.client.status(cri::StatusRequest { verbose: false })).await?;
        let conditions = status.status.map(|status| status.conditions).unwrap_or_default();
        let not_ready = conditions.into_iter().filter(|condition| !condition.status);
        let words = not_ready.map(|condition| format!("{}: {}", condition.r#type, condition.message));
        Ok((format!("{} {}", version.runtime_name, version.runtime_version), words.collect()))
    }

    pub(crate) async fn sandboxes(&mut self) -> Result<Vec<Sandbox>, String> {
        let list = self.client.list_pod_sandbox(cri::ListPodSandboxRequest { filter: None });
        let sandbox = |item: cri::PodSandbox| {
            let pod = item.metadata.map(|metadata| format!("{}/{}", metadata.namespace, metadata.name));
            Sandbox { id: item.id, pod: pod.unwrap_or_default() }
        };
        Ok(bounded(ASK_DEADLINE, list).await?.items.into_iter().map(sandbox).collect())
    }

    /// Containers and network of the sandbox included; one that is gone already is fine.
    pub(crate) async fn remove(&mut self, sandbox: &Sandbox) -> Result<(), String> {
        let stop = cri::StopPodSandboxRequest { pod_sandbox_id: sandbox.id.clone() };
        // Removing does it by force where stopping failed.
        if let Err(error) = bounded(STOP_DEADLINE, self.client.stop_pod_sandbox(stop)).await {
            tracing::warn!(pod = sandbox.pod, error, "a pod could not be stopped");
        }
        let remove = cri::RemovePodSandboxRequest { pod_sandbox_id: sandbox.id.clone() };
        bounded(STOP_DEADLINE, self.client.remove_pod_sandbox(remove)).await.map(drop)
    }
}

async fn bounded<T>(
    deadline: Duration,
    call: impl Future<Output = Result<tonic::Response<T>, tonic::Status>>,
) -> Result<T, String> {
    match timeout(deadline, call).await {
        Ok(Ok(response)) => Ok(response.into_inner()),
        Ok(Err(status)) => Err(status.message().to_owned()),
        Err(_) => Err(format!("no answer within {} s", deadline.as_secs())),
    }
}
