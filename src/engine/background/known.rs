//! What this instance knows of the store, in a small file beside it: bans in force, policy, allowlist and registry.
//! From it the service starts while Redis is away, and a start finds out what a store has lost that was acknowledged.

use std::{fs, io, path::PathBuf, sync::Arc, time::Duration};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::task::JoinHandle;

use crate::{
    clock::{self, Instant},
    domain::{DAY, HOUR, Millis, standing::Standing, subject::Subject},
    engine::{
        bans::BanIndex, in_force::InForce, kept_file, options::DataDirectory, service_events, shared::Shared,
    },
    store::{Document, DocumentKind, Revision},
};

/// Bans that the file holds at most; beyond them the others are left out.
const MOST_BANS: usize = 100_000;
/// Documents that it holds at most; of more it holds tokens alone, without which everybody might do everything.
const MOST_DOCUMENTS: usize = 50_000;
/// Files of more entries are written less often.
const SMALL: usize = 2_000;
/// How often a small and a large file are written at most, if anything changed.
const EVERY: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(10)];
/// What is older than this is not believed any more: stores keep a standing for 30 days after it was lifted.
const OLDEST: Millis = 20 * DAY;
/// The name of the file in the data directory.
const FILE: &str = "known.jsonl";

/// One line of the file.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Line {
    /// The first: whose knowledge it is, the number and mark of the documents' revision, and how many lines follow.
    Of {
        store: String,
        at: Millis,
        revision: u64,
        mark: u64,
        lines: usize,
    },
    Ban(Subject, Vec<f64>),
    Document(String, String, Value),
}

/// What the file says.
#[derive(Debug, Default, PartialEq)]
pub(in crate::engine) struct Known {
    /// When it was written, ms.
    at: Millis,
    pub(in crate::engine) bans: Vec<(Subject, Standing)>,
    pub(in crate::engine) revision: Revision,
    pub(in crate::engine) documents: Vec<Document>,
}

/// Keeps `known.jsonl` as bans and documents are: written anew as a whole, beside it, and put in its place.
pub(in crate::engine) struct KnownFile {
    shared: Arc<Shared>,
    in_force: Arc<InForce>,
    directory: Option<DataDirectory>,
    bans: Arc<BanIndex>,
    written: Arc<Mutex<Written>>,
}

/// What was written last, and until when nothing is written.
#[derive(Default)]
struct Written {
    of: Option<(u64, Revision, Millis)>,
    rests: Option<Instant>,
    /// That which is being written, or was last.
    under_way: Option<JoinHandle<()>>,
}

/// The file as it is about to be written, away from those who wait for the executor.
struct Writing {
    path: PathBuf,
    store: String,
    at: Millis,
    bans: Arc<BanIndex>,
    in_force: Arc<InForce>,
    written: Arc<Mutex<Written>>,
}

impl KnownFile {
    /// A file in the directory, if there is one.
    pub(in crate::engine) fn new(
        shared: Arc<Shared>,
        bans: Arc<BanIndex>,
        in_force: Arc<InForce>,
        directory: Option<DataDirectory>,
    ) -> Self {
        Self { shared, in_force, directory, bans, written: Arc::default() }
    }

    fn path(&self) -> Option<PathBuf> {
        self.directory.as_ref().map(|directory| directory.path.join(FILE))
    }

    /// What a former run knew of the same store; `None` where there is none.
    pub(in crate::engine) fn read(&self) -> Option<Known> {
        let (path, directory) = (self.path()?, self.directory.as_ref()?);
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "what a former run knew cannot be read");
                return None;
            }
        };
        let known = Known::read(&bytes, &directory.identity);
        if known.is_none() {
            tracing::warn!(path = %path.display(), "what a former run knew is of another store or pepper, or damaged");
        }
        // The store may have let go of liftings since.
        known.filter(|known| self.shared.now() - known.at < OLDEST)
    }

    /// Begins to write the file, if anything changed since, or an hour is over: not more often than is good.
    pub(super) fn keep(&self) {
        if self.written.lock().rests.is_none_or(|until| clock::instant() >= until) {
            self.begin();
        }
    }

    /// Writes the file as it is at the end, behind what is being written.
    pub(super) async fn keep_last(&self) {
        self.wait().await;
        self.begin();
        self.wait().await;
    }

    async fn wait(&self) {
        let under_way = self.written.lock().under_way.take();
        if let Some(writing) = under_way {
            // It does not panic, and is not given up.
            let _ = writing.await;
        }
    }

    fn begin(&self) {
        let Some((path, directory)) = self.path().zip(self.directory.as_ref()) else { return };
        let at = self.shared.now();
        let of = (self.bans.changes(), self.in_force.policy().revision, at / HOUR);
        let mut written = self.written.lock();
        let is_writing = written.under_way.as_ref().is_some_and(|writing| !writing.is_finished());
        if is_writing || written.of == Some(of) || self.shared.data_is_gone() {
            return;
        }
        written.of = Some(of);
        let writing = Writing {
            path,
            store: directory.identity.clone(),
            at,
            bans: self.bans.clone(),
            in_force: self.in_force.clone(),
            written: self.written.clone(),
        };
        written.under_way = Some(tokio::task::spawn_blocking(move || writing.write()));
    }

    /// Says loudly what the store lacks of what was known.
    pub(in crate::engine) fn tell_missing(&self, lost: usize, known: usize, changes: u64, now: Millis) {
        if lost == 0 && changes == 0 {
            return;
        }
        let changes = match changes {
            0 => String::new(),
            n => format!(" and {n} changes of policy, allowlist, plans, projects or keys"),
        };
        let summary = format!(
            "The store lacks {lost} of {known} bans in force{changes} that were acknowledged; they are written to it \
             again. What else it lacks (events, usage, profiles) is not known here: look for a backup."
        );
        tracing::error!(lost_bans = lost, known_bans = known, "{summary}");
        self.shared.outbox.push_apart(service_events::data_missing(summary, Some(lost as u64), now));
    }
}

impl Writing {
    fn write(self) {
        let (revision, documents) = self.in_force.kept(MOST_DOCUMENTS);
        let known = Known { at: self.at, bans: self.bans.some(MOST_BANS), revision, documents };
        let entries = known.bans.len() + known.documents.len();
        let done = kept_file::replace(&self.path, &known.write(&self.store));
        let mut written = self.written.lock();
        written.rests = Some(clock::instant() + EVERY[usize::from(entries > SMALL)]);
        if let Err(error) = done {
            written.of = None;
            tracing::warn!(%error, "what is known of the store cannot be kept beside it");
        }
    }
}

impl Known {
    fn write(self, store: &str) -> Vec<u8> {
        let lines = self.bans.len() + self.documents.len();
        let Revision { number, mark } = self.revision;
        let first = Line::Of { store: store.to_owned(), at: self.at, revision: number, mark, lines };
        let bans = self.bans.into_iter().map(|(subject, ban)| Line::Ban(subject, ban.pack().to_vec()));
        let documents = self.documents.into_iter();
        let documents = documents.map(|d| Line::Document(d.kind.name().to_owned(), d.name, d.body));
        let all = std::iter::once(first).chain(bans).chain(documents);
        let texts: Vec<Vec<u8>> = all.filter_map(|line| serde_json::to_vec(&line).ok()).collect();
        texts.join(&b'\n')
    }

    /// Reads what [`Known::write`] wrote of this store; `None` for anything else.
    fn read(bytes: &[u8], identity: &str) -> Option<Self> {
        let mut texts = bytes.split(|byte| *byte == b'\n').map(serde_json::from_slice::<Line>);
        let Line::Of { store, at, revision, mark, lines } = texts.next()?.ok()? else { return None };
        if store != identity {
            return None;
        }
        let mut known = Self { at, revision: Revision { number: revision, mark }, ..Self::default() };
        for text in texts {
            match text.ok()? {
                Line::Of { .. } => return None,
                Line::Ban(subject, numbers) => {
                    known.bans.push((subject, Standing::unpack(numbers.as_slice().try_into().ok()?)));
                }
                Line::Document(kind, name, body) => {
                    let kind = *DocumentKind::ALL.iter().find(|known| known.name() == kind)?;
                    known.documents.push(Document { kind, name, body });
                }
            }
        }
        (known.bans.len() + known.documents.len() == lines).then_some(known)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ladder::operator_ban;

    fn known() -> Known {
        let ban = operator_ban(&Standing::default(), None, 5);
        let plan =
            Document { kind: DocumentKind::Plan, name: "free\n".into(), body: serde_json::json!({"a": 1}) };
        Known {
            at: 3,
            bans: vec![(Subject::key("a"), ban)],
            revision: Revision { number: 7, mark: u64::MAX },
            documents: vec![plan],
        }
    }

    #[test]
    fn what_is_known_is_read_again_of_the_same_store_alone() {
        let bytes = known().write("redis://db kw");
        assert_eq!(Known::read(&bytes, "redis://db kw"), Some(known()));
        assert_eq!(Known::read(&bytes, "redis://other kw"), None);
    }

    #[test]
    fn a_file_that_was_cut_short_says_nothing() {
        let bytes = known().write("s");
        for length in 0..bytes.len() {
            assert_eq!(Known::read(&bytes[..length], "s"), None, "{length}");
        }
    }

    #[test]
    fn of_more_bans_than_there_is_room_for_some_are_kept_and_the_file_is_whole() {
        let (index, ban) = (BanIndex::default(), operator_ban(&Standing::default(), None, 5));
        (0..MOST_BANS + 5).for_each(|n| index.set(&Subject::key(&n.to_string()), &ban, 5));
        let bytes = Known { bans: index.some(MOST_BANS), ..Known::default() }.write("s");
        assert_eq!(Known::read(&bytes, "s").unwrap().bans.len(), MOST_BANS);
    }
}
