//! Lines at the end of a file, or on standard output. Rotation is left to the system: the file is opened anew for each
//! batch, so one that was moved away or emptied is no trouble.

use std::{
    fs::{File as Handle, OpenOptions},
    io::{ErrorKind, Read, Seek, SeekFrom, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use futures::future::BoxFuture;
use rustix::fs::Access;
use serde::Deserialize;
use tokio::task::{JoinHandle, spawn_blocking};

use crate::{
    domain::event::Event,
    forward::{
        common::CommonSettings,
        context::SinkContext,
        contract::{KindSettings, SendReport, Sink},
        error::SendError,
        format::Format,
    },
    settings::{SettingError, SettingErrors},
};

/// The own settings of a sink with `type = "file"`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct File {
    path: PathBuf,
}

/// The own settings of a sink with `type = "stdout"`: it has none.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Stdout {}

impl KindSettings for File {
    fn check(&self, _common: &CommonSettings, errors: &mut SettingErrors) {
        if self.path.as_os_str().is_empty() {
            errors.check(Err(SettingError::new("path", "must name a file")));
        }
    }

    fn open(&self, common: &CommonSettings, _context: &SinkContext) -> Result<Box<dyn Sink>, SettingError> {
        open_for_append(&self.path).map_err(|error| self.unwritable(error))?;
        Ok(Box::new(LineSink::new(common, Target::File(self.path.clone()))))
    }

    /// A file that the service is to make is not made by whoever checks.
    fn probe(&self, _common: &CommonSettings, _context: &SinkContext) -> Result<(), SettingError> {
        let opened = match OpenOptions::new().append(true).open(&self.path) {
            Err(error) if error.kind() == ErrorKind::NotFound => self.could_be_made(),
            opened => opened.map(drop),
        };
        opened.map_err(|error| self.unwritable(error))
    }

    fn file(&self) -> Option<&Path> {
        Some(&self.path)
    }

    fn batch(&self) -> usize {
        1_000
    }
}

impl File {
    fn could_be_made(&self) -> std::io::Result<()> {
        let parent = self.path.parent().filter(|parent| !parent.as_os_str().is_empty());
        let directory = parent.unwrap_or(Path::new("."));
        if !std::fs::metadata(directory)?.is_dir() {
            return Err(ErrorKind::NotADirectory.into());
        }
        Ok(rustix::fs::access(directory, Access::WRITE_OK | Access::EXEC_OK)?)
    }

    fn unwritable(&self, error: std::io::Error) -> SettingError {
        SettingError::new("path", format!("cannot be written: {}", self.path.display())).because(error)
    }
}

impl KindSettings for Stdout {
    fn check(&self, _common: &CommonSettings, _errors: &mut SettingErrors) {}

    fn open(&self, common: &CommonSettings, _context: &SinkContext) -> Result<Box<dyn Sink>, SettingError> {
        Ok(Box::new(LineSink::new(common, Target::Stdout)))
    }
}

#[derive(Clone)]
enum Target {
    File(PathBuf),
    Stdout,
}

struct LineSink {
    format: Format,
    target: Target,
    /// A write that nobody waited for to its end: whoever reads our standard output has stopped.
    stuck: Option<JoinHandle<std::io::Result<()>>>,
}

impl LineSink {
    fn new(common: &CommonSettings, target: Target) -> Self {
        Self { format: common.format.unwrap_or(Format::Json), target, stuck: None }
    }
}

impl Sink for LineSink {
    fn send<'a>(&'a mut self, events: &'a [Event]) -> BoxFuture<'a, Result<SendReport, SendError>> {
        Box::pin(async move {
            if self.stuck.as_ref().is_some_and(|write| !write.is_finished()) {
                return Err(SendError::unreachable("an earlier write has not ended yet"));
            }
            let mut lines = Vec::with_capacity(events.len() * 512);
            for event in events {
                self.format.render(event, &mut lines);
                lines.push(b'\n');
            }
            let (target, bytes) = (self.target.clone(), lines.len());
            let write = self.stuck.insert(spawn_blocking(move || write(&target, &lines)));
            let written = write.await;
            self.stuck = None;
            match written {
                Ok(Ok(())) => Ok(SendReport::all_taken(format!("{bytes} bytes written"))),
                Ok(Err(error)) => Err(SendError::unreachable("cannot be written").because(error)),
                Err(error) => Err(SendError::unreachable("").because(error)),
            }
        })
    }
}

fn write(target: &Target, lines: &[u8]) -> std::io::Result<()> {
    match target {
        Target::Stdout => {
            let mut out = std::io::stdout().lock();
            out.write_all(lines)?;
            out.flush()
        }
        Target::File(path) => {
            let mut file = open_for_append(path)?;
            let end = file.seek(SeekFrom::End(0))?;
            let is_half_a_line = ends_in_half_a_line(&mut file, end)?;
            let mut counted = CountedWriter { file, written: 0 };
            let ended = if is_half_a_line { counted.write_all(b"\n") } else { Ok(()) };
            let whole = ended.and_then(|()| counted.write_all(lines));
            if let Err(error) = whole.and_then(|()| counted.file.sync_data()) {
                take_back(&counted.file, end, counted.written)?;
                return Err(error);
            }
            Ok(())
        }
    }
}

/// What is made is readable by the service's user alone: events name keys and addresses.
fn open_for_append(path: &Path) -> std::io::Result<Handle> {
    OpenOptions::new().create(true).mode(0o600).read(true).append(true).open(path)
}

/// Whether a process that was killed has left half a line.
fn ends_in_half_a_line(file: &mut Handle, end: u64) -> std::io::Result<bool> {
    if end == 0 {
        return Ok(false);
    }
    let mut last = [0];
    file.seek(SeekFrom::Start(end - 1))?;
    file.read_exact(&mut last)?;
    Ok(last != *b"\n")
}

/// Knows how much was written, also when it fails half-way.
struct CountedWriter<W> {
    file: W,
    written: u64,
}

impl<W: Write> Write for CountedWriter<W> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.written += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.file.flush()
    }
}

/// Takes back what was written behind `end`: half a batch would be there twice after the next attempt, and half a line
/// not at all. Not when somebody else has written meanwhile: their lines would go with it.
fn take_back(file: &Handle, end: u64, written: u64) -> std::io::Result<()> {
    if file.metadata()?.len() == end + written { file.set_len(end) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn half_a_batch_is_taken_back_unless_somebody_wrote_meanwhile() {
        let path = tempfile::NamedTempFile::new().unwrap();
        let length = || std::fs::metadata(path.path()).unwrap().len();
        let mut file = open_for_append(path.path()).unwrap();
        file.write_all(b"{}\n{\"id").unwrap();
        take_back(&file, 3, 4).unwrap();
        assert_eq!(length(), 3);
        file.write_all(b"{\"id").unwrap();
        open_for_append(path.path()).unwrap().write_all(b"theirs\n").unwrap();
        take_back(&file, 3, 4).unwrap();
        assert_eq!(length(), 14);
    }

    /// Has room for so many bytes.
    struct Full(usize);

    impl Write for Full {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            let written = bytes.len().min(self.0);
            self.0 -= written;
            if written == 0 { Err(ErrorKind::StorageFull.into()) } else { Ok(written) }
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn what_was_written_before_the_disk_was_full_is_counted() {
        let mut counted = CountedWriter { file: Full(5), written: 0 };
        counted.write_all(b"\n").unwrap();
        assert_eq!(counted.write_all(b"{\"id\":1}\n").unwrap_err().kind(), ErrorKind::StorageFull);
        assert_eq!(counted.written, 5);
    }

    #[test]
    fn what_the_service_makes_only_its_user_may_read() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("events.log");
        write(&Target::File(path.clone()), b"{}\n").unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }
}
