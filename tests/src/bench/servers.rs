//! Hosts as SSH servers in this process: each address of the network is one, with a real session, a real key exchange
//! and the agent's protocol at its end. What the agent answers comes from the simulator's hosts.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Result;
use futures::future::BoxFuture;
use naru_agent::{Answerer, Failure, FailureKind, Request, Response, Upload, UploadFrames, serve_answers};
use naru_simulate::StillFleet;
use russh::keys::PrivateKey;
use russh::server::{self, Auth, ChannelOpenHandle, Msg, Session, VerifiedPublicKey};
use russh::{Channel, ChannelId};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;

use crate::delay::{Counters, delayed};

/// The line by which the operator's side knows that the agent speaks.
const BEGIN: &[u8] = b"naru-begin\n";
const BACKLOG_PORT: u16 = 22;

/// What the servers were asked.
#[derive(Debug, Default)]
pub(crate) struct Asked {
    pub(crate) commands: AtomicU64,
    pub(crate) requests: AtomicU64,
}

pub(crate) struct Servers {
    pub(crate) fleet: Arc<StillFleet>,
    pub(crate) key: PrivateKey,
    /// The public half of the only key that is let in.
    pub(crate) operator: russh::keys::PublicKey,
    pub(crate) one_way: Duration,
    pub(crate) lines: Arc<Counters>,
    pub(crate) asked: Arc<Asked>,
}

struct Machine {
    host: String,
    fleet: Arc<StillFleet>,
    operator: russh::keys::PublicKey,
    asked: Arc<Asked>,
    channels: BTreeMap<ChannelId, Channel<Msg>>,
}

impl server::Handler for Machine {
    type Error = russh::Error;

    async fn auth_publickey(&mut self, _: &str, key: VerifiedPublicKey<'_>) -> Result<Auth, Self::Error> {
        let is_known = *key.public_key == self.operator;
        Ok(if is_known { Auth::Accept } else { Auth::reject() })
    }

    async fn channel_open_session(
        &mut self,
        channel: Channel<Msg>,
        reply: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), Self::Error> {
        self.channels.insert(channel.id(), channel);
        reply.accept().await;
        Ok(())
    }

    /// Whatever is to be run, it is the agent: it lies there.
    async fn exec_request(&mut self, id: ChannelId, _: &[u8], _: &mut Session) -> Result<(), Self::Error> {
        let Some(channel) = self.channels.remove(&id) else { return Ok(()) };
        self.asked.commands.fetch_add(1, Ordering::Relaxed);
        let agent = Agent { host: self.host.clone(), fleet: self.fleet.clone(), asked: self.asked.clone() };
        tokio::spawn(async move {
            let mut stream = channel.into_stream();
            if stream.write_all(BEGIN).await.is_ok() {
                let (reader, writer) = tokio::io::split(stream);
                let _ = serve_answers(reader, writer, agent).await;
            }
        });
        Ok(())
    }
}

struct Agent {
    host: String,
    fleet: Arc<StillFleet>,
    asked: Arc<Asked>,
}

impl Answerer for Agent {
    fn answer(&mut self, request: Request) -> BoxFuture<'_, Response> {
        Box::pin(async move {
            self.asked.requests.fetch_add(1, Ordering::Relaxed);
            self.fleet.answer(&self.host, &request)
        })
    }

    fn upload<'a>(&'a mut self, _: Upload, _: &'a mut UploadFrames<'_>) -> BoxFuture<'a, Response> {
        Box::pin(async {
            let message = "this fleet stands still".to_owned();
            Response::Failed(Failure { kind: FailureKind::Permanent, message, detail: None, hint: None })
        })
    }
}

impl Servers {
    /// Serves every address of this machine's network until the process ends.
    pub(crate) async fn start(self) -> Result<()> {
        let listener = TcpListener::bind(SocketAddr::from((Ipv4Addr::UNSPECIFIED, BACKLOG_PORT))).await?;
        let config = server::Config { keys: vec![self.key.clone()], nodelay: true, ..server::Config::default() };
        let config = Arc::new(config);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let Ok(address) = stream.local_addr() else { continue };
                let Some(host) = self.fleet.host_at(&address.ip().to_string()) else { continue };
                let machine = Machine {
                    host,
                    fleet: self.fleet.clone(),
                    operator: self.operator.clone(),
                    asked: self.asked.clone(),
                    channels: BTreeMap::new(),
                };
                let (config, line) = (config.clone(), delayed(stream, self.one_way, &self.lines));
                tokio::spawn(async move {
                    if let Ok(session) = server::run_stream(config, line, machine).await {
                        let _ = session.await;
                    }
                });
            }
        });
        Ok(())
    }
}
