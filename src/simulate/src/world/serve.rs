//! The agent's side of one request: what `naru-agent` does on a real host, in small steps with time between them.

use std::sync::Arc;
use std::time::Duration;

use naru_agent::{ApiRequest, Failure, FailureKind, MissingArtifact, Request, Response, Target};
use naru_resources::{Certificate, Change, Pending, Resource};
use tokio::time::sleep;

use super::etcd::ETCD_UNIT;
use super::settle::CONTROL_PLANE_UNIT;
use super::{Passage, Sealed, State, World, hooks};
use crate::machine::{Body, Machine, Micro};

const FACTS_MS: u64 = 30;
const CHECK_MS: u64 = 40;
const KEY_MS: u64 = 15;
const API_MS: u64 = 5;
const FIRST_PORT: u16 = 40_000;
const LOG_LINES: usize = 3;

/// The answer, or nothing when the process died over it.
pub(crate) async fn serve(world: Arc<World>, session: u64, request: Request) -> Option<Response> {
    let is_there = world.with(|state| {
        state.requests += 1;
        let is_alive = state.is_alive(session);
        state.sessions.get_mut(&session).filter(|_| is_alive).map(|session| session.is_busy = true).is_some()
    });
    if !is_there {
        return None;
    }
    let answer = Agent { world: &world, session }.answer(request).await;
    world.with(|state| {
        let was_alive = state.is_alive(session);
        if let Some(session) = state.sessions.get_mut(&session) {
            session.is_busy = false;
        }
        state.sweep_sessions();
        was_alive.then(|| answer.unwrap_or_else(Response::Failed))
    })
}

pub(super) struct Agent<'a> {
    pub(super) world: &'a Arc<World>,
    pub(super) session: u64,
}

impl Agent<'_> {
    async fn answer(&self, request: Request) -> Result<Response, Failure> {
        let id = self.session;
        match request {
            Request::Facts => {
                sleep(Duration::from_millis(FACTS_MS)).await;
                let facts = self.world.with(|state| state.facts(&state.sessions[&id].host));
                Ok(Response::Facts(Box::new(facts)))
            }
            Request::Check { resources } => {
                sleep(Duration::from_millis(self.slowed(CHECK_MS))).await;
                self.machine(|machine| machine.check_all(&resources)).map(Response::Checked)
            }
            Request::Apply { resources, revert_after_seconds } => self.apply(&resources, revert_after_seconds).await,
            Request::Confirm { confirmation } => self.confirm(&confirmation),
            Request::MissingArtifacts { sha256 } => Ok(Response::MissingArtifacts { missing: self.missing(&sha256) }),
            Request::Upload { .. } => Err(refused("an upload is no call")),
            Request::ServeArtifacts { sha256 } => self.serve_artifacts(sha256),
            Request::FetchArtifact { sha256, size_bytes, urls, deadline_ms } => {
                self.fetch(&sha256, size_bytes, &urls, deadline_ms).await
            }
            Request::SigningRequest { certificate } => {
                sleep(Duration::from_millis(self.slowed(KEY_MS))).await;
                self.changing(|state, host| {
                    state.check_change(id, "a key");
                    machine(state, host).map(|machine| machine.signing_request(&certificate))
                })?
                .map(|pem| Response::SigningRequest { pem })
            }
            Request::Sign { signing_request_pem, certificate, authority_key_path } => {
                sleep(Duration::from_millis(KEY_MS)).await;
                let sign = |machine: &Machine| machine.sign(&signing_request_pem, &certificate, &authority_key_path);
                let (certificate_pem, authority_pem) = self.machine(sign)?;
                Ok(Response::Signed { certificate_pem, authority_pem })
            }
            Request::InstallCertificate { certificate, certificate_pem, authority_pem } => {
                self.install(&certificate, &certificate_pem, &authority_pem).await
            }
            Request::Api(request) => self.api(&request).await,
            Request::Lock { owner } => {
                self.world.with(|state| state.lock_host(id, &owner)).map(|fence| Response::Locked { fence })
            }
            Request::Fence { fence } => self.world.with(|state| state.raise_fence(id, fence)).map(|()| Response::Done),
            Request::UnitLog { unit, .. } => {
                Ok(Response::Log { lines: (1..=LOG_LINES).map(|line| format!("{unit}: line {line}")).collect() })
            }
            Request::Listen { ports } => Ok(self.listen(ports)),
            Request::Probe { reach, resolve, .. } => Ok(self.probe(&reach, resolve.len())),
            Request::Run { command, deadline_ms, .. } => self.run(&command, deadline_ms).await,
            Request::Etcd(request) => {
                sleep(Duration::from_millis(API_MS)).await;
                let is_question = matches!(request, naru_agent::EtcdRequest::Members);
                self.world.with(|state| {
                    let host = state.sessions[&id].host.clone();
                    if !is_question {
                        state.may_change(id)?;
                    }
                    state.etcd_request(&host, &request)
                })
            }
            Request::Diagnose => Ok(Response::Diagnosis { links: Vec::new() }),
            Request::Reset => self.reset().await,
            Request::ReceiveIdentity => Ok(Response::Recipient { recipient: id.to_string() }),
            Request::SealIdentity { paths, recipient } => self.seal(&paths, &recipient),
            Request::InstallIdentity { sealed } => self.install_identity(&sealed).await,
        }
    }

    /// Looks at the host.
    fn machine<T>(&self, look: impl FnOnce(&Machine) -> T) -> T {
        self.world.with(|state| look(&state.machines[&state.sessions[&self.session].host]))
    }

    /// Changes the host, if this session still may.
    pub(super) fn changing<T>(&self, work: impl FnOnce(&mut State, &str) -> T) -> Result<T, Failure> {
        self.world.with(|state| {
            if !state.is_alive(self.session) {
                return Err(refused("the agent has died"));
            }
            state.may_change(self.session)?;
            let host = state.sessions[&self.session].host.clone();
            state.changes += 1;
            Ok(work(state, &host))
        })
    }

    pub(super) fn slowed(&self, duration_ms: u64) -> u64 {
        self.world.with(|state| {
            let host = &state.sessions[&self.session].host;
            duration_ms.saturating_mul(state.slow_disks.get(host).copied().unwrap_or(1))
        })
    }

    fn missing(&self, wanted: &[String]) -> Vec<MissingArtifact> {
        self.machine(|machine| {
            let missing = wanted.iter().filter(|sha256| !machine.artifacts.contains_key(*sha256));
            let have = |sha256: &String| machine.partial.get(sha256).map_or(0, |partial| partial.have_bytes);
            missing.map(|sha256| MissingArtifact { sha256: sha256.clone(), have_bytes: have(sha256) }).collect()
        })
    }

    async fn apply(&self, resources: &[Resource], revert_after_seconds: Option<u32>) -> Result<Response, Failure> {
        let before = self.world.with(|state| state.machines[&state.sessions[&self.session].host].clone());
        let mut changes: Vec<Change> = Vec::new();
        for (index, resource) in resources.iter().enumerate() {
            let found = self.machine(|machine| machine.check(resource, &Pending::default()))?;
            if let Some(change) = found {
                if self.world.with(|state| state.is_told_to_stop(self.session)) {
                    let message = format!("stopped before `{}`: the connection to naru ended", change.summary);
                    return Err(Failure { kind: FailureKind::Transient, ..refused(&message) });
                }
                let micros = self.changing(|state, host| {
                    state.check_change(self.session, &change.summary);
                    let machine = machine(state, host)?;
                    let micros = machine.micros(resource)?;
                    machine.announce(resource);
                    machine.note_restarts(resource, &resources[index + 1..]);
                    Ok::<_, Failure>(micros)
                })??;
                for micro in micros {
                    self.perform(&micro).await.map_err(|failure| with_done(failure, &changes))?;
                }
                changes.push(Change { resource: index, ..change });
            }
            self.world.with(|state| {
                let host = state.sessions[&self.session].host.clone();
                if state.is_alive(self.session) {
                    machine(state, &host).map(|machine| machine.record(resource))?;
                }
                Ok::<(), Failure>(())
            })?;
        }
        let confirmation = revert_after_seconds.filter(|_| !changes.is_empty()).map(|seconds| {
            let id = format!("confirm-{}", self.session);
            tokio::spawn(revert_later(self.world.clone(), self.session, id.clone(), before, seconds));
            id
        });
        Ok(Response::Changes { changes, confirmation })
    }

    /// One small change: takes its time, and may be hit.
    pub(super) async fn perform(&self, micro: &Micro) -> Result<(), Failure> {
        sleep(Duration::from_millis(self.slowed(micro.duration_ms()))).await;
        let (operator, host) = self.world.with(|state| {
            let session = &state.sessions[&self.session];
            (session.operator, session.host.clone())
        });
        let passage = self.world.pass(operator, &host);
        if let Passage::Hit(crate::fault::FaultKind::Fail { is_transient }) = passage {
            return Err(wished(is_transient));
        }
        self.changing(|state, host| {
            state.check_micro(self.session, micro);
            state.note(|| format!("{host}: {}", shown(micro)));
            machine(state, host)?.perform(micro)?;
            state.after(host, micro)
        })?
    }

    fn confirm(&self, confirmation: &str) -> Result<Response, Failure> {
        self.world.with(|state| {
            let host = state.sessions[&self.session].host.clone();
            state.note(|| format!("{host}: {confirmation} is confirmed"));
            state.confirmed.insert(confirmation.to_owned());
        });
        Ok(Response::Done)
    }

    async fn install(
        &self,
        certificate: &Certificate,
        certificate_pem: &str,
        authority_pem: &str,
    ) -> Result<Response, Failure> {
        let files = self.machine(|machine| machine.certificate_files(certificate, certificate_pem, authority_pem))?;
        self.changing(|state, _| state.check_change(self.session, &certificate.certificate_path))?;
        for (path, body) in files {
            self.perform(&Micro::Put { path, body, mode: 0o644 }).await?;
        }
        self.changing(|state, host| machine(state, host).map(|machine| machine.record_certificate(certificate)))??;
        Ok(Response::Done)
    }

    async fn api(&self, request: &ApiRequest) -> Result<Response, Failure> {
        sleep(Duration::from_millis(API_MS)).await;
        let is_question = request.method == "GET";
        self.world.with(|state| {
            let host = state.sessions[&self.session].host.clone();
            if !is_question {
                state.may_change(self.session)?;
                state.changes += 1;
                state.check_holder(self.session, &request.path);
                state.check_cordon(self.session, request);
                state.note(|| format!("api at {host}: {} {}", request.method, request.path));
            }
            let silent =
                || Failure { kind: FailureKind::Transient, ..refused("the API server on this host does not answer") };
            let unix_ms = state.unix_ms();
            let number = state.api_at(&host).ok_or_else(silent)?;
            let cluster = state.clusters.get_mut(&number).ok_or_else(silent)?;
            Ok(Response::Api(cluster.answer(request, unix_ms)))
        })
    }

    fn listen(&self, ports: Vec<u16>) -> Response {
        self.world.with(|state| {
            let host = state.sessions[&self.session].host.clone();
            let occupied: Vec<u16> = ports.iter().copied().filter(|port| state.is_port_in_use(&host, *port)).collect();
            let opened: Vec<u16> = ports.into_iter().filter(|port| !occupied.contains(port)).collect();
            if let Some(session) = state.sessions.get_mut(&self.session) {
                session.listening.extend(&opened);
            }
            Response::Listening { opened, occupied }
        })
    }

    fn probe(&self, reach: &[Target], names: usize) -> Response {
        self.world.with(|state| {
            let host = state.sessions[&self.session].host.clone();
            let why_not = |target: &Target| {
                let Some(there) = state.host_at(&target.address) else { return Some("no route to host".to_owned()) };
                if !state.reaches(&host, &there) {
                    return Some("timed out".to_owned());
                }
                let listens = state.is_port_in_use(&there, target.port)
                    || state.sessions.iter().any(|(id, session)| {
                        session.host == there && session.listening.contains(&target.port) && state.is_alive(*id)
                    });
                (!listens).then(|| "connection refused".to_owned())
            };
            Response::Probed { reach: reach.iter().map(why_not).collect(), resolve: vec![None; names] }
        })
    }

    async fn run(&self, command: &str, deadline_ms: u64) -> Result<Response, Failure> {
        let status = hooks::status(command);
        self.changing(|state, _| state.check_holder(self.session, command))?;
        let needed_ms = self.slowed(hooks::COMMAND_MS);
        sleep(Duration::from_millis(needed_ms.min(deadline_ms))).await;
        if needed_ms > deadline_ms {
            return Err(refused("the command took too long and was ended"));
        }
        self.world.with(|state| {
            let session = state.sessions.get(&self.session).cloned();
            let session =
                session.filter(|_| state.is_alive(self.session)).ok_or_else(|| refused("the agent has died"))?;
            state.hook_ended(session.operator, &session.host, command, status);
            Ok(())
        })?;
        Ok(Response::Ran { status, output: String::new() })
    }

    fn seal(&self, paths: &[String], recipient: &str) -> Result<Response, Failure> {
        let recipient = recipient.parse().map_err(|_| refused("no recipient"))?;
        self.world.with(|state| {
            let machine = &state.machines[&state.sessions[&self.session].host];
            let file = |path: &String| {
                let file = machine.files.get(path).ok_or_else(|| refused(&format!("{path} is not on this host")))?;
                Ok((path.clone(), file.clone()))
            };
            let files = paths.iter().map(file).collect::<Result<Vec<_>, Failure>>()?;
            let sealed = format!("sealed-{}", state.sealed.len());
            state.sealed.insert(sealed.clone(), Sealed { recipient, kind: "authority".to_owned(), files });
            Ok(Response::Sealed { sealed })
        })
    }

    async fn install_identity(&self, sealed: &str) -> Result<Response, Failure> {
        let sealed = self.world.with(|state| state.sealed.get(sealed).cloned());
        let sealed = sealed.filter(|sealed| sealed.recipient == self.session);
        let sealed = sealed.ok_or_else(|| refused("it was not sealed for this connection"))?;
        self.changing(|state, _| state.check_change(self.session, "the cluster's identity"))?;
        let mut files = sealed.files;
        files.sort_by_key(|(path, _)| path.ends_with(".crt") || path.ends_with(".pub"));
        for (path, file) in files {
            let (kind, mode) = (sealed.kind.clone(), file.mode);
            self.changing(|state, host| {
                machine(state, host).map(|machine| machine.note_file(&path, &kind, "", mode))
            })??;
            if self.machine(|machine| machine.files.get(&path).is_some_and(|own| own.body == file.body)) {
                continue;
            }
            self.perform(&Micro::Put { path, body: file.body, mode: file.mode }).await?;
        }
        Ok(Response::Done)
    }

    async fn reset(&self) -> Result<Response, Failure> {
        self.changing(|state, _| state.check_change(self.session, "reset"))?;
        let micros = self.machine(Machine::reset_micros);
        for micro in &micros {
            self.perform(micro).await?;
        }
        self.changing(|state, host| machine(state, host).map(Machine::forget_everything))??;
        Ok(Response::Changes { changes: Vec::new(), confirmation: None })
    }

    fn serve_artifacts(&self, sha256: Vec<String>) -> Result<Response, Failure> {
        self.world.with(|state| {
            let session = state.sessions.get_mut(&self.session).ok_or_else(|| refused("the agent has died"))?;
            session.serving.extend(sha256);
            let port = FIRST_PORT + u16::try_from(self.session % 20_000).unwrap_or_default();
            Ok(Response::Serving { port, path: format!("/{}/", self.session) })
        })
    }
}

impl State {
    /// What a change of a host sets off.
    fn after(&mut self, host: &str, micro: &Micro) -> Result<(), Failure> {
        match micro {
            Micro::Start { name, .. } | Micro::Restart { name, .. } if name == CONTROL_PLANE_UNIT => {
                self.control_plane_started(host);
                Ok(())
            }
            Micro::Start { name, .. } | Micro::Restart { name, .. } if name == ETCD_UNIT => {
                let started = self.etcd_started(host);
                if started.is_err()
                    && let Some(unit) = self.machines.get_mut(host).and_then(|one| one.units.get_mut(name))
                {
                    unit.stop();
                }
                started
            }
            _ => Ok(()),
        }
    }

    fn is_port_in_use(&self, host: &str, port: u16) -> bool {
        let ports =
            [(22, ""), (6443, CONTROL_PLANE_UNIT), (10_250, "naru-node.service"), (2379, ETCD_UNIT), (2380, ETCD_UNIT)];
        let machine = &self.machines[host];
        ports.iter().any(|(number, unit)| *number == port && (unit.is_empty() || machine.runs(unit)))
    }
}

/// Puts everything back as it was unless it was confirmed in time.
async fn revert_later(world: Arc<World>, session: u64, id: String, before: Machine, seconds: u32) {
    sleep(Duration::from_secs(u64::from(seconds))).await;
    world.with(|state| {
        if state.confirmed.contains(&id) {
            return;
        }
        let host = before.name.clone();
        state.note(|| format!("{host}: {id} was not confirmed (session {session}), back to what was"));
        if let Some(machine) = state.machines.get_mut(&host) {
            machine.files.clone_from(&before.files);
            machine.parameters.clone_from(&before.parameters);
            machine.manifest.clone_from(&before.manifest);
        }
    });
}

fn machine<'a>(state: &'a mut State, host: &str) -> Result<&'a mut Machine, Failure> {
    state.machines.get_mut(host).ok_or_else(|| refused("no such host"))
}

fn with_done(mut failure: Failure, done: &[Change]) -> Failure {
    if !done.is_empty() {
        let done: Vec<&str> = done.iter().map(|change| change.summary.as_str()).collect();
        failure.detail = Some(format!("done before: {}", done.join("; ")));
    }
    failure
}

pub(super) fn refused(message: &str) -> Failure {
    Failure { kind: FailureKind::Permanent, message: message.to_owned(), detail: None, hint: None }
}

pub(crate) fn wished(is_transient: bool) -> Failure {
    let kind = if is_transient { FailureKind::Transient } else { FailureKind::Permanent };
    Failure { kind, message: "it failed, as the simulation wished".to_owned(), detail: None, hint: None }
}

fn shown(micro: &Micro) -> String {
    match micro {
        Micro::Put { path, body, mode } => {
            let what = match body {
                Body::Text(text) => format!("{} bytes", text.len()),
                other => format!("{other:?}").chars().take(40).collect(),
            };
            format!("put {path} {mode:04o} ({what})")
        }
        other => format!("{other:?}"),
    }
}
