//! A report as a file: written beside its place and put there whole, so that nobody ever finds half of one.

use std::{
    fs, io,
    io::Write,
    path::{Path, PathBuf},
};

use tempfile::{Builder, NamedTempFile};

use super::{Failure, code};
use crate::report::Page;

/// A file to be, or standard output.
#[derive(Debug)]
pub(super) struct HtmlFile {
    path: PathBuf,
    /// What is written; none where there is no file to be put in place of another.
    next: Option<NamedTempFile>,
}

impl HtmlFile {
    /// Makes sure that the file can be written, before anything that takes long is done. What is at its place stays
    /// there until `put`.
    ///
    /// # Errors
    /// When its folder is not there, or does not take files; when a folder is in its place.
    pub(super) fn at(path: &Path) -> Result<Self, Failure> {
        if fs::metadata(path).is_ok_and(|there| there.is_dir()) {
            let what = format!("{} is a folder; name a file in it", path.display());
            return Err(Failure::new(code::USAGE, what));
        }
        // Devices and pipes are written to as they are.
        let is_stream = path.as_os_str() == "-" || fs::metadata(path).is_ok_and(|there| !there.is_file());
        // Of a link, what it leads to is replaced.
        let real = (!is_stream).then(|| fs::canonicalize(path).ok()).flatten();
        let path = real.unwrap_or_else(|| path.to_owned());
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let next =
            (!is_stream).then(|| readable().prefix(".keyward-report-").tempfile_in(folder)).transpose();
        let next = next.map_err(|error| Failure::file(&path, &error))?;
        Ok(Self { path, next })
    }

    /// Writes the report and puts it in its place.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(super) fn put(self, page: &Page) -> Result<(), Failure> {
        let html =
            page.html().map_err(|error| Failure::new(code::SOFTWARE, format!("the report: {error}")))?;
        let failed = |error: io::Error| Failure::file(&self.path, &error);
        let Some(mut next) = self.next else {
            if self.path.as_os_str() == "-" {
                return io::stdout().lock().write_all(html.as_bytes()).map_err(failed);
            }
            return fs::write(&self.path, html).map_err(failed);
        };
        next.write_all(html.as_bytes()).map_err(failed)?;
        next.as_file().sync_all().map_err(failed)?;
        next.persist(&self.path).map_err(|error| failed(error.error))?;
        Ok(())
    }
}

/// A file that others may read as far as the umask allows, as they may any other that a command writes.
#[cfg(unix)]
fn readable() -> Builder<'static, 'static> {
    use std::os::unix::fs::PermissionsExt;
    let mut builder = Builder::new();
    builder.permissions(fs::Permissions::from_mode(0o666));
    builder
}

#[cfg(not(unix))]
fn readable() -> Builder<'static, 'static> {
    Builder::new()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(directory: &Path) -> Vec<String> {
        let entries = fs::read_dir(directory).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    #[test]
    fn what_was_there_stays_until_the_whole_report_takes_its_place() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("report.html");
        fs::write(&path, "before").unwrap();
        let file = HtmlFile::at(&path).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "before");
        file.put(&Page::default()).unwrap();
        assert!(fs::read_to_string(&path).unwrap().trim_end().ends_with("</html>"));
        drop(HtmlFile::at(&path).unwrap());
        assert_eq!(names(directory.path()), ["report.html"], "nothing is left beside it");
    }

    #[test]
    fn a_place_that_takes_no_file_is_named_before_anything_is_done() {
        let directory = tempfile::tempdir().unwrap();
        let message = |path: &Path| HtmlFile::at(path).unwrap_err().message().unwrap();
        assert!(message(directory.path()).contains("is a folder"));
        let missing = directory.path().join("none/report.html");
        assert!(message(&missing).contains("none/report.html"), "{}", message(&missing));
    }
}
