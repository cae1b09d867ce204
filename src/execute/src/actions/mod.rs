//! What each kind of step does. Each answers with one line per change that was really made.

mod apply;
mod certificates;
mod drain;
mod etcd;
pub(crate) mod exchange;
pub(crate) mod hook;
mod identity;
mod labels;
mod manifest;
mod node;
mod upload;
mod wait;

use naru_agent::{Request, Response};
use naru_observe::AgentError;
use naru_plan::{Action, Step};

use crate::world::{World, permanent, unexpected};

type Lines = Result<Vec<String>, AgentError>;

impl World<'_> {
    /// Does a step; it may have been begun before by a run that was cut off, and done wholly or in part.
    pub(crate) async fn perform(&self, step: &Step) -> Lines {
        match &step.action {
            Action::MakeMachine => Err(permanent(format!("machine {} has to be made first", step.host))),
            Action::Hook { hook } => self.hook(step, hook).await,
            Action::Upload { artifacts, neighbours } => self.upload(step, artifacts, neighbours).await,
            Action::Apply { resources, revert_after_seconds } => {
                self.apply(step, resources, *revert_after_seconds).await
            }
            Action::Certificates { certificates, authority_host, authority_key_path } => {
                self.certificates(&step.host, certificates, authority_host, authority_key_path).await
            }
            Action::CopyIdentity { from, paths } => self.copy_identity(&step.host, from, paths).await,
            Action::WaitForApi => self.wait_for_api(step).await,
            Action::WaitForNode { control_planes } => self.wait_for_node(step, control_planes).await,
            Action::Label { control_planes, change } => self.label(control_planes, &step.host, change).await,
            Action::Cordon { control_planes } => self.set_unschedulable(control_planes, &step.host, true).await,
            Action::Drain { control_planes, timeout_seconds } => {
                self.drain(step, control_planes, *timeout_seconds).await
            }
            Action::Uncordon { control_planes } => self.set_unschedulable(control_planes, &step.host, false).await,
            Action::DeleteNode { control_planes } => self.delete_node(control_planes, &step.host).await,
            Action::Reset => self.reset(&step.host).await,
            Action::EtcdAdd { members, peer_url } => self.etcd_add(&step.host, members, peer_url).await,
            Action::EtcdPromote { members } => self.etcd_promote(&step.host, members).await,
            Action::EtcdMoveLeader { to } => self.etcd_move_leader(&step.host, to).await,
            Action::EtcdRemove { members } => self.etcd_remove(&step.host, members).await,
            Action::Manifest { control_planes, index } => self.manifest(control_planes, *index).await,
        }
    }

    async fn reset(&self, host: &str) -> Lines {
        match self.call(host, Request::Reset).await? {
            Response::Done => Ok(Vec::new()),
            Response::Changes { changes, .. } => Ok(changes.into_iter().map(|change| change.summary).collect()),
            _ => Err(unexpected(host, "a reset")),
        }
    }
}
