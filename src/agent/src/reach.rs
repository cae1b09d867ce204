//! Whether hosts can reach each other: listening on ports for a while, opening connections, resolving names.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use futures::stream::{self, StreamExt};
use hickory_resolver::TokioResolver;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::{Failure, FailureKind, Response, Target};

const MAX_PORTS: usize = 64;
const MAX_TARGETS: usize = 20_000;
/// Connections that are tried at the same time: below the usual limit of open files.
const AT_ONCE: usize = 512;
const LONGEST: Duration = Duration::from_secs(60);

/// Ports that are listened on until this is dropped.
#[derive(Default)]
pub(crate) struct Listeners {
    open: Vec<u16>,
    tasks: JoinSet<()>,
}

impl Listeners {
    pub(crate) async fn listen(&mut self, ports: &[u16]) -> Result<Response, Failure> {
        if ports.len() + self.open.len() > MAX_PORTS {
            return Err(refused(format!("more than {MAX_PORTS} ports at once")));
        }
        let (mut opened, mut occupied) = (Vec::new(), Vec::new());
        for port in ports {
            if self.open.contains(port) {
                opened.push(*port);
                continue;
            }
            match bind(*port).await {
                Ok(listener) => {
                    self.tasks.spawn(accept(listener));
                    self.open.push(*port);
                    opened.push(*port);
                }
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => occupied.push(*port),
                Err(error) => return Err(refused(format!("port {port} cannot be listened on: {error}"))),
            }
        }
        Ok(Response::Listening { opened, occupied })
    }
}

/// On all addresses of both families, or of the one that the host has.
pub(crate) async fn bind(port: u16) -> io::Result<TcpListener> {
    match TcpListener::bind(SocketAddr::from((Ipv6Addr::UNSPECIFIED, port))).await {
        Err(error) if error.kind() != io::ErrorKind::AddrInUse => {
            TcpListener::bind(SocketAddr::from((Ipv4Addr::UNSPECIFIED, port))).await
        }
        other => other,
    }
}

/// Whoever connects has found out what he wanted to know.
async fn accept(listener: TcpListener) {
    while let Ok((stream, _)) = listener.accept().await {
        drop(stream);
    }
}

pub(crate) async fn probe(reach: Vec<Target>, resolve: Vec<String>, timeout_ms: u64) -> Result<Response, Failure> {
    if reach.len() + resolve.len() > MAX_TARGETS {
        return Err(refused(format!("more than {MAX_TARGETS} targets at once")));
    }
    let deadline = Duration::from_millis(timeout_ms).min(LONGEST);
    let resolver = Arc::new(Resolver::new());
    let of_names = resolver.clone();
    let connections =
        stream::iter(reach).map(move |target| connect(resolver.clone(), target, deadline)).buffered(AT_ONCE);
    let names = stream::iter(resolve).map(move |name| of_names.clone().failure(name, deadline)).buffered(AT_ONCE);
    let (reach, resolve) = tokio::join!(connections.collect(), names.collect());
    Ok(Response::Probed { reach, resolve })
}

/// Why not, or nothing.
async fn connect(resolver: Arc<Resolver>, target: Target, deadline: Duration) -> Option<String> {
    let attempt = async {
        let address = resolver.address(&target.address).await?;
        TcpStream::connect((address, target.port)).await.map_err(|error| words(&error))
    };
    match timeout(deadline, attempt).await {
        Ok(Ok(_)) => None,
        Ok(Err(reason)) => Some(reason),
        Err(_) => Some(format!("no answer within {} ms", deadline.as_millis())),
    }
}

/// The kernel's words without the number behind them.
pub(crate) fn words(error: &io::Error) -> String {
    let text = error.to_string();
    let plain = text.split(" (os error").next().unwrap_or(&text);
    let mut letters = plain.chars();
    letters.next().map_or_else(String::new, |first| first.to_lowercase().chain(letters).collect())
}

/// Names without the C library, which a static program cannot ask.
struct Resolver {
    resolver: Result<TokioResolver, String>,
}

impl Resolver {
    fn new() -> Self {
        let resolver = TokioResolver::builder_tokio().and_then(|builder| builder.build());
        Self { resolver: resolver.map_err(|error| error.to_string()) }
    }

    async fn address(&self, name: &str) -> Result<IpAddr, String> {
        if let Ok(address) = name.trim_start_matches('[').trim_end_matches(']').parse() {
            return Ok(address);
        }
        let resolver = self.resolver.as_ref().map_err(Clone::clone)?;
        let found = resolver.lookup_ip(name).await.map_err(|error| error.to_string())?;
        found.iter().next().ok_or_else(|| format!("{name} has no address"))
    }

    async fn failure(self: Arc<Self>, name: String, deadline: Duration) -> Option<String> {
        match timeout(deadline, self.address(&name)).await {
            Ok(found) => found.err(),
            Err(_) => Some(format!("no answer within {} ms", deadline.as_millis())),
        }
    }
}

fn refused(message: String) -> Failure {
    Failure { kind: FailureKind::Permanent, message, detail: None, hint: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(address: &str, port: u16) -> Target {
        Target { address: address.to_owned(), port }
    }

    #[tokio::test]
    async fn ports_are_open_until_the_end_and_occupied_ones_are_told() {
        let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let taken_port = taken.local_addr().unwrap().port();
        let free_port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut listeners = Listeners::default();
        for _ in 0..2 {
            let answer = listeners.listen(&[taken_port, free_port]).await.unwrap();
            assert_eq!(answer, Response::Listening { opened: vec![free_port], occupied: vec![taken_port] });
        }
        let targets = [target("127.0.0.1", free_port)];
        let open = probe(targets.to_vec(), Vec::new(), 2000).await.unwrap();
        assert_eq!(open, Response::Probed { reach: vec![None], resolve: Vec::new() });
        drop(listeners);
        let started = std::time::Instant::now();
        loop {
            let Response::Probed { reach, .. } = probe(targets.to_vec(), Vec::new(), 2000).await.unwrap() else {
                panic!()
            };
            if reach[0].as_deref() == Some("connection refused") {
                break;
            }
            assert!(started.elapsed() < Duration::from_secs(10), "{reach:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    #[tokio::test]
    async fn many_silent_targets_cost_one_deadline_and_names_need_no_server() {
        // The documentation's own network leads nowhere; where nothing routes there, that is told at once.
        let targets: Vec<Target> = (1..200).map(|number| target(&format!("192.0.2.{number}"), 9)).collect();
        let started = std::time::Instant::now();
        let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
        let Response::Probed { reach, resolve } = probe(targets, names, 300).await.unwrap() else { panic!() };
        assert!(reach.iter().all(Option::is_some), "{reach:?}");
        assert_eq!(resolve, [None, None]);
        assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
    }
}
