//! One SSH connection: opened, believed, logged in, and running commands.

use std::borrow::Cow;
use std::io::Cursor;
use std::net::IpAddr;
use std::path::Path;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use russh::client::{self, AuthResult, Handle};
use russh::keys::agent::client::AgentClient;
use russh::keys::{PrivateKeyWithHashAlg, PublicKeyOrCertificate, load_secret_key};
use russh::{ChannelMsg, Disconnect, Preferred};
use tokio::io::{AsyncRead, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::error::chain;
use crate::host_key::Judge;
use crate::{Credentials, Deadlines, HostAddress, HostError, HostKeyPolicy, resolve};

const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(15);
const KEEPALIVE_FAILURES: usize = 3;
/// Keys of an agent that are offered; hosts close the door after six wrong ones by default.
const MAX_AGENT_KEYS: usize = 5;
const MAX_OUTPUT_BYTES: usize = 4 * 1024 * 1024;
const GOODBYE: Duration = Duration::from_secs(2);

/// What a command printed and how it ended.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ExecOutput {
    pub status: u32,
    pub stdout: String,
    pub stderr: String,
}

pub(crate) struct Handler {
    judge: Judge,
}

impl client::Handler for Handler {
    type Error = russh::Error;

    async fn check_server_key(&mut self, shown: &PublicKeyOrCertificate) -> Result<bool, Self::Error> {
        Ok(self.judge.judge(shown))
    }
}

/// A connection on which we are logged in.
pub struct Session {
    host: HostAddress,
    handle: Handle<Handler>,
}

impl Session {
    /// Connects, checks the host's key and logs in.
    pub async fn connect(
        host: &HostAddress,
        credentials: &Credentials,
        policy: &HostKeyPolicy,
        deadlines: &Deadlines,
    ) -> Result<Self, HostError> {
        let judge = Judge::new(host, policy)?;
        let handle = handshake(host, judge, deadlines).await?;
        let mut session = Self { host: host.clone(), handle };
        let login = timeout(deadlines.login, session.login(credentials)).await;
        login.map_err(|_| late(host, "logging in", deadlines.login))??;
        Ok(session)
    }

    #[must_use]
    pub fn host(&self) -> &HostAddress {
        &self.host
    }

    /// Runs a command in the user's login shell.
    pub async fn exec(&self, command: &str, deadline: Duration) -> Result<ExecOutput, HostError> {
        self.exec_with_input(command, Cursor::new(Vec::new()), deadline).await
    }

    /// The same with something on its stdin.
    pub async fn exec_with_input(
        &self,
        command: &str,
        input: impl AsyncRead + Unpin,
        deadline: Duration,
    ) -> Result<ExecOutput, HostError> {
        timeout(deadline, self.run(command, input)).await.map_err(|_| late(&self.host, "a command", deadline))?
    }

    async fn run(&self, command: &str, mut input: impl AsyncRead + Unpin) -> Result<ExecOutput, HostError> {
        let channel = self.handle.channel_open_session().await.map_err(|error| self.broken(&error))?;
        channel.exec(true, command).await.map_err(|error| self.broken(&error))?;
        let (mut reader, writer) = channel.split();
        let feed = async {
            let mut stdin = writer.make_writer();
            // A command that does not read to the end is no error; its status tells.
            let _ = tokio::io::copy(&mut input, &mut stdin).await;
            let _ = stdin.flush().await;
            let _ = writer.eof().await;
        };
        let collect = async {
            let (mut stdout, mut stderr, mut status) = (Vec::new(), Vec::new(), None);
            while let Some(message) = reader.wait().await {
                match message {
                    ChannelMsg::Data { data } => keep(&mut stdout, &data),
                    ChannelMsg::ExtendedData { data, .. } => keep(&mut stderr, &data),
                    ChannelMsg::ExitStatus { exit_status } => status = Some(exit_status),
                    ChannelMsg::ExitSignal { .. } => status = Some(u32::MAX),
                    _ => {}
                }
            }
            (stdout, stderr, status)
        };
        let ((), (stdout, stderr, status)) = tokio::join!(feed, collect);
        let status = status.ok_or_else(|| HostError::Broken {
            host: self.host.name.clone(),
            reason: "the connection ended before the command did".to_owned(),
        })?;
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        Ok(ExecOutput { status, stdout: text(stdout), stderr: text(stderr) })
    }

    /// Starts a command and hands out its stdin and stdout as one stream.
    pub(crate) async fn start(&self, command: &str) -> Result<russh::ChannelStream<client::Msg>, HostError> {
        let channel = self.handle.channel_open_session().await.map_err(|error| self.broken(&error))?;
        channel.exec(false, command).await.map_err(|error| self.broken(&error))?;
        Ok(channel.into_stream())
    }

    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.handle.is_closed()
    }

    /// Says goodbye; dropping a session ends it too, only less politely.
    pub async fn close(self) {
        let goodbye = self.handle.disconnect(Disconnect::ByApplication, "", "en");
        let _ = timeout(GOODBYE, goodbye).await;
    }

    fn broken(&self, error: &russh::Error) -> HostError {
        HostError::Broken { host: self.host.name.clone(), reason: chain(error) }
    }

    async fn login(&mut self, credentials: &Credentials) -> Result<(), HostError> {
        let mut tried = Vec::new();
        let mut methods = String::from("nothing");
        if let Some(socket) = &credentials.agent_socket {
            match self.login_with_agent(socket, &mut tried, &mut methods).await {
                Ok(true) => return Ok(()),
                Ok(false) => {}
                Err(reason) => tried.push(format!("ssh-agent {}: {reason}", socket.display())),
            }
        }
        let mut unusable = None;
        for path in &credentials.identity_files {
            let key = match load_secret_key(path, None) {
                Ok(key) => key,
                Err(error) => {
                    let reason = chain(&error);
                    tried.push(format!("{}: {reason}", path.display()));
                    unusable.get_or_insert((path.display().to_string(), reason));
                    continue;
                }
            };
            let key = PrivateKeyWithHashAlg::new(Arc::new(key), None);
            let user = self.host.user.clone();
            let result = self.handle.authenticate_publickey(user, key).await.map_err(|error| self.broken(&error))?;
            if accepted(&result, &mut methods) {
                return Ok(());
            }
            tried.push(format!("{}: refused", path.display()));
        }
        let (host, user) = (self.host.name.clone(), self.host.user.clone());
        match unusable {
            // Nothing was ever offered to the host, so it is not the host that refuses.
            Some((path, reason)) if tried.len() == 1 => Err(HostError::Identity { host, path, reason }),
            _ => Err(HostError::Authentication { host, user, tried, methods }),
        }
    }

    async fn login_with_agent(
        &mut self,
        socket: &Path,
        tried: &mut Vec<String>,
        methods: &mut String,
    ) -> Result<bool, String> {
        let mut agent = AgentClient::connect_uds(socket).await.map_err(|error| chain(&error))?;
        let identities = agent.request_identities().await.map_err(|error| chain(&error))?;
        for identity in identities.iter().take(MAX_AGENT_KEYS) {
            let key = identity.public_key().into_owned();
            let user = self.host.user.clone();
            let result = self.handle.authenticate_publickey_with(user, key, None, &mut agent).await;
            match result {
                Ok(result) if accepted(&result, methods) => return Ok(true),
                Ok(_) => tried.push(format!("ssh-agent key {}: refused", identity.comment())),
                Err(error) => tried.push(format!("ssh-agent key {}: {}", identity.comment(), chain(&error))),
            }
        }
        Ok(false)
    }
}

fn accepted(result: &AuthResult, methods: &mut String) -> bool {
    match result {
        AuthResult::Success => true,
        AuthResult::Failure { remaining_methods, .. } => {
            let names: Vec<String> = remaining_methods.iter().map(String::from).collect();
            *methods = names.join(", ");
            false
        }
    }
}

fn keep(buffer: &mut Vec<u8>, data: &[u8]) {
    let room = MAX_OUTPUT_BYTES.saturating_sub(buffer.len());
    buffer.extend_from_slice(&data[..data.len().min(room)]);
}

pub(crate) fn late(host: &HostAddress, what: &str, deadline: Duration) -> HostError {
    HostError::Deadline { host: host.name.clone(), what: what.to_owned(), seconds: deadline.as_secs() }
}

/// TCP and key exchange, up to the point where the host's key is believed.
pub(crate) async fn handshake(
    host: &HostAddress,
    judge: Judge,
    deadlines: &Deadlines,
) -> Result<Handle<Handler>, HostError> {
    let stream = open(host, deadlines.connect).await?;
    let preferred = Preferred {
        key: Cow::Owned(judge.algorithms()),
        host_key_certificates: Cow::Owned(judge.certificate_algorithms()),
        ..Preferred::DEFAULT
    };
    let config = client::Config {
        preferred,
        keepalive_interval: Some(KEEPALIVE_INTERVAL),
        keepalive_max: KEEPALIVE_FAILURES,
        nodelay: true,
        ..client::Config::default()
    };
    let finding = judge.finding();
    let connecting = client::connect_stream(Arc::new(config), stream, Handler { judge });
    let outcome = timeout(deadlines.login, connecting).await;
    let outcome = outcome.map_err(|_| late(host, "the SSH handshake", deadlines.login))?;
    outcome.map_err(|error| {
        let refused = finding.lock().unwrap_or_else(PoisonError::into_inner).take();
        refused.unwrap_or_else(|| HostError::Handshake {
            host: host.name.clone(),
            address: host.address.clone(),
            port: host.port,
            reason: chain(&error),
        })
    })
}

async fn open(host: &HostAddress, deadline: Duration) -> Result<TcpStream, HostError> {
    let addresses = timeout(deadline, resolve::addresses(host)).await;
    let addresses: Vec<IpAddr> = addresses.map_err(|_| late(host, "resolving the name", deadline))??;
    let mut reasons = Vec::new();
    for address in addresses {
        match timeout(deadline, TcpStream::connect((address, host.port))).await {
            Ok(Ok(stream)) => {
                if let Err(error) = stream.set_nodelay(true) {
                    tracing::debug!(host = host.name, %error, "no TCP_NODELAY");
                }
                return Ok(stream);
            }
            Ok(Err(error)) => reasons.push(format!("{address}: {error}")),
            Err(_) => reasons.push(format!("{address}: no answer within {} s", deadline.as_secs())),
        }
    }
    Err(HostError::Unreachable {
        host: host.name.clone(),
        address: host.address.clone(),
        port: host.port,
        reason: reasons.join("; "),
    })
}
