//! A TCP load balancer on the loopback address: the API endpoint of everything on this host. It passes bytes on to
//! one control plane that answers, the last good one first, so that TLS stays between the client and the API server.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tracing::{debug, warn};

use crate::Error;

/// A control plane that does not answer within this time is passed over.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// Connections served at once; a host has a handful.
const CONNECTIONS_MAX: usize = 1024;

#[derive(Debug)]
pub struct LoadBalancer {
    listener: TcpListener,
    control_planes: Arc<[SocketAddr]>,
}

impl LoadBalancer {
    /// Listens at once, so that nobody who is started after this finds the port closed.
    ///
    /// # Errors
    /// When the address is taken.
    pub async fn bind(address: SocketAddr, control_planes: Vec<SocketAddr>) -> Result<Self, Error> {
        let listener = TcpListener::bind(address)
            .await
            .map_err(|source| Error::Io { action: format!("listen on {address} for the API"), source })?;
        Ok(Self { listener, control_planes: control_planes.into() })
    }

    /// Serves for ever.
    pub async fn run(self) {
        let last_good = Arc::new(AtomicUsize::new(0));
        let slots = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        loop {
            let slot = Arc::clone(&slots).acquire_owned().await.expect("the semaphore is never closed");
            let (mut client, peer) = match self.listener.accept().await {
                Ok(accepted) => accepted,
                Err(error) => {
                    warn!(error = %error, "cannot accept a connection");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            };
            let (control_planes, last_good) = (Arc::clone(&self.control_planes), Arc::clone(&last_good));
            tokio::spawn(async move {
                let _slot = slot;
                match connect(&control_planes, &last_good).await {
                    Some(mut server) => {
                        // Either side may hang up at any time; that is its business.
                        let _ = copy_bidirectional(&mut client, &mut server).await;
                    }
                    None => debug!(%peer, "no control plane answers"),
                }
            });
        }
    }
}

async fn connect(control_planes: &[SocketAddr], last_good: &AtomicUsize) -> Option<TcpStream> {
    let first = last_good.load(Ordering::Relaxed);
    for offset in 0..control_planes.len() {
        let index = (first + offset) % control_planes.len();
        if let Ok(Ok(stream)) = tokio::time::timeout(CONNECT_TIMEOUT, TcpStream::connect(control_planes[index])).await {
            last_good.store(index, Ordering::Relaxed);
            // Small messages of the API must not wait for each other; that this is only advice makes failure harmless.
            let _ = stream.set_nodelay(true);
            return Some(stream);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    #[tokio::test]
    async fn passes_over_the_dead_to_the_living() {
        let dead = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let dead_address = dead.local_addr().unwrap();
        drop(dead);
        let living = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let living_address = living.local_addr().unwrap();
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = living.accept().await.unwrap();
                stream.write_all(b"hello").await.unwrap();
            }
        });
        let balancer =
            LoadBalancer::bind("127.0.0.1:0".parse().unwrap(), vec![dead_address, living_address]).await.unwrap();
        let address = balancer.listener.local_addr().unwrap();
        tokio::spawn(balancer.run());
        for _ in 0..3 {
            let mut text = String::new();
            TcpStream::connect(address).await.unwrap().read_to_string(&mut text).await.unwrap();
            assert_eq!(text, "hello");
        }
    }
}
