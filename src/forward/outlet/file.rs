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

use super::{Failure, Outlet, OutletSettings, Sent};
use crate::{
    domain::event::Event,
    forward::{Common, Surroundings, format::Format},
};

/// `type = "file"`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct File {
    path: PathBuf,
}

/// `type = "stdout"`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stdout {}

impl OutletSettings for File {
    fn check(&self, _common: &Common) -> Result<(), (&'static str, String)> {
        if self.path.as_os_str().is_empty() { Err(("path", "must name a file".to_owned())) } else { Ok(()) }
    }

    fn open(
        &self,
        common: &Common,
        _around: &Surroundings,
    ) -> Result<Box<dyn Outlet>, (&'static str, String)> {
        appending(&self.path).map_err(|error| self.unwritable(&error))?;
        Ok(Box::new(Lines::new(common, Target::File(self.path.clone()))))
    }

    /// A file that the service is to make is not made by whoever checks.
    fn probe(&self, _common: &Common, _around: &Surroundings) -> Result<(), (&'static str, String)> {
        let opened = match OpenOptions::new().append(true).open(&self.path) {
            Err(error) if error.kind() == ErrorKind::NotFound => self.could_be_made(),
            opened => opened.map(drop),
        };
        opened.map_err(|error| self.unwritable(&error))
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

    fn unwritable(&self, error: &std::io::Error) -> (&'static str, String) {
        ("path", format!("cannot be written: {}: {error}", self.path.display()))
    }
}

impl OutletSettings for Stdout {
    fn check(&self, _common: &Common) -> Result<(), (&'static str, String)> {
        Ok(())
    }

    fn open(
        &self,
        common: &Common,
        _around: &Surroundings,
    ) -> Result<Box<dyn Outlet>, (&'static str, String)> {
        Ok(Box::new(Lines::new(common, Target::Stdout)))
    }
}

#[derive(Clone)]
enum Target {
    File(PathBuf),
    Stdout,
}

struct Lines {
    format: Format,
    target: Target,
    /// A write that nobody waited for to its end: whoever reads our standard output has stopped.
    stuck: Option<JoinHandle<std::io::Result<()>>>,
}

impl Lines {
    fn new(common: &Common, target: Target) -> Self {
        Self { format: common.format.unwrap_or(Format::Json), target, stuck: None }
    }
}

impl Outlet for Lines {
    fn send<'a>(&'a mut self, events: &'a [Event]) -> BoxFuture<'a, Result<Sent, Failure>> {
        Box::pin(async move {
            if self.stuck.as_ref().is_some_and(|write| !write.is_finished()) {
                return Err(Failure::Unreachable("an earlier write has not ended yet".to_owned()));
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
                Ok(Ok(())) => Ok(Sent { refused: Vec::new(), answer: format!("{bytes} bytes written") }),
                Ok(Err(error)) => Err(Failure::Unreachable(format!("cannot be written: {error}"))),
                Err(error) => Err(Failure::Unreachable(error.to_string())),
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
            let mut file = appending(path)?;
            let end = file.seek(SeekFrom::End(0))?;
            let whole = end_last_line(&mut file, end).and_then(|()| file.write_all(lines));
            if let Err(error) = whole.and_then(|()| file.sync_data()) {
                // Half a batch would be there twice after the next attempt, and half a line not at all.
                file.set_len(end)?;
                return Err(error);
            }
            Ok(())
        }
    }
}

/// What is made is readable by the service's user alone: events name keys and addresses.
fn appending(path: &Path) -> std::io::Result<Handle> {
    OpenOptions::new().create(true).mode(0o600).read(true).append(true).open(path)
}

/// A process that was killed may have left half a line.
fn end_last_line(file: &mut Handle, end: u64) -> std::io::Result<()> {
    if end == 0 {
        return Ok(());
    }
    let mut last = [0];
    file.seek(SeekFrom::Start(end - 1))?;
    file.read_exact(&mut last)?;
    if last == *b"\n" { Ok(()) } else { file.write_all(b"\n") }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn what_the_service_makes_only_its_user_may_read() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("events.log");
        write(&Target::File(path.clone()), b"{}\n").unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }
}
