//! Many hosts at once, as servers in this process and through one real bastion: what each costs on the wire and in
//! memory. `NARU_TEST_HOSTS` says how many.
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test may stop, and says what it measured")]

#[expect(unreachable_pub, reason = "shared by several tests")]
mod common;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use common::{Server, Setup};
use naru_agent::{Host, Request, Response, Stop, serve};
use naru_hosts::{AgentProgram, Deadlines, Dialer, HostKeyPolicy, HostLink, Route};
use russh::keys::{Algorithm, PrivateKey};
use russh::server::{self, Auth, ChannelOpenHandle, Msg, Session, VerifiedPublicKey};
use russh::{Channel, ChannelId};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;

const HOSTS: usize = 200;

struct Machine {
    host: Host,
    channels: BTreeMap<ChannelId, Channel<Msg>>,
}

impl server::Handler for Machine {
    type Error = russh::Error;

    async fn auth_publickey(&mut self, _: &str, _: VerifiedPublicKey<'_>) -> Result<Auth, Self::Error> {
        Ok(Auth::Accept)
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

    /// Whatever is to be run, it is the agent.
    async fn exec_request(&mut self, id: ChannelId, _: &[u8], _: &mut Session) -> Result<(), Self::Error> {
        let (channel, host) = (self.channels.remove(&id).unwrap(), self.host.clone());
        tokio::spawn(async move {
            let mut stream = channel.into_stream();
            stream.write_all(b"naru-begin\n").await.unwrap();
            let (reader, writer) = tokio::io::split(stream);
            let _ = serve(reader, writer, host, Stop::default()).await;
        });
        Ok(())
    }
}

/// A server that is any number of hosts; answers its port and its key.
async fn machines(folder: &std::path::Path) -> (u16, String) {
    let key = PrivateKey::random(&mut russh::keys::key::safe_rng(), Algorithm::Ed25519).unwrap();
    let public = key.public_key().to_openssh().unwrap();
    let config = Arc::new(server::Config { keys: vec![key], ..server::Config::default() });
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let host = Host::below(folder, Vec::new());
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let machine = Machine { host: host.clone(), channels: BTreeMap::new() };
            let config = config.clone();
            tokio::spawn(async move {
                if let Ok(session) = server::run_stream(config, stream, machine).await {
                    let _ = session.await;
                }
            });
        }
    });
    (port, public)
}

fn resident_kib() -> u64 {
    let status = fs_err::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.split_whitespace().next().unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn each_host_costs_one_session_one_command_and_its_requests() {
    let config = "MaxStartups 2\nMaxSessions 1";
    let Some(bastion) = Server::set_up(&Setup { host_keys: &["ed25519"], config, worker: None }) else { return };
    let count = std::env::var("NARU_TEST_HOSTS").ok().and_then(|text| text.parse().ok()).unwrap_or(HOSTS);
    let folder = tempfile::tempdir().unwrap();
    let (port, key) = machines(folder.path()).await;
    let program = AgentProgram::read(&std::env::current_exe().unwrap()).unwrap();
    let program = Arc::new(program);
    for via in [None, Some(Arc::new(bastion.route()))] {
        let dialer = Dialer::silent();
        let (started, before) = (Instant::now(), resident_kib());
        let ask = |number: usize| {
            let mut route = Route { via: via.clone(), ..bastion.route() };
            route.host.name = format!("w{number}");
            route.host.port = port;
            route.host_keys = HostKeyPolicy::Pinned(vec![key.clone()]);
            route.deadlines = Deadlines { login: Duration::from_secs(60), ..Deadlines::default() };
            let link = HostLink::new(dialer.clone(), route, program.clone());
            tokio::spawn(async move {
                let agent = link.agent().await.unwrap();
                for _ in 0..2 {
                    let answer = agent.call(&Request::MissingArtifacts { sha256: Vec::new() }).await.unwrap();
                    assert_eq!(answer, Response::MissingArtifacts { missing: Vec::new() });
                }
                assert_eq!(agent.requests(), 2);
                (link, agent)
            })
        };
        let tasks: Vec<_> = (0..count).map(ask).collect();
        let mut open = Vec::new();
        for task in tasks {
            open.push(task.await.unwrap());
        }
        let kib = resident_kib().saturating_sub(before) / count as u64;
        let through = if via.is_some() { "through a bastion" } else { "directly" };
        eprintln!("{count} hosts {through}: {:?}, {kib} KiB each, both ends", started.elapsed());
        let (traffic, count) = (dialer.traffic(), count as u64);
        let bastions = u64::from(via.is_some());
        assert_eq!((traffic.sessions, traffic.channels, traffic.requests), (count + bastions, count, 2 * count));
        assert!(kib < 1024, "{kib} KiB for each host");
    }
}
