//! A steady loop of HTTP requests that counts every failure: the user who must notice nothing.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Result;

const REQUEST_DEADLINE: Duration = Duration::from_secs(3);
const PAUSE: Duration = Duration::from_millis(5);
const FAILURES_KEPT: usize = 5;

pub struct RequestLoop {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Counted>,
}

/// What the loop saw.
#[derive(Debug, Default)]
pub struct Counted {
    pub answered: u64,
    pub failed: u64,
    /// The first few failures.
    pub failures: Vec<String>,
    /// Distinct answers in the order they first came.
    pub bodies: Vec<String>,
}

impl Counted {
    /// # Errors
    /// When a request was lost, with the first few.
    pub fn lost_none(&self) -> Result<()> {
        let Self { answered, failed, failures, .. } = self;
        anyhow::ensure!(*failed == 0, "{failed} of {answered} requests were lost: {failures:?}");
        Ok(())
    }
}

impl RequestLoop {
    /// Asks for `path` at each address in turn, a connection a request.
    pub fn start(addresses: Vec<SocketAddr>, path: &str) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (stopped, path) = (Arc::clone(&stop), path.to_owned());
        let thread = std::thread::spawn(move || {
            let mut counted = Counted::default();
            for address in addresses.iter().cycle() {
                if stopped.load(Ordering::Relaxed) {
                    break;
                }
                match request(*address, &path) {
                    Ok(body) => {
                        counted.answered += 1;
                        if !counted.bodies.contains(&body) {
                            counted.bodies.push(body);
                        }
                    }
                    Err(error) => {
                        counted.failed += 1;
                        if counted.failures.len() < FAILURES_KEPT {
                            counted.failures.push(format!("{address}: {error:#}"));
                        }
                    }
                }
                std::thread::sleep(PAUSE);
            }
            counted
        });
        Self { stop, thread }
    }

    pub fn stop(self) -> Counted {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap_or_default()
    }
}

/// The body of one GET.
///
/// # Errors
/// When the connection fails or the answer is not 200.
pub fn request(address: SocketAddr, path: &str) -> Result<String> {
    let mut stream = TcpStream::connect_timeout(&address, REQUEST_DEADLINE)?;
    stream.set_read_timeout(Some(REQUEST_DEADLINE))?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: naru-e2e\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    anyhow::ensure!(head.starts_with("HTTP/1.1 200"), "answered {:?}", head.lines().next().unwrap_or_default());
    Ok(body.trim().to_owned())
}
