//! The container runtime over its CRI v1 socket: one thin, bounded function per call.

use std::path::{Path, PathBuf};
use std::time::Duration;

use hyper_util::rt::TokioIo;
use k8s_cri::v1 as cri;
use k8s_cri::v1::image_service_client::ImageServiceClient;
use k8s_cri::v1::runtime_service_client::RuntimeServiceClient;
use tokio::net::UnixStream;
use tonic::transport::{Channel, Endpoint, Uri};

const STATUS_TIMEOUT: Duration = Duration::from_secs(10);
const PULL_TIMEOUT: Duration = Duration::from_secs(15 * 60);
/// Beyond the grace period, for the runtime's own work of stopping.
const STOP_MARGIN: Duration = Duration::from_secs(60);
/// A list of all containers of a full node is far below this.
const MESSAGE_LIMIT_BYTES: usize = 16 << 20;

pub(crate) const POD_NAME_LABEL: &str = "io.kubernetes.pod.name";
pub(crate) const POD_NAMESPACE_LABEL: &str = "io.kubernetes.pod.namespace";
pub(crate) const POD_UID_LABEL: &str = "io.kubernetes.pod.uid";
pub(crate) const CONTAINER_NAME_LABEL: &str = "io.kubernetes.container.name";

#[derive(Debug, thiserror::Error)]
pub enum CriError {
    #[error("runtime call {call} failed: {message}")]
    Call { call: &'static str, code: tonic::Code, message: String },
    #[error("runtime call {call} did not answer within {seconds} s")]
    Timeout { call: &'static str, seconds: u64 },
    #[error("runtime call {call} answered without {missing}")]
    Incomplete { call: &'static str, missing: &'static str },
}

impl CriError {
    pub(crate) fn is_not_found(&self) -> bool {
        matches!(self, CriError::Call { code: tonic::Code::NotFound, .. })
    }

    pub(crate) fn is_unimplemented(&self) -> bool {
        matches!(self, CriError::Call { code: tonic::Code::Unimplemented, .. })
    }

    /// The runtime's own words, for events and status messages.
    pub(crate) fn message(&self) -> String {
        match self {
            CriError::Call { message, .. } => message.clone(),
            other => other.to_string(),
        }
    }
}

type Answer<T> = Result<tonic::Response<T>, tonic::Status>;

async fn bounded<T>(
    call: &'static str,
    timeout: Duration,
    request: impl Future<Output = Answer<T>>,
) -> Result<T, CriError> {
    match tokio::time::timeout(timeout, request).await {
        Ok(Ok(response)) => Ok(response.into_inner()),
        Ok(Err(status)) => Err(CriError::Call { call, code: status.code(), message: status.message().to_owned() }),
        Err(_) => Err(CriError::Timeout { call, seconds: timeout.as_secs() }),
    }
}

fn gone_is_fine<T: Default>(result: Result<T, CriError>) -> Result<(), CriError> {
    match result {
        Err(error) if !error.is_not_found() => Err(error),
        _ => Ok(()),
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Runtime {
    runtime: RuntimeServiceClient<Channel>,
    images: ImageServiceClient<Channel>,
    /// Of ordinary calls; upstream's runtimeRequestTimeout.
    call_timeout: Duration,
}

impl Runtime {
    /// Never fails: the socket is dialled on first use and again after the runtime restarts.
    pub(crate) fn new(socket: &Path, call_timeout: Duration) -> Self {
        let socket: PathBuf = socket.to_owned();
        let connector = tower::service_fn(move |_: Uri| {
            let socket = socket.clone();
            async move { UnixStream::connect(socket).await.map(TokioIo::new) }
        });
        let channel = Endpoint::from_static("http://runtime").connect_with_connector_lazy(connector);
        Self {
            runtime: RuntimeServiceClient::new(channel.clone()).max_decoding_message_size(MESSAGE_LIMIT_BYTES),
            images: ImageServiceClient::new(channel).max_decoding_message_size(MESSAGE_LIMIT_BYTES),
            call_timeout,
        }
    }

    pub(crate) async fn version(&self) -> Result<cri::VersionResponse, CriError> {
        let request = cri::VersionRequest { version: "v1".into() };
        bounded("Version", STATUS_TIMEOUT, self.runtime.clone().version(request)).await
    }

    pub(crate) async fn status(&self) -> Result<cri::RuntimeStatus, CriError> {
        let request = cri::StatusRequest { verbose: false };
        let answer = bounded("Status", STATUS_TIMEOUT, self.runtime.clone().status(request)).await?;
        answer.status.ok_or(CriError::Incomplete { call: "Status", missing: "status" })
    }

    pub(crate) async fn events(&self) -> Result<tonic::Streaming<cri::ContainerEventResponse>, CriError> {
        let request = cri::GetEventsRequest {};
        bounded("GetContainerEvents", STATUS_TIMEOUT, self.runtime.clone().get_container_events(request)).await
    }

    pub(crate) async fn run_sandbox(&self, config: cri::PodSandboxConfig, handler: &str) -> Result<String, CriError> {
        let request = cri::RunPodSandboxRequest { config: Some(config), runtime_handler: handler.into() };
        Ok(bounded("RunPodSandbox", self.call_timeout, self.runtime.clone().run_pod_sandbox(request))
            .await?
            .pod_sandbox_id)
    }

    pub(crate) async fn stop_sandbox(&self, id: &str) -> Result<(), CriError> {
        let request = cri::StopPodSandboxRequest { pod_sandbox_id: id.into() };
        gone_is_fine(bounded("StopPodSandbox", self.call_timeout, self.runtime.clone().stop_pod_sandbox(request)).await)
    }

    pub(crate) async fn remove_sandbox(&self, id: &str) -> Result<(), CriError> {
        let request = cri::RemovePodSandboxRequest { pod_sandbox_id: id.into() };
        gone_is_fine(
            bounded("RemovePodSandbox", self.call_timeout, self.runtime.clone().remove_pod_sandbox(request)).await,
        )
    }

    pub(crate) async fn sandbox_status(&self, id: &str) -> Result<cri::PodSandboxStatus, CriError> {
        let request = cri::PodSandboxStatusRequest { pod_sandbox_id: id.into(), verbose: false };
        let answer =
            bounded("PodSandboxStatus", STATUS_TIMEOUT, self.runtime.clone().pod_sandbox_status(request)).await?;
        answer.status.ok_or(CriError::Incomplete { call: "PodSandboxStatus", missing: "status" })
    }

    /// All sandboxes, or those of one pod.
    pub(crate) async fn sandboxes(&self, pod_uid: Option<&str>) -> Result<Vec<cri::PodSandbox>, CriError> {
        let filter = pod_uid.map(|uid| cri::PodSandboxFilter {
            label_selector: [(POD_UID_LABEL.to_owned(), uid.to_owned())].into(),
            ..Default::default()
        });
        let request = cri::ListPodSandboxRequest { filter };
        Ok(bounded("ListPodSandbox", STATUS_TIMEOUT, self.runtime.clone().list_pod_sandbox(request)).await?.items)
    }

    /// All containers, or those of one pod.
    pub(crate) async fn containers(&self, pod_uid: Option<&str>) -> Result<Vec<cri::Container>, CriError> {
        let filter = pod_uid.map(|uid| cri::ContainerFilter {
            label_selector: [(POD_UID_LABEL.to_owned(), uid.to_owned())].into(),
            ..Default::default()
        });
        let request = cri::ListContainersRequest { filter };
        Ok(bounded("ListContainers", STATUS_TIMEOUT, self.runtime.clone().list_containers(request)).await?.containers)
    }

    pub(crate) async fn container_status(&self, id: &str) -> Result<cri::ContainerStatus, CriError> {
        let request = cri::ContainerStatusRequest { container_id: id.into(), verbose: false };
        let answer = bounded("ContainerStatus", STATUS_TIMEOUT, self.runtime.clone().container_status(request)).await?;
        answer.status.ok_or(CriError::Incomplete { call: "ContainerStatus", missing: "status" })
    }

    pub(crate) async fn create_container(
        &self,
        sandbox_id: &str,
        config: cri::ContainerConfig,
        sandbox_config: cri::PodSandboxConfig,
    ) -> Result<String, CriError> {
        let request = cri::CreateContainerRequest {
            pod_sandbox_id: sandbox_id.into(),
            config: Some(config),
            sandbox_config: Some(sandbox_config),
        };
        Ok(bounded("CreateContainer", self.call_timeout, self.runtime.clone().create_container(request))
            .await?
            .container_id)
    }

    pub(crate) async fn start_container(&self, id: &str) -> Result<(), CriError> {
        let request = cri::StartContainerRequest { container_id: id.into() };
        bounded("StartContainer", self.call_timeout, self.runtime.clone().start_container(request)).await.map(drop)
    }

    pub(crate) async fn stop_container(&self, id: &str, grace: Duration) -> Result<(), CriError> {
        let timeout = i64::try_from(grace.as_secs()).unwrap_or(i64::MAX);
        let request = cri::StopContainerRequest { container_id: id.into(), timeout };
        let limit = grace.saturating_add(STOP_MARGIN);
        gone_is_fine(bounded("StopContainer", limit, self.runtime.clone().stop_container(request)).await)
    }

    pub(crate) async fn remove_container(&self, id: &str) -> Result<(), CriError> {
        let request = cri::RemoveContainerRequest { container_id: id.into() };
        gone_is_fine(
            bounded("RemoveContainer", self.call_timeout, self.runtime.clone().remove_container(request)).await,
        )
    }

    pub(crate) async fn exec_sync(
        &self,
        id: &str,
        command: &[String],
        timeout: Duration,
    ) -> Result<cri::ExecSyncResponse, CriError> {
        let seconds = i64::try_from(timeout.as_secs().max(1)).unwrap_or(i64::MAX);
        let request = cri::ExecSyncRequest { container_id: id.into(), cmd: command.to_vec(), timeout: seconds };
        let limit = timeout.saturating_add(STATUS_TIMEOUT);
        bounded("ExecSync", limit, self.runtime.clone().exec_sync(request)).await
    }

    pub(crate) async fn exec_url(&self, request: cri::ExecRequest) -> Result<String, CriError> {
        Ok(bounded("Exec", STATUS_TIMEOUT, self.runtime.clone().exec(request)).await?.url)
    }

    pub(crate) async fn attach_url(&self, request: cri::AttachRequest) -> Result<String, CriError> {
        Ok(bounded("Attach", STATUS_TIMEOUT, self.runtime.clone().attach(request)).await?.url)
    }

    pub(crate) async fn port_forward_url(&self, sandbox_id: &str) -> Result<String, CriError> {
        let request = cri::PortForwardRequest { pod_sandbox_id: sandbox_id.into(), port: Vec::new() };
        Ok(bounded("PortForward", STATUS_TIMEOUT, self.runtime.clone().port_forward(request)).await?.url)
    }

    pub(crate) async fn reopen_log(&self, id: &str) -> Result<(), CriError> {
        let request = cri::ReopenContainerLogRequest { container_id: id.into() };
        bounded("ReopenContainerLog", STATUS_TIMEOUT, self.runtime.clone().reopen_container_log(request))
            .await
            .map(drop)
    }

    /// `None` if the runtime does not have the image.
    pub(crate) async fn image(&self, reference: &str) -> Result<Option<cri::Image>, CriError> {
        let image = Some(cri::ImageSpec { image: reference.into(), ..Default::default() });
        let request = cri::ImageStatusRequest { image, verbose: false };
        Ok(bounded("ImageStatus", STATUS_TIMEOUT, self.images.clone().image_status(request)).await?.image)
    }

    pub(crate) async fn images(&self) -> Result<Vec<cri::Image>, CriError> {
        let request = cri::ListImagesRequest { filter: None };
        Ok(bounded("ListImages", STATUS_TIMEOUT, self.images.clone().list_images(request)).await?.images)
    }

    pub(crate) async fn pull(&self, reference: &str, auth: Option<cri::AuthConfig>) -> Result<String, CriError> {
        let image = Some(cri::ImageSpec { image: reference.into(), ..Default::default() });
        let request = cri::PullImageRequest { image, auth, sandbox_config: None };
        Ok(bounded("PullImage", PULL_TIMEOUT, self.images.clone().pull_image(request)).await?.image_ref)
    }
}
