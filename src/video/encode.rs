//! A clip as the bytes of a file, to wherever the host wants them.

use super::save::check_fps;
use super::{gif, mp4, Clip};
use crate::{Error, Result};
use std::io::{BufWriter, Write};

/// What a clip can be encoded as in one piece.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Container {
    Mp4,
    Gif,
}

/// Pieces that are handed on have about this size, unless the encoder makes larger ones.
const PIECE: usize = 64 << 10;

/// Hands bytes on in order; a failure of it ends the encoding.
pub type Sink<'a> = dyn FnMut(&[u8]) -> Result<()> + 'a;

impl Container {
    /// "mp4" or "gif", in upper or lower case.
    pub fn parse(name: &str) -> Result<Container> {
        match name.to_ascii_lowercase().as_str() {
            "mp4" => Ok(Container::Mp4),
            "gif" => Ok(Container::Gif),
            _ => Err(Error::InvalidArgument(format!(
                "format must be \"mp4\" or \"gif\", found {name:?}"
            ))),
        }
    }
}

impl Clip {
    /// The bytes that [`Clip::save`] would write to a file, handed on in order. `fps` lies in
    /// [0.1, 240].
    ///
    /// Errors: what `sink` fails with, as it is; and those of saving.
    pub fn encode(&self, container: Container, fps: f64, sink: &mut Sink) -> Result<()> {
        check_fps(fps)?;
        let mut handing = Handing { sink, failed: None };
        let mut buffered = BufWriter::with_capacity(PIECE, &mut handing);
        let written = match container {
            Container::Mp4 => mp4::write(self, fps, &mut buffered),
            Container::Gif => gif::write(self, fps, &mut buffered),
        };
        let flushed = match written {
            Ok(()) => buffered.flush().map_err(|error| Error::Io(error.to_string())),
            Err(error) => Err(error),
        };
        // After a failure nothing more is handed on, also not by the buffer's end.
        drop(buffered.into_parts());
        match handing.failed {
            Some(error) => Err(error),
            None => flushed,
        }
    }
}

struct Handing<'a, 'b> {
    sink: &'a mut Sink<'b>,
    failed: Option<Error>,
}

impl Write for Handing<'_, '_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        if self.failed.is_none() {
            self.failed = (self.sink)(bytes).err();
        }
        match self.failed {
            None => Ok(bytes.len()),
            Some(_) => Err(std::io::Error::other("the receiver of the bytes failed")),
        }
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clip() -> Clip {
        let bytes = (0..64 * 48 * 3 * 4).map(|i| (i * 7 % 251) as u8).collect();
        Clip::new(64, 48, 4, bytes).unwrap()
    }

    #[test]
    fn the_bytes_are_those_of_the_files_in_order() {
        let folder = tempfile::tempdir().unwrap();
        for (container, name) in [(Container::Mp4, "a.mp4"), (Container::Gif, "a.gif")] {
            let path = folder.path().join(name);
            clip().save(&path, 8.0).unwrap();
            let mut bytes = Vec::new();
            let mut sink = |piece: &[u8]| {
                assert!(!piece.is_empty());
                bytes.extend_from_slice(piece);
                Ok(())
            };
            clip().encode(container, 8.0, &mut sink).unwrap();
            assert_eq!(bytes, std::fs::read(&path).unwrap(), "{name}");
        }
    }

    #[test]
    fn a_failure_of_the_receiver_comes_out_and_nothing_follows() {
        for container in [Container::Mp4, Container::Gif] {
            let mut calls = 0;
            let mut sink = |_: &[u8]| {
                calls += 1;
                Err(Error::Cancelled("enough".into()))
            };
            let error = clip().encode(container, 8.0, &mut sink).unwrap_err();
            assert!(matches!(error, Error::Cancelled(_)), "{error}");
            assert_eq!(calls, 1);
        }
        let error = clip().encode(Container::Gif, 0.0, &mut |_| Ok(())).unwrap_err();
        assert!(error.to_string().contains("fps"), "{error}");
        assert!(Container::parse("webm").unwrap_err().to_string().contains("webm"));
        assert_eq!(Container::parse("MP4").unwrap(), Container::Mp4);
    }
}
