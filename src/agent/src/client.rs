//! The asking side: one request, one response, within a deadline.

use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

use crate::frame::{self, FrameError, UPLOAD_FRAME_BYTES};
use crate::{AGENT_VERSION, Request, Response};

#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    #[error("the agent did not answer within {} s", .deadline.as_secs())]
    Deadline { deadline: Duration },
    #[error("the agent ended the connection")]
    Ended,
    #[error("an earlier call was cut off, so the connection is of no more use")]
    Unusable,
    #[error("the connection to the agent broke")]
    Frame(#[source] FrameError),
    #[error("the agent answered something that cannot be read")]
    Answer(#[source] serde_json::Error),
    #[error("the agent speaks protocol {theirs}, this naru {AGENT_VERSION}; both have to be of one version")]
    Protocol { theirs: String },
    #[error("the file to upload could not be read")]
    Source(#[source] std::io::Error),
    #[error("the file to upload has {found} bytes instead of {announced}")]
    SizeChanged { announced: u64, found: u64 },
}

/// The asking end of one byte stream.
#[derive(Debug)]
pub struct Client<R, W> {
    reader: R,
    writer: W,
    /// False while a call is under way: a call that was dropped half-way leaves an answer in the stream.
    usable: bool,
}

impl<R: AsyncRead + Unpin, W: AsyncWrite + Unpin> Client<R, W> {
    pub fn new(reader: R, writer: W) -> Self {
        Self { reader, writer, usable: true }
    }

    /// Sends a request and waits for its response, `Response::Failed` included.
    pub async fn call(&mut self, request: &Request, deadline: Duration) -> Result<Response, ClientError> {
        self.begin()?;
        let exchange = async {
            send(&mut self.writer, request).await?;
            receive(&mut self.reader).await
        };
        let response = timeout(deadline, exchange).await.map_err(|_| ClientError::Deadline { deadline })??;
        self.usable = true;
        Ok(response)
    }

    /// Sends several requests at once and waits for all their responses: one round trip for all of them. None of them
    /// may be an `Upload`.
    pub async fn call_all(&mut self, requests: &[Request], deadline: Duration) -> Result<Vec<Response>, ClientError> {
        self.begin()?;
        let mut responses = Vec::with_capacity(requests.len());
        let exchange = async {
            let Self { reader, writer, .. } = &mut *self;
            let sending = async {
                for request in requests {
                    send(writer, request).await?;
                }
                Ok(())
            };
            let receiving = async {
                for _ in requests {
                    responses.push(receive(reader).await?);
                }
                Ok(())
            };
            futures::try_join!(sending, receiving).map(drop)
        };
        timeout(deadline, exchange).await.map_err(|_| ClientError::Deadline { deadline })??;
        self.usable = true;
        Ok(responses)
    }

    /// Sends an artifact from this offset on, where `source` stands already; `sent` hears how many bytes of the whole
    /// are over there.
    pub async fn upload(
        &mut self,
        sha256: &str,
        size_bytes: u64,
        offset_bytes: u64,
        mut source: impl AsyncRead + Unpin,
        sent: &(dyn Fn(u64) + Sync),
        deadline: Duration,
    ) -> Result<Response, ClientError> {
        self.begin()?;
        let exchange = async {
            let request = Request::Upload { sha256: sha256.to_owned(), size_bytes, offset_bytes };
            send(&mut self.writer, &request).await?;
            let Self { reader, writer, .. } = &mut *self;
            let mut answer = pin!(receive(reader));
            let mut buffer = vec![0_u8; UPLOAD_FRAME_BYTES];
            let mut sent_bytes = offset_bytes;
            loop {
                // An answer before the end is a refusal: the rest would be for nothing.
                if let Poll::Ready(refused) = futures::poll!(&mut answer) {
                    frame::write(writer, &[]).await.map_err(ClientError::Frame)?;
                    return refused;
                }
                let count = source.read(&mut buffer).await.map_err(ClientError::Source)?;
                if count == 0 {
                    break;
                }
                frame::write(writer, &buffer[..count]).await.map_err(ClientError::Frame)?;
                sent_bytes += count as u64;
                sent(sent_bytes);
            }
            if sent_bytes != size_bytes {
                return Err(ClientError::SizeChanged { announced: size_bytes, found: sent_bytes });
            }
            frame::write(writer, &[]).await.map_err(ClientError::Frame)?;
            answer.await
        };
        let response = timeout(deadline, exchange).await.map_err(|_| ClientError::Deadline { deadline })??;
        self.usable = true;
        Ok(response)
    }

    #[must_use]
    pub fn is_usable(&self) -> bool {
        self.usable
    }

    /// Ends the stream towards the agent and waits until the agent has ended too.
    pub async fn close(&mut self, deadline: Duration) {
        self.usable = false;
        let goodbye = async {
            if self.writer.shutdown().await.is_ok() {
                let mut rest = [0_u8; 1024];
                while matches!(self.reader.read(&mut rest).await, Ok(count) if count > 0) {}
            }
        };
        if timeout(deadline, goodbye).await.is_err() {
            tracing::debug!("the agent did not end in time");
        }
    }

    fn begin(&mut self) -> Result<(), ClientError> {
        if !std::mem::replace(&mut self.usable, false) {
            return Err(ClientError::Unusable);
        }
        Ok(())
    }
}

async fn send(writer: &mut (impl AsyncWrite + Unpin), request: &Request) -> Result<(), ClientError> {
    let json = serde_json::to_vec(request).map_err(ClientError::Answer)?;
    frame::write(writer, &json).await.map_err(ClientError::Frame)
}

async fn receive(reader: &mut (impl AsyncRead + Unpin)) -> Result<Response, ClientError> {
    let frame = frame::read(reader).await.map_err(ClientError::Frame)?;
    let response = serde_json::from_slice(&frame.ok_or(ClientError::Ended)?).map_err(ClientError::Answer)?;
    if let Response::Facts(facts) = &response {
        check_protocol(&facts.agent_version)?;
    }
    Ok(response)
}

/// The number before the slash; a host that tells no version at all has no agent of ours behind it, such as a test's.
fn check_protocol(agent_version: &str) -> Result<(), ClientError> {
    let protocol = |version: &str| version.split('/').next().unwrap_or_default().to_owned();
    if agent_version.is_empty() || protocol(agent_version) == protocol(AGENT_VERSION) {
        return Ok(());
    }
    Err(ClientError::Protocol { theirs: agent_version.to_owned() })
}
