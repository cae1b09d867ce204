//! Frames: a 4-byte big-endian length, then as many bytes.

use std::io;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// No frame is longer: a host's whole desired state is a few hundred kilobytes, a list of many nodes some megabytes.
pub const MAX_FRAME_BYTES: usize = 32 * 1024 * 1024;
/// Artifacts travel in frames of this size.
pub(crate) const UPLOAD_FRAME_BYTES: usize = 256 * 1024;
const LENGTH_BYTES: usize = 4;

#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    #[error("a frame of {length} bytes is longer than the {MAX_FRAME_BYTES} that are allowed")]
    TooLong { length: usize },
    #[error("the stream ended inside a frame")]
    CutOff,
    #[error("the stream broke")]
    Io(#[source] io::Error),
}

/// The next frame; `None` when the stream ended between two frames.
pub(crate) async fn read(reader: &mut (impl AsyncRead + Unpin)) -> Result<Option<Bytes>, FrameError> {
    let mut length = [0_u8; LENGTH_BYTES];
    let first = reader.read(&mut length).await.map_err(FrameError::Io)?;
    if first == 0 {
        return Ok(None);
    }
    reader.read_exact(&mut length[first..]).await.map_err(cut_off)?;
    let length = u32::from_be_bytes(length) as usize;
    if length > MAX_FRAME_BYTES {
        return Err(FrameError::TooLong { length });
    }
    let mut frame = vec![0_u8; length];
    reader.read_exact(&mut frame).await.map_err(cut_off)?;
    Ok(Some(frame.into()))
}

pub(crate) async fn write(writer: &mut (impl AsyncWrite + Unpin), frame: &[u8]) -> Result<(), FrameError> {
    if frame.len() > MAX_FRAME_BYTES {
        return Err(FrameError::TooLong { length: frame.len() });
    }
    let length = u32::try_from(frame.len()).map_err(|_| FrameError::TooLong { length: frame.len() })?;
    writer.write_all(&length.to_be_bytes()).await.map_err(FrameError::Io)?;
    writer.write_all(frame).await.map_err(FrameError::Io)?;
    writer.flush().await.map_err(FrameError::Io)
}

fn cut_off(error: io::Error) -> FrameError {
    if error.kind() == io::ErrorKind::UnexpectedEof { FrameError::CutOff } else { FrameError::Io(error) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn frames_come_back_one_by_one_and_the_end_is_told() {
        let mut stream = Vec::new();
        write(&mut stream, b"one").await.unwrap();
        write(&mut stream, b"").await.unwrap();
        let mut reader = stream.as_slice();
        assert_eq!(read(&mut reader).await.unwrap().unwrap(), "one");
        assert_eq!(read(&mut reader).await.unwrap().unwrap(), "");
        assert!(read(&mut reader).await.unwrap().is_none());
    }

    #[tokio::test]
    async fn a_cut_and_an_absurd_length_are_errors() {
        assert!(matches!(read(&mut [0, 0, 0, 9, 1].as_slice()).await, Err(FrameError::CutOff)));
        assert!(matches!(read(&mut [0, 0].as_slice()).await, Err(FrameError::CutOff)));
        assert!(matches!(read(&mut [0xff; 8].as_slice()).await, Err(FrameError::TooLong { .. })));
    }
}
