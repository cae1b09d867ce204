//! One SSH connection: opened, believed, logged in, and running commands.

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use russh::client::{self, Handle, Msg};
use russh::keys::PublicKeyOrCertificate;
use russh::{Channel, ChannelMsg, ChannelOpenFailure, ChannelStream, Disconnect};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::error::chain;
use crate::host_key::Judge;
use crate::{Deadlines, HostAddress, HostError, algorithms, resolve};

/// Unanswered signs of life that are waited for before the one that ends the connection.
const KEEPALIVE_FAILURES: u32 = 2;
/// What a host may send before we have read it, per channel. With a round trip of 50 ms that is 5 MB/s.
const WINDOW_BYTES: u32 = 256 * 1024;
/// Messages of a channel that wait to be read; each is at most a packet.
const CHANNEL_MESSAGES: usize = 16;
const MAX_PACKET_BYTES: u32 = 32 * 1024;
const MAX_OUTPUT_BYTES: usize = 4 * 1024 * 1024;
const GOODBYE: Duration = Duration::from_secs(2);

pub(crate) type EventSink = Arc<dyn Fn(HostEvent) + Send + Sync>;

/// What people should be told while it happens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HostEvent {
    /// The key of an unknown host was believed and recorded.
    HostKeyAccepted { host: String, address: String, fingerprint: String, file: PathBuf },
    /// The agent's program goes to a host.
    Uploading { host: String, sent_bytes: u64, size_bytes: u64 },
}

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
    /// Kept open as long as something goes through it.
    _via: Option<Arc<Session>>,
}

impl Session {
    pub(crate) fn new(host: HostAddress, handle: Handle<Handler>, via: Option<Arc<Session>>) -> Self {
        Self { host, handle, _via: via }
    }

    #[must_use]
    pub fn host(&self) -> &HostAddress {
        &self.host
    }

    /// Runs a command in the user's login shell, without anything on its stdin.
    pub async fn exec(&self, command: &str, deadline: Duration) -> Result<ExecOutput, HostError> {
        timeout(deadline, self.run(command)).await.map_err(|_| late(&self.host, "a command", deadline))?
    }

    async fn run(&self, command: &str) -> Result<ExecOutput, HostError> {
        let mut channel = self.channel().await?;
        channel.exec(false, command).await.map_err(|error| self.broken(&error))?;
        channel.eof().await.map_err(|error| self.broken(&error))?;
        let (mut stdout, mut stderr, mut status) = (Vec::new(), Vec::new(), None);
        while let Some(message) = channel.wait().await {
            match message {
                ChannelMsg::Data { data } => keep(&mut stdout, &data, MAX_OUTPUT_BYTES),
                ChannelMsg::ExtendedData { data, .. } => keep(&mut stderr, &data, MAX_OUTPUT_BYTES),
                ChannelMsg::ExitStatus { exit_status } => status = Some(exit_status),
                ChannelMsg::ExitSignal { .. } => status = Some(u32::MAX),
                _ => {}
            }
        }
        let status = status.ok_or_else(|| HostError::Broken {
            host: self.host.name.clone(),
            reason: "the connection ended before the command did".to_owned(),
        })?;
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        Ok(ExecOutput { status, stdout: text(stdout), stderr: text(stderr) })
    }

    /// A channel for one command.
    pub(crate) async fn channel(&self) -> Result<Channel<Msg>, HostError> {
        self.handle.channel_open_session().await.map_err(|error| match error {
            russh::Error::ChannelOpenFailure(reason) => {
                HostError::ChannelRefused { host: self.host.name.clone(), reason: format!("{reason:?}") }
            }
            error => self.broken(&error),
        })
    }

    /// A TCP connection from this host to another one.
    pub(crate) async fn tunnel(&self, to: &HostAddress, deadline: Duration) -> Result<ChannelStream<Msg>, HostError> {
        let address = to.address.trim_start_matches('[').trim_end_matches(']');
        let opening = self.handle.channel_open_direct_tcpip(address, u32::from(to.port), "127.0.0.1", 0);
        let unreachable = |reason: String| HostError::Unreachable {
            host: to.name.clone(),
            address: to.address.clone(),
            port: to.port,
            reason: format!("{reason} (through the bastion {})", self.host.name),
        };
        match timeout(deadline, opening).await {
            Ok(Ok(channel)) => Ok(channel.into_stream()),
            Ok(Err(russh::Error::ChannelOpenFailure(ChannelOpenFailure::AdministrativelyProhibited))) => {
                Err(unreachable("the bastion does not allow it (AllowTcpForwarding in its sshd_config)".to_owned()))
            }
            Ok(Err(russh::Error::ChannelOpenFailure(ChannelOpenFailure::ConnectFailed))) => {
                Err(unreachable("no connection".to_owned()))
            }
            Ok(Err(error)) => Err(unreachable(chain(&error))),
            Err(_) => Err(unreachable(format!("no answer within {} s", deadline.as_secs()))),
        }
    }

    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.handle.is_closed()
    }

    /// Says goodbye; dropping a session ends it too, only less politely.
    pub async fn close(&self) {
        let goodbye = self.handle.disconnect(Disconnect::ByApplication, "", "en");
        let _ = timeout(GOODBYE, goodbye).await;
    }

    pub(crate) fn broken(&self, error: &russh::Error) -> HostError {
        HostError::Broken { host: self.host.name.clone(), reason: chain(error) }
    }
}

/// Appends what fits.
pub(crate) fn keep(buffer: &mut Vec<u8>, data: &[u8], most: usize) {
    let room = most.saturating_sub(buffer.len());
    buffer.extend_from_slice(&data[..data.len().min(room)]);
}

pub(crate) fn late(host: &HostAddress, what: &str, deadline: Duration) -> HostError {
    HostError::Deadline { host: host.name.clone(), what: what.to_owned(), seconds: deadline.as_secs() }
}

/// The key exchange, up to the point where the host's key is believed.
pub(crate) async fn handshake(
    host: &HostAddress,
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    judge: Judge,
    deadlines: &Deadlines,
) -> Result<Handle<Handler>, HostError> {
    let config = client::Config {
        preferred: algorithms::preferred(judge.algorithms(), judge.certificate_algorithms()),
        keepalive_interval: Some(deadlines.keepalive),
        keepalive_max: KEEPALIVE_FAILURES as usize,
        // The same for a line on which nothing can be written any more: then no sign of life goes out either.
        inactivity_timeout: Some(deadlines.keepalive * (KEEPALIVE_FAILURES + 1)),
        window_size: WINDOW_BYTES,
        maximum_packet_size: MAX_PACKET_BYTES,
        channel_buffer_size: CHANNEL_MESSAGES,
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

pub(crate) async fn open(host: &HostAddress, deadlines: &Deadlines) -> Result<TcpStream, HostError> {
    let deadline = deadlines.connect;
    let addresses = timeout(deadline, resolve::addresses(host)).await;
    let addresses: Vec<IpAddr> = addresses.map_err(|_| late(host, "resolving the name", deadline))??;
    let mut reasons = Vec::new();
    for address in addresses {
        match timeout(deadline, TcpStream::connect((address, host.port))).await {
            Ok(Ok(stream)) => {
                tune(&stream, host, deadlines);
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

fn tune(stream: &TcpStream, host: &HostAddress, deadlines: &Deadlines) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(host = host.name, %error, "no TCP_NODELAY");
    }
    // What was sent and is not acknowledged for so long is lost: the kernel need not try for a quarter of an hour.
    let silence = deadlines.keepalive * (KEEPALIVE_FAILURES + 1);
    let silence_ms = u32::try_from(silence.as_millis()).unwrap_or(u32::MAX);
    if let Err(error) = rustix::net::sockopt::set_tcp_user_timeout(stream, silence_ms) {
        tracing::debug!(host = host.name, %error, "no TCP_USER_TIMEOUT");
    }
}

/// Writes everything, giving up when nothing moves for `stall`; the other side's having ended is no error here.
pub(crate) async fn write_all(
    writer: &mut (impl AsyncWrite + Unpin),
    bytes: &[u8],
    stall: Duration,
) -> Result<bool, tokio::time::error::Elapsed> {
    let written = timeout(stall, async {
        writer.write_all(bytes).await?;
        writer.flush().await
    });
    written.await.map(|result| result.is_ok())
}
