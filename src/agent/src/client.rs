//! The asking side: one request, one response, within a deadline.

use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

use crate::frame::{self, FrameError, UPLOAD_FRAME_BYTES};
use crate::{Request, Response};

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
            self.send(request).await?;
            self.receive().await
        };
        let response = timeout(deadline, exchange).await.map_err(|_| ClientError::Deadline { deadline })??;
        self.usable = true;
        Ok(response)
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
            self.send(&Request::Upload { sha256: sha256.to_owned(), size_bytes, offset_bytes }).await?;
            let mut buffer = vec![0_u8; UPLOAD_FRAME_BYTES];
            let mut sent_bytes = offset_bytes;
            loop {
                let count = source.read(&mut buffer).await.map_err(ClientError::Source)?;
                if count == 0 {
                    break;
                }
                frame::write(&mut self.writer, &buffer[..count]).await.map_err(ClientError::Frame)?;
                sent_bytes += count as u64;
                sent(sent_bytes);
            }
            if sent_bytes != size_bytes {
                return Err(ClientError::SizeChanged { announced: size_bytes, found: sent_bytes });
            }
            frame::write(&mut self.writer, &[]).await.map_err(ClientError::Frame)?;
            self.receive().await
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

    async fn send(&mut self, request: &Request) -> Result<(), ClientError> {
        let json = serde_json::to_vec(request).map_err(ClientError::Answer)?;
        frame::write(&mut self.writer, &json).await.map_err(ClientError::Frame)
    }

    async fn receive(&mut self) -> Result<Response, ClientError> {
        let frame = frame::read(&mut self.reader).await.map_err(ClientError::Frame)?;
        serde_json::from_slice(&frame.ok_or(ClientError::Ended)?).map_err(ClientError::Answer)
    }
}
