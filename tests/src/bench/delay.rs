//! A line with a delay: bytes arrive so much later, in their order. It counts round trips: how often the client began
//! to speak after the server had spoken.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, ReadHalf, WriteHalf, duplex, split};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

const BUFFER_BYTES: usize = 64 * 1024;
const PIPE_BYTES: usize = 256 * 1024;
const CHUNKS: usize = 256;

/// What went over all lines.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) connections: AtomicU64,
    pub(crate) round_trips: AtomicU64,
    pub(crate) to_server_bytes: AtomicU64,
    pub(crate) to_client_bytes: AtomicU64,
}

/// The server's end of a connection whose every byte takes `one_way` longer in each direction.
pub(crate) fn delayed(stream: TcpStream, one_way: Duration, counters: &Arc<Counters>) -> DuplexStream {
    counters.connections.fetch_add(1, Ordering::Relaxed);
    let (near, far) = duplex(PIPE_BYTES);
    let (read, write) = stream.into_split();
    let (far_read, far_write) = split(far);
    let server_spoke = Arc::new(AtomicBool::new(true));
    let (sender, receiver) = mpsc::channel(CHUNKS);
    tokio::spawn(take_client(read, sender, one_way, counters.clone(), server_spoke.clone()));
    tokio::spawn(give_server(receiver, far_write));
    let (sender, receiver) = mpsc::channel(CHUNKS);
    tokio::spawn(take_server(far_read, sender, one_way, counters.clone(), server_spoke));
    tokio::spawn(give_client(receiver, write));
    near
}

type Chunk = (Instant, VecDeque<u8>);

async fn take_client(
    mut read: tokio::net::tcp::OwnedReadHalf,
    sender: mpsc::Sender<Chunk>,
    one_way: Duration,
    counters: Arc<Counters>,
    server_spoke: Arc<AtomicBool>,
) {
    let mut buffer = vec![0; BUFFER_BYTES];
    while let Ok(count) = read.read(&mut buffer).await {
        if count == 0 {
            break;
        }
        if server_spoke.swap(false, Ordering::Relaxed) {
            counters.round_trips.fetch_add(1, Ordering::Relaxed);
        }
        counters.to_server_bytes.fetch_add(count as u64, Ordering::Relaxed);
        if sender.send((Instant::now() + one_way, buffer[..count].to_vec().into())).await.is_err() {
            break;
        }
    }
}

async fn give_server(mut receiver: mpsc::Receiver<Chunk>, mut write: WriteHalf<DuplexStream>) {
    while let Some((at, bytes)) = receiver.recv().await {
        sleep_until(at).await;
        if write.write_all(&Vec::from(bytes)).await.is_err() {
            break;
        }
    }
    let _ = write.shutdown().await;
}

async fn take_server(
    mut read: ReadHalf<DuplexStream>,
    sender: mpsc::Sender<Chunk>,
    one_way: Duration,
    counters: Arc<Counters>,
    server_spoke: Arc<AtomicBool>,
) {
    let mut buffer = vec![0; BUFFER_BYTES];
    while let Ok(count) = read.read(&mut buffer).await {
        if count == 0 {
            break;
        }
        server_spoke.store(true, Ordering::Relaxed);
        counters.to_client_bytes.fetch_add(count as u64, Ordering::Relaxed);
        if sender.send((Instant::now() + one_way, buffer[..count].to_vec().into())).await.is_err() {
            break;
        }
    }
}

async fn give_client(mut receiver: mpsc::Receiver<Chunk>, mut write: tokio::net::tcp::OwnedWriteHalf) {
    while let Some((at, bytes)) = receiver.recv().await {
        sleep_until(at).await;
        if write.write_all(&Vec::from(bytes)).await.is_err() {
            break;
        }
    }
    let _ = write.shutdown().await;
}
