//! What every step may need: the way to agents, and to whichever control plane answers.

use std::sync::Arc;

use naru_agent::{ApiRequest, ApiResponse, Failure, FailureKind, Request, Response};
use naru_inventory::{Host, Inventory};
use naru_observe::{AgentError, Fleet, HostAgent, api_call};
use naru_plan::Plan;
use parking_lot::Mutex;

use crate::actions::exchange::Exchange;
use crate::{Commands, Event, Executor, ProgramFiles, Sink};

const API_TIMEOUT_MS: u64 = 10_000;
/// Lines of a unit's journal that go with a failure.
const LOG_LINES: u32 = 20;

pub(crate) struct World<'a> {
    pub(crate) inventory: &'a Inventory,
    pub(crate) fleet: &'a dyn Fleet,
    pub(crate) programs: &'a ProgramFiles,
    pub(crate) sink: &'a dyn Sink,
    pub(crate) commands: &'a dyn Commands,
    /// What the plan says users will miss.
    pub(crate) unavailable: &'a [String],
    pub(crate) exchange: Exchange,
    /// The control plane that answered last; asked first, so that a dead one is not waited for each time.
    answered_last: Mutex<Option<String>>,
}

impl<'a> World<'a> {
    pub(crate) fn new(executor: &Executor<'a>, plan: &'a Plan) -> Self {
        Self {
            inventory: &plan.inventory,
            fleet: executor.fleet,
            programs: executor.programs,
            sink: executor.sink,
            commands: executor.commands,
            unavailable: &plan.unavailable,
            exchange: Exchange::new(plan, executor.limits.uploads),
            answered_last: Mutex::new(None),
        }
    }

    pub(crate) fn host(&self, name: &str) -> Result<&'a Host, AgentError> {
        self.inventory.host(name).ok_or_else(|| permanent(format!("{name} is not a host of the inventory")))
    }

    pub(crate) async fn agent(&self, name: &str) -> Result<Arc<dyn HostAgent>, AgentError> {
        let host = self.host(name)?;
        let connected = self.fleet.connect(host).await;
        connected.map_err(|problem| AgentError::Connect { host: name.to_owned(), problem })
    }

    pub(crate) async fn call(&self, host: &str, request: Request) -> Result<Response, AgentError> {
        self.agent(host).await?.call(request).await
    }

    pub(crate) fn remark(&self, text: String) {
        self.sink.event(&Event::Remark { text });
    }

    /// Asks the first of these hosts that answers; what it answers is the answer, unless it is that it cannot.
    pub(crate) async fn first_answer(&self, hosts: &[String], request: &Request) -> Result<Response, AgentError> {
        let last = self.answered_last.lock().clone();
        let favourite = hosts.iter().filter(|host| Some(*host) == last.as_ref());
        let others = hosts.iter().filter(|host| Some(*host) != last.as_ref());
        let mut why = permanent("the plan names no control plane to ask".to_owned());
        let mut silent = None;
        for host in favourite.chain(others) {
            match self.call(host, request.clone()).await {
                // One that is just starting or ending: another one may do better.
                Ok(Response::Api(answer)) if answer.status >= 500 => silent = Some(Response::Api(answer)),
                Ok(response) => {
                    *self.answered_last.lock() = Some(host.clone());
                    return Ok(response);
                }
                Err(error) => {
                    if error.breaks_connection() {
                        self.fleet.forget(error.host().unwrap_or(host)).await;
                    }
                    why = error;
                }
            }
        }
        silent.ok_or(why)
    }

    pub(crate) async fn api(&self, hosts: &[String], request: ApiRequest) -> Result<ApiResponse, AgentError> {
        match self.first_answer(hosts, &Request::Api(request)).await? {
            Response::Api(answer) => Ok(answer),
            _ => Err(unexpected(hosts.first().map_or("", String::as_str), "an API call")),
        }
    }

    pub(crate) async fn api_of(&self, host: &str, request: ApiRequest) -> Result<ApiResponse, AgentError> {
        api_call(self.agent(host).await?.as_ref(), host, request).await
    }

    /// A failure with the last lines of the program that should have done better.
    pub(crate) async fn with_log(&self, host: &str, unit: &str, message: String) -> AgentError {
        let request = Request::UnitLog { unit: unit.to_owned(), lines: LOG_LINES };
        let lines = match self.call(host, request).await {
            Ok(Response::Log { lines }) => lines,
            _ => Vec::new(),
        };
        AgentError::Failed(Failure {
            kind: FailureKind::Permanent,
            message,
            detail: (!lines.is_empty()).then(|| lines.join("\n")),
            hint: Some(format!("naru logs {host} --unit {unit}")),
        })
    }
}

pub(crate) fn get(path: &str) -> ApiRequest {
    api_request("GET", path, "", String::new())
}

pub(crate) fn merge_patch(path: &str, patch: &serde_json::Value) -> ApiRequest {
    api_request("PATCH", path, "application/merge-patch+json", patch.to_string())
}

pub(crate) fn api_request(method: &str, path: &str, content_type: &str, body: String) -> ApiRequest {
    ApiRequest {
        method: method.to_owned(),
        path: path.to_owned(),
        content_type: content_type.to_owned(),
        body,
        timeout_ms: API_TIMEOUT_MS,
    }
}

/// What the API server said no with.
pub(crate) fn refused(what: &str, answer: &ApiResponse) -> AgentError {
    AgentError::Failed(Failure {
        kind: if matches!(answer.status, 404 | 409 | 429 | 500..) {
            FailureKind::Transient
        } else {
            FailureKind::Permanent
        },
        message: format!("the API server did not {what} (HTTP {})", answer.status),
        detail: Some(status_message(&answer.body)).filter(|message| !message.is_empty()),
        hint: None,
    })
}

/// The message of a Status object, or the first line of whatever it is.
pub(crate) fn status_message(body: &str) -> String {
    let status = serde_json::from_str::<serde_json::Value>(body).unwrap_or_default();
    match status["message"].as_str() {
        Some(message) => message.to_owned(),
        None => body.lines().next().unwrap_or_default().to_owned(),
    }
}

pub(crate) fn unexpected(host: &str, request: &'static str) -> AgentError {
    AgentError::Unexpected { host: host.to_owned(), request }
}

pub(crate) fn permanent(message: String) -> AgentError {
    failed(FailureKind::Permanent, message, None)
}

pub(crate) fn failed(kind: FailureKind, message: String, detail: Option<String>) -> AgentError {
    AgentError::Failed(Failure { kind, message, detail, hint: None })
}
