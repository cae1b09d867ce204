//! Other names: asked of the host's resolvers, byte for byte, over the transport the question came by. Answers are
//! kept for a short while, as pods ask the same few names again and again.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use hickory_proto::op::{Message, ResponseCode};
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::Instant;
use tracing::debug;

use super::server::failure;

const RESOLV_CONF: &str = "/etc/resolv.conf";
const RESOLVERS_MAX: usize = 3;
const TIMEOUT: Duration = Duration::from_secs(2);
/// How long the list of resolvers is believed.
const RESOLVERS_TTL: Duration = Duration::from_secs(10);
const CACHE_ENTRIES_MAX: usize = 2048;
const CACHE_TTL_MAX: Duration = Duration::from_secs(30);

pub(super) struct Forwarder {
    /// Our own address: asking ourselves would never end.
    own: IpAddr,
    resolvers: Mutex<(Option<Instant>, Vec<SocketAddr>)>,
    cache: Mutex<Cache>,
}

/// The question without its identifier → the answer, until when.
type Cache = HashMap<Vec<u8>, (Vec<u8>, Instant)>;

impl Forwarder {
    pub(super) fn new(own: Ipv4Addr) -> Self {
        Self { own: own.into(), resolvers: Mutex::default(), cache: Mutex::default() }
    }

    pub(super) async fn ask(&self, question: &[u8], request: &Message, udp: bool) -> Vec<u8> {
        let key = question[2..].to_vec();
        if let Some(mut answer) = self.cached(&key) {
            answer[..2].copy_from_slice(&question[..2]);
            return answer;
        }
        for resolver in self.resolvers() {
            let asked =
                async { if udp { ask_udp(resolver, question).await } else { ask_tcp(resolver, question).await } };
            match tokio::time::timeout(TIMEOUT, asked).await {
                Ok(Ok(answer)) if answer.len() > 2 && answer[..2] == question[..2] => {
                    self.keep(key, &answer);
                    return answer;
                }
                outcome => debug!(%resolver, answered = outcome.is_ok(), "a resolver gave no usable answer"),
            }
        }
        failure(request, ResponseCode::ServFail).to_vec().unwrap_or_default()
    }

    fn cached(&self, key: &[u8]) -> Option<Vec<u8>> {
        let cache = self.cache.lock();
        cache.get(key).filter(|(_, until)| *until > Instant::now()).map(|(answer, _)| answer.clone())
    }

    fn keep(&self, key: Vec<u8>, answer: &[u8]) {
        let Ok(message) = Message::from_vec(answer) else { return };
        if message.metadata.truncation || message.metadata.response_code == ResponseCode::ServFail {
            return;
        }
        let records = message.answers.iter().chain(&message.authorities);
        let Some(seconds) = records.map(|record| record.ttl).min() else { return };
        let until = Instant::now() + Duration::from_secs(seconds.into()).min(CACHE_TTL_MAX);
        let mut cache = self.cache.lock();
        if cache.len() >= CACHE_ENTRIES_MAX {
            let now = Instant::now();
            cache.retain(|_, (_, until)| *until > now);
            if cache.len() >= CACHE_ENTRIES_MAX {
                cache.clear();
            }
        }
        cache.insert(key, (answer.to_vec(), until));
    }

    fn resolvers(&self) -> Vec<SocketAddr> {
        let mut known = self.resolvers.lock();
        let fresh = known.0.is_some_and(|read| read.elapsed() < RESOLVERS_TTL);
        if !fresh {
            let text = fs_err::read_to_string(RESOLV_CONF).unwrap_or_default();
            *known = (Some(Instant::now()), parse(&text, self.own));
        }
        known.1.clone()
    }
}

fn parse(resolv_conf: &str, own: IpAddr) -> Vec<SocketAddr> {
    let addresses = resolv_conf.lines().filter_map(|line| line.strip_prefix("nameserver")?.trim().parse().ok());
    addresses
        .filter(|address: &IpAddr| *address != own)
        .take(RESOLVERS_MAX)
        .map(|address| SocketAddr::new(address, 53))
        .collect()
}

async fn ask_udp(resolver: SocketAddr, question: &[u8]) -> std::io::Result<Vec<u8>> {
    let any = if resolver.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    let socket = UdpSocket::bind(any.parse::<SocketAddr>().expect("a literal address")).await?;
    socket.connect(resolver).await?;
    socket.send(question).await?;
    let mut answer = vec![0; 4096];
    let length = socket.recv(&mut answer).await?;
    answer.truncate(length);
    Ok(answer)
}

async fn ask_tcp(resolver: SocketAddr, question: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(resolver).await?;
    let mut framed = u16::try_from(question.len()).unwrap_or_default().to_be_bytes().to_vec();
    framed.extend_from_slice(question);
    stream.write_all(&framed).await?;
    let mut answer = vec![0; usize::from(stream.read_u16().await?)];
    stream.read_exact(&mut answer).await?;
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn never_asks_itself() {
        let text = "search example.com\nnameserver 10.96.0.10\nnameserver 192.0.2.1\nnameserver fd00::1\n";
        let found = parse(text, "10.96.0.10".parse().unwrap());
        assert_eq!(found, ["192.0.2.1:53".parse().unwrap(), "[fd00::1]:53".parse().unwrap()]);
    }
}
