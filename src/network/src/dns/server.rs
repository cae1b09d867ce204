//! Questions over UDP and TCP (RFC 1035, RFC 7766), each answered in a task of its own, so that a slow resolver of the
//! host holds nobody up.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hickory_proto::op::{Message, MessageType, OpCode, ResponseCode};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::{Semaphore, watch};
use tracing::debug;

use super::forward::Forwarder;
use super::zone::{Answer, Zone, reply_to};

/// Questions worked on at once; more wait in the socket.
const QUESTIONS_MAX: usize = 512;
const TCP_CONNECTIONS_MAX: usize = 128;
const TCP_IDLE: Duration = Duration::from_secs(10);
/// A UDP answer without EDNS (RFC 1035) and the most we send with it (to stay unfragmented).
const UDP_PLAIN_BYTES: usize = 512;
const UDP_EDNS_BYTES: usize = 1232;
const MESSAGE_BYTES_MAX: usize = 65_535;

pub(super) struct Sockets {
    udp: UdpSocket,
    tcp: TcpListener,
}

#[derive(Clone)]
struct Context {
    zone: watch::Receiver<Arc<Zone>>,
    forwarder: Arc<Forwarder>,
}

impl Sockets {
    pub(super) async fn bind(address: SocketAddr) -> std::io::Result<Self> {
        Ok(Self { udp: UdpSocket::bind(address).await?, tcp: TcpListener::bind(address).await? })
    }

    pub(super) async fn serve(self, zone: watch::Receiver<Arc<Zone>>, forwarder: Arc<Forwarder>) {
        let context = Context { zone, forwarder };
        tokio::join!(serve_udp(Arc::new(self.udp), context.clone()), serve_tcp(self.tcp, context));
    }
}

async fn serve_udp(socket: Arc<UdpSocket>, context: Context) {
    let slots = Arc::new(Semaphore::new(QUESTIONS_MAX));
    let mut buffer = vec![0; MESSAGE_BYTES_MAX];
    loop {
        let slot = Arc::clone(&slots).acquire_owned().await.expect("the semaphore is never closed");
        // An error here is an ICMP message about an earlier answer.
        let Ok((length, peer)) = socket.recv_from(&mut buffer).await else { continue };
        let question = buffer[..length].to_vec();
        let (socket, context) = (Arc::clone(&socket), context.clone());
        tokio::spawn(async move {
            let _slot = slot;
            if let Some(answer) = context.answer(&question, true).await
                && let Err(error) = socket.send_to(&answer, peer).await
            {
                debug!(%peer, error = %error, "an answer could not be sent");
            }
        });
    }
}

async fn serve_tcp(listener: TcpListener, context: Context) {
    let slots = Arc::new(Semaphore::new(TCP_CONNECTIONS_MAX));
    loop {
        let slot = Arc::clone(&slots).acquire_owned().await.expect("the semaphore is never closed");
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let context = context.clone();
        tokio::spawn(async move {
            let _slot = slot;
            // The other side may hang up at any time; that is its business.
            let _ = serve_connection(stream, context).await;
        });
    }
}

async fn serve_connection(mut stream: TcpStream, context: Context) -> std::io::Result<()> {
    loop {
        let length = tokio::time::timeout(TCP_IDLE, stream.read_u16()).await??;
        let mut question = vec![0; usize::from(length)];
        tokio::time::timeout(TCP_IDLE, stream.read_exact(&mut question)).await??;
        let Some(answer) = context.answer(&question, false).await else { return Ok(()) };
        let length = u16::try_from(answer.len()).unwrap_or_default();
        let mut framed = length.to_be_bytes().to_vec();
        framed.extend_from_slice(&answer);
        stream.write_all(&framed).await?;
    }
}

impl Context {
    /// The answer's bytes; nothing for what is not a question.
    async fn answer(&self, question: &[u8], udp: bool) -> Option<Vec<u8>> {
        let request = Message::from_vec(question).ok()?;
        if request.metadata.message_type != MessageType::Query {
            return None;
        }
        let zone = Arc::clone(&self.zone.borrow());
        let mut reply = match request.queries.first() {
            Some(query) if request.metadata.op_code == OpCode::Query => match zone.answer(&request, query) {
                Answer::Ours(reply) => *reply,
                Answer::Elsewhere => return Some(self.forwarder.ask(question, &request, udp).await),
            },
            _ => failure(&request, ResponseCode::NotImp),
        };
        let mut limit = UDP_PLAIN_BYTES;
        if let Some(edns) = &request.edns {
            limit = usize::from(edns.max_payload()).clamp(UDP_PLAIN_BYTES, UDP_EDNS_BYTES);
            reply.edns = Some(edns.clone());
        }
        let bytes = reply.to_vec().ok()?;
        if udp && bytes.len() > limit {
            return reply.truncate().to_vec().ok();
        }
        Some(bytes)
    }
}

pub(super) fn failure(request: &Message, code: ResponseCode) -> Message {
    let mut reply = reply_to(request);
    reply.metadata.response_code = code;
    reply
}
