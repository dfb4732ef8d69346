//! Logs as they lie about: a file or a folder of them, of lines or of documents of many requests, packed or not.

use std::{
    collections::HashSet,
    fs::{self, File},
    io::{self, BufRead, BufReader, Read},
    path::{Path, PathBuf},
};

use flate2::bufread::MultiGzDecoder;
use serde_json::Value;

use super::{
    combined,
    map::{Format, Map},
};

/// The longest line, and the largest document of many requests, in bytes.
const LARGEST: u64 = 256 * 1024 * 1024;
/// The first bytes of what gzip has packed.
const GZIP: [u8; 2] = [0x1f, 0x8b];
/// What some programs write before UTF-8.
const BYTE_ORDER_MARK: [u8; 3] = [0xef, 0xbb, 0xbf];

/// Why a log cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("{}: {source}", path.display())]
pub struct ImportError {
    /// The file or the folder.
    pub path: PathBuf,
    /// What the system said.
    pub source: io::Error,
}

/// The records of a log, in the order of their times.
#[derive(Debug, Default)]
pub struct Imported {
    /// Each with its time, as one line of JSON.
    records: Vec<(String, String)>,
    /// Requests that are none of a key, or have no address or time.
    pub left_out: u64,
    /// Lines and documents that could not be read.
    pub unreadable: u64,
    /// Files and folders that could not be read, or not to their end: what was read of them counts.
    pub failed: Vec<ImportError>,
}

impl Imported {
    /// How many records there are.
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// The records as JSON lines, in the order of their times.
    pub fn lines(&self) -> impl Iterator<Item = &str> {
        self.records.iter().map(|(_, line)| line.as_str())
    }

    fn add(&mut self, map: &Map, logged: &Value) {
        let record = map.record(logged);
        let line =
            record.and_then(|record| Some((record["timestamp"].as_str()?.to_owned(), record.to_string())));
        match line {
            Some(line) => self.records.push(line),
            None => self.left_out += 1,
        }
    }
}

/// Reads files and folders by a map; `-` is the standard input. All records are kept until they are in order.
///
/// # Errors
/// [`ImportError`] names one of `paths` that is not there or cannot be opened. What is broken further on is among what
/// [`Imported::failed`] names.
pub fn import(map: &Map, paths: &[PathBuf]) -> Result<Imported, ImportError> {
    let mut imported = Imported::default();
    for path in paths {
        let failed = |source| ImportError { path: path.clone(), source };
        if path.as_os_str() == "-" {
            imported.take(map, path, io::stdin().lock());
        } else if fs::metadata(path).map_err(failed)?.is_dir() {
            imported.take_folder(map, path, &mut HashSet::new()).map_err(failed)?;
        } else {
            imported.take(map, path, File::open(path).map_err(failed)?);
        }
    }
    // Texts of one form: their order is that of the times. Equal ones stay as they came.
    imported.records.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(imported)
}

impl Imported {
    /// Takes in what can be read of one log.
    fn take(&mut self, map: &Map, path: &Path, input: impl Read) {
        if let Err(source) = read(map, input, self) {
            self.failed.push(ImportError { path: path.to_owned(), source });
        }
    }

    /// Takes in all files of a folder and of those in it, in the order of their names; of `seen` ones none again, since
    /// a link may lead back.
    fn take_folder(&mut self, map: &Map, path: &Path, seen: &mut HashSet<PathBuf>) -> io::Result<()> {
        if !seen.insert(fs::canonicalize(path)?) {
            return Ok(());
        }
        let mut inside =
            fs::read_dir(path)?.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>()?;
        inside.sort();
        for path in inside {
            let taken = match fs::metadata(&path) {
                Ok(about) if about.is_dir() => self.take_folder(map, &path, seen),
                Ok(_) => File::open(&path).map(|opened| self.take(map, &path, opened)),
                Err(error) => Err(error),
            };
            self.failed.extend(taken.err().map(|source| ImportError { path, source }));
        }
        Ok(())
    }
}

/// Reads one log, unpacked where gzip has packed it.
fn read(map: &Map, input: impl Read, imported: &mut Imported) -> io::Result<()> {
    let mut input = BufReader::with_capacity(1 << 16, input);
    if input.fill_buf()?.starts_with(&GZIP) {
        read_plain(map, BufReader::new(MultiGzDecoder::new(input)), imported)
    } else {
        read_plain(map, input, imported)
    }
}

fn read_plain(map: &Map, mut input: impl BufRead, imported: &mut Imported) -> io::Result<()> {
    if map.records.is_some() {
        let mut document = Vec::new();
        input.take(LARGEST).read_to_end(&mut document)?;
        read_documents(map, unmarked(&document), imported);
        return Ok(());
    }
    let (mut line, mut is_first) = (Vec::new(), true);
    while (&mut input).take(LARGEST).read_until(b'\n', &mut line)? > 0 {
        let text = if is_first { unmarked(&line) } else { &line }.trim_ascii();
        is_first = false;
        let logged = match map.format {
            Format::Json => serde_json::from_slice(text).ok(),
            Format::Combined => combined::parse(&String::from_utf8_lossy(text)),
        };
        match logged {
            Some(logged) => imported.add(map, &logged),
            None if text.is_empty() => {}
            None => imported.unreadable += 1,
        }
        line.clear();
    }
    Ok(())
}

/// A text without the mark that may stand before it.
fn unmarked(text: &[u8]) -> &[u8] {
    text.strip_prefix(&BYTE_ORDER_MARK).unwrap_or(text)
}

/// Documents of many requests, one behind the other. One that has no such list is a request itself.
fn read_documents(map: &Map, bytes: &[u8], imported: &mut Imported) {
    for document in serde_json::Deserializer::from_slice(bytes).into_iter::<Value>() {
        let Ok(document) = document else {
            imported.unreadable += 1;
            return;
        };
        let list =
            map.records.as_deref().and_then(|pointer| document.pointer(pointer)).and_then(Value::as_array);
        match list {
            Some(list) => list.iter().for_each(|logged| imported.add(map, logged)),
            None => imported.add(map, &document),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::{Compression, write::GzEncoder};

    use super::*;

    fn event(id: &str, time: &str) -> String {
        format!(
            r#"{{"eventID":"{id}","eventTime":"{time}","eventSource":"s3","eventName":"Get","sourceIPAddress":"1.2.3.4",
                "userIdentity":{{"accessKeyId":"AKIA1"}}}}"#
        )
    }

    #[test]
    fn a_folder_of_packed_documents_becomes_records_in_the_order_of_their_times() {
        let folder = tempfile::tempdir().unwrap();
        let inner = folder.path().join("2026/03");
        fs::create_dir_all(&inner).unwrap();
        let (later, early) = (event("b", "2026-03-02T10:00:00Z"), event("a", "2026-03-02T09:00:00Z"));
        let document = format!(r#"{{"Records":[{later},{{"eventName":"by a service"}}]}}"#);
        let mut packed = GzEncoder::new(File::create(inner.join("1.json.gz")).unwrap(), Compression::fast());
        packed.write_all(document.as_bytes()).unwrap();
        packed.finish().unwrap();
        fs::write(folder.path().join("9.json"), format!(r#"{{"Records":[{early}]}}"#)).unwrap();
        fs::write(folder.path().join("broken.json"), "{\"Records\":").unwrap();
        let map = Map::named("cloudtrail").unwrap().unwrap();
        let imported = import(&map, &[folder.path().to_owned()]).unwrap();
        let ids: Vec<Value> = imported.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(ids.iter().map(|record| &record["request_id"]).collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!((imported.len(), imported.left_out, imported.unreadable), (2, 1, 1));
    }

    #[test]
    fn what_is_broken_in_a_folder_is_named_and_ends_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let line = |name: &str| {
            format!(
                "1.2.3.4 - {name} [02/Mar/2026:09:13:22 +0000] \"GET /x HTTP/1.1\" 200 1 \"-\" \"curl/8\"\n"
            )
        };
        let mut packed = GzEncoder::new(Vec::new(), Compression::none());
        packed.write_all((line("a") + &line("b")).as_bytes()).unwrap();
        let whole = packed.finish().unwrap();
        fs::write(at("1.log.gz"), &whole[..whole.len() - 40]).unwrap();
        fs::write(at("2.log"), format!("\u{feff}{}", line("c"))).unwrap();
        #[cfg(unix)]
        {
            std::os::unix::fs::symlink(at("nowhere"), at("3.log")).unwrap();
            std::os::unix::fs::symlink(folder.path(), at("4")).unwrap();
        }
        let map = Map::named("combined").unwrap().unwrap();
        let imported = import(&map, &[folder.path().to_owned()]).unwrap();
        let keys: Vec<_> = imported.lines().map(|line| line.contains(r#""key_id":"c""#)).collect();
        assert_eq!(keys, [false, true], "what was whole of the first, and the second behind its mark");
        assert_eq!((imported.left_out, imported.unreadable), (0, 0));
        let failed: Vec<_> = imported.failed.iter().map(|failed| failed.path.clone()).collect();
        assert_eq!(failed, if cfg!(unix) { vec![at("1.log.gz"), at("3.log")] } else { vec![at("1.log.gz")] });
    }

    #[test]
    fn lines_that_cannot_be_read_are_counted_and_blank_ones_are_not() {
        let map = Map::named("combined").unwrap().unwrap();
        let log = "1.2.3.4 - a [02/Mar/2026:09:13:22 +0000] \"GET /x HTTP/1.1\" 200 1 \"-\" \"curl/8\"\n\nnonsense\n\
                   1.2.3.4 - - [02/Mar/2026:09:13:22 +0000] \"GET /x HTTP/1.1\" 200 1 \"-\" \"-\"\n";
        let mut imported = Imported::default();
        read(&map, log.as_bytes(), &mut imported).unwrap();
        assert_eq!((imported.len(), imported.left_out, imported.unreadable), (1, 1, 1));
        let missing = import(&map, &["/nowhere/at/all".into()]).unwrap_err();
        assert!(missing.to_string().starts_with("/nowhere/at/all: "), "{missing}");
    }
}
