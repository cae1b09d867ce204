//! A line with a delay: bytes arrive so much later, in their order. It counts round trips: how often the client began
//! to speak after the server had spoken.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, duplex, split};
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
    let (counted, spoke) = (counters.clone(), server_spoke.clone());
    carry(read, far_write, one_way, move |bytes| {
        if spoke.swap(false, Ordering::Relaxed) {
            counted.round_trips.fetch_add(1, Ordering::Relaxed);
        }
        counted.to_server_bytes.fetch_add(bytes, Ordering::Relaxed);
    });
    let counted = counters.clone();
    carry(far_read, write, one_way, move |bytes| {
        server_spoke.store(true, Ordering::Relaxed);
        counted.to_client_bytes.fetch_add(bytes, Ordering::Relaxed);
    });
    near
}

type Chunk = (Instant, Vec<u8>);

/// One direction of a line; `count` hears of the bytes as they set out.
fn carry(
    mut from: impl AsyncRead + Unpin + Send + 'static,
    mut to: impl AsyncWrite + Unpin + Send + 'static,
    one_way: Duration,
    count: impl Fn(u64) + Send + 'static,
) {
    let (sender, mut receiver) = mpsc::channel::<Chunk>(CHUNKS);
    tokio::spawn(async move {
        let mut buffer = vec![0; BUFFER_BYTES];
        while let Ok(length @ 1..) = from.read(&mut buffer).await {
            count(length as u64);
            if sender.send((Instant::now() + one_way, buffer[..length].to_vec())).await.is_err() {
                break;
            }
        }
    });
    tokio::spawn(async move {
        while let Some((at, bytes)) = receiver.recv().await {
            sleep_until(at).await;
            if to.write_all(&bytes).await.is_err() {
                break;
            }
        }
        let _ = to.shutdown().await;
    });
}
