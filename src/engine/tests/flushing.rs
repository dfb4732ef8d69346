//! When profiles are flushed: what changes a judgement soon at once, the rest within a minute, all at a stop; and what
//! becomes of a flush that fails, whose answer is lost, or that another writer was faster than.

use std::{
    collections::HashMap,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
};

use parking_lot::Mutex;

use super::*;
use crate::{
    clock,
    domain::{
        place::PlaceCore,
        profile::{Cell, Profile, Sample},
        record::Outcome,
    },
    engine::{profile_entry::ProfileHandle, profiles::ProfileBook},
    store::{
        ProfileChange, ProfileNews, ProfileStore, ProfileWritten, SeenSubject, StoreError, StoreFault,
        StoreResult, StoredProfile,
    },
};

/// A store that counts writes, keeps news as a shared one does, and fails as it is told.
struct Watched {
    inner: EmbeddedStore,
    writes: AtomicUsize,
    written: AtomicUsize,
    /// Whole profiles that were stored without being read.
    unread: AtomicUsize,
    news: Mutex<HashMap<Subject, Millis>>,
    refuses: AtomicBool,
    /// The subject that is not taken, whatever becomes of the others.
    refused: Mutex<Option<Subject>>,
    loses_answers: AtomicBool,
    hangs: AtomicBool,
}

impl Watched {
    fn new() -> Self {
        Self {
            inner: EmbeddedStore::in_memory(EmbeddedOptions::default()).unwrap(),
            writes: AtomicUsize::new(0),
            written: AtomicUsize::new(0),
            unread: AtomicUsize::new(0),
            news: Mutex::default(),
            refuses: AtomicBool::new(false),
            refused: Mutex::default(),
            loses_answers: AtomicBool::new(false),
            hangs: AtomicBool::new(false),
        }
    }

    async fn requests(&self, subject: &Subject) -> u64 {
        self.inner.profile(subject).await.unwrap().unwrap_or_default().requests
    }
}

impl ProfileStore for Watched {
    fn stored_profile<'a>(&'a self, subject: &'a Subject) -> StoreResult<'a, Option<StoredProfile>> {
        self.inner.stored_profile(subject)
    }

    fn write_profiles<'a>(
        &'a self,
        changes: &'a [ProfileChange],
    ) -> StoreResult<'a, Vec<Result<ProfileWritten, StoreError>>> {
        Box::pin(async move {
            if self.refuses.load(SeqCst) {
                return Err(StoreError::Unavailable("away".into()));
            }
            if self.hangs.load(SeqCst) {
                std::future::pending::<()>().await;
            }
            self.writes.fetch_add(1, SeqCst);
            self.written.fetch_add(changes.len(), SeqCst);
            let mut written = self.inner.write_profiles(changes).await?;
            for (change, written) in changes.iter().zip(&mut written) {
                if self.refused.lock().as_ref() == Some(&change.subject) {
                    *written = Err(StoreError::Refused(StoreFault::from("it is too large")));
                }
            }
            for (change, written) in changes.iter().zip(&written) {
                self.unread.fetch_add(usize::from(matches!(written, Ok(ProfileWritten::Whole))), SeqCst);
                if let Some(at) = change.news_at {
                    self.news.lock().insert(change.subject.clone(), at);
                }
            }
            if self.loses_answers.load(SeqCst) {
                return Err(StoreError::Deadline(Duration::from_millis(1)));
            }
            Ok(written)
        })
    }

    fn profile_news(&self, _: Millis) -> StoreResult<'_, Vec<Result<ProfileNews, StoreError>>> {
        Box::pin(async { Ok(vec![Ok(self.news.lock().clone().into_iter().collect())]) })
    }

    fn subjects_seen<'a>(
        &'a self,
        after: Option<&'a SeenSubject>,
        limit: usize,
    ) -> StoreResult<'a, Vec<SeenSubject>> {
        self.inner.subjects_seen(after, limit)
    }
}

/// A subject at hand in a book, as after its first look-up.
struct Learner<'a> {
    book: &'a ProfileBook,
    subject: Subject,
    handle: ProfileHandle,
}

impl<'a> Learner<'a> {
    async fn new(book: &'a ProfileBook, store: &dyn ProfileStore, name: &str) -> Self {
        let subject = Subject::key(name);
        let stored = store.stored_profile(&subject).await.unwrap();
        let handle = book.put(&subject, ProfileHandle::stored(stored));
        Self { book, subject, handle }
    }

    fn learn_from(&self, address: &str, now: Millis) {
        let place = PlaceCore::unknown(address.parse().unwrap());
        let sample = Sample {
            now,
            place: Some(&place),
            came_from: None::<Cell>,
            client: Some("curl"),
            endpoint: "/v1/chat/completions",
            model: None,
            tokens: 10,
            fresh_tokens: 10,
            cost_nanos: 0,
            outcome: Outcome::Success,
            peaks: (1, 1),
        };
        self.book.learn(&self.subject, &self.handle, &sample, None);
    }

    fn learn(&self, now: Millis) {
        self.learn_from(SINGAPORE, now);
    }

    fn requests(&self) -> u64 {
        self.handle.with(|profile| profile.requests)
    }
}

/// A key with sixteen requests that are stored.
async fn known<'a>(book: &'a ProfileBook, store: &Watched, name: &str) -> Learner<'a> {
    let key = Learner::new(book, store, name).await;
    (0..16).for_each(|_| key.learn(NOW));
    book.flush(store, NOW).await.unwrap();
    assert_eq!(store.requests(&key.subject).await, 16);
    key
}

#[tokio::test]
async fn the_first_request_is_flushed_at_once_and_one_like_many_before_within_a_minute() {
    let (store, book) = (Watched::new(), ProfileBook::new(100, true));
    let key = Learner::new(&book, &store, "a").await;
    key.learn(NOW);
    book.flush_due(&store, NOW).await.unwrap();
    assert_eq!(store.requests(&key.subject).await, 1);
    let key = known(&book, &store, "b").await;
    key.learn(NOW);
    book.flush_due(&store, NOW + 29 * SECOND).await.unwrap();
    assert_eq!(store.requests(&key.subject).await, 16, "it changes no judgement soon");
    book.flush_due(&store, NOW + MINUTE).await.unwrap();
    assert_eq!(store.requests(&key.subject).await, 17);
}

#[tokio::test]
async fn a_new_place_is_flushed_at_once_with_all_that_waited() {
    let (store, book) = (Watched::new(), ProfileBook::new(100, true));
    let key = known(&book, &store, "a").await;
    key.learn(NOW);
    key.learn_from(BUCHAREST, NOW + SECOND);
    book.flush_due(&store, NOW + SECOND).await.unwrap();
    assert_eq!(store.requests(&key.subject).await, 18);
}

#[tokio::test]
async fn what_waits_is_at_hand_when_it_has_left_the_cache() {
    let (store, book) = (Watched::new(), ProfileBook::new(1, true));
    let key = known(&book, &store, "a").await;
    key.learn(NOW);
    for other in 0..100 {
        Learner::new(&book, &store, &format!("other-{other}")).await;
    }
    let at_hand = book.get(&key.subject).expect("it waits for its flush");
    assert_eq!(at_hand.with(|profile| profile.requests), 17);
}

#[tokio::test]
async fn many_profiles_are_written_together_and_nothing_is_read_of_what_nobody_else_has_written() {
    let (store, book) = (Watched::new(), ProfileBook::new(2000, true));
    for key in 0..1000 {
        Learner::new(&book, &store, &format!("k{key}")).await.learn(NOW);
    }
    book.flush(&store, NOW).await.unwrap();
    assert_eq!((store.writes.load(SeqCst), store.unread.load(SeqCst)), (8, 1000));
}

#[tokio::test]
async fn a_flush_without_time_left_writes_once_and_goes_on_the_next_time() {
    let (store, book) = (Watched::new(), ProfileBook::new(2000, true));
    for key in 0..600 {
        Learner::new(&book, &store, &format!("k{key}")).await.learn(NOW);
    }
    for written in [128, 256, 384, 512, 600] {
        book.flush_within(&store, NOW, NOW, Duration::ZERO).await.unwrap();
        assert_eq!(store.written.load(SeqCst), written);
    }
    book.flush_within(&store, NOW, NOW, Duration::ZERO).await.unwrap();
    assert_eq!(store.written.load(SeqCst), 600, "nothing is left");
}

#[tokio::test]
async fn what_cannot_be_flushed_is_kept_and_flushed_later_or_left_behind() {
    let (store, book) = (Watched::new(), ProfileBook::new(100, true));
    let key = Learner::new(&book, &store, "a").await;
    key.learn(NOW);
    store.refuses.store(true, SeqCst);
    assert!(book.flush_due(&store, NOW).await.is_err());
    key.learn(NOW);
    store.refuses.store(false, SeqCst);
    book.flush_due(&store, NOW).await.unwrap();
    assert_eq!(store.requests(&key.subject).await, 2);
    key.learn(NOW);
    store.refuses.store(true, SeqCst);
    assert!(book.flush(&store, NOW).await.is_err());
    let left: Vec<_> =
        book.leave().into_iter().map(|(subject, profile)| (subject, profile.requests)).collect();
    assert_eq!(left, [(key.subject, 1)]);
}

#[tokio::test]
async fn a_flush_whose_answer_is_lost_is_counted_once() {
    let (store, book) = (Watched::new(), ProfileBook::new(100, true));
    let key = known(&book, &store, "a").await;
    key.learn(NOW);
    store.loses_answers.store(true, SeqCst);
    assert!(book.flush(&store, NOW).await.is_err());
    assert_eq!(store.requests(&key.subject).await, 17, "it was taken all the same");
    key.learn(NOW);
    store.loses_answers.store(false, SeqCst);
    book.flush(&store, NOW).await.unwrap();
    assert_eq!((store.requests(&key.subject).await, key.requests()), (18, 18));
}

#[tokio::test]
async fn a_flush_that_is_given_up_loses_nothing() {
    let (store, book) = (Watched::new(), ProfileBook::new(100, true));
    let key = known(&book, &store, "a").await;
    key.learn(NOW);
    store.hangs.store(true, SeqCst);
    assert!(clock::timeout(Duration::from_millis(1), book.flush(&store, NOW)).await.is_err());
    store.hangs.store(false, SeqCst);
    book.flush_due(&store, NOW).await.unwrap();
    assert_eq!((store.requests(&key.subject).await, key.requests()), (17, 17));
}

#[tokio::test]
async fn what_two_instances_learn_of_one_key_adds_up() {
    let (store, one, other) = (Watched::new(), ProfileBook::new(100, true), ProfileBook::new(100, true));
    let here = known(&one, &store, "a").await;
    let there = Learner::new(&other, &store, "a").await;
    for round in 0..5 {
        here.learn(NOW + round);
        there.learn(NOW + round);
        one.flush(&store, NOW).await.unwrap();
        there.learn(NOW + round);
        other.flush(&store, NOW).await.unwrap();
    }
    assert_eq!((store.requests(&here.subject).await, there.requests()), (31, 31));
    one.read_again(&store, &here.subject).await.unwrap();
    assert_eq!(here.requests(), 31);
}

#[tokio::test]
async fn a_new_place_that_one_instance_saw_is_known_to_another_that_learns_nothing() {
    let (store, one, other) = (Watched::new(), ProfileBook::new(100, true), ProfileBook::new(100, true));
    let here = known(&one, &store, "a").await;
    let there = Learner::new(&other, &store, "a").await;
    there.learn(NOW);
    here.learn_from(BUCHAREST, NOW + SECOND);
    one.flush_due(&store, NOW + SECOND).await.unwrap();
    assert_eq!(other.read_news(&store, NOW).await.unwrap(), 1);
    let known = |profile: &Profile| (profile.prefixes.len(), profile.requests);
    assert_eq!(there.handle.with(known), (2, 18), "with what it has learned itself");
    assert_eq!(other.read_news(&store, NOW).await.unwrap(), 0, "it has read them");
    assert_eq!(one.read_news(&store, NOW).await.unwrap(), 0, "it has written them");
}

#[tokio::test]
async fn a_profile_that_the_store_does_not_take_holds_up_no_other() {
    let (store, book) = (Watched::new(), ProfileBook::new(2000, true));
    let bad = Learner::new(&book, &store, "bad").await;
    *store.refused.lock() = Some(bad.subject.clone());
    bad.learn(NOW);
    let mut others = Vec::new();
    for key in 0..300 {
        let other = Learner::new(&book, &store, &format!("k{key}")).await;
        other.learn(NOW);
        others.push(other);
    }
    for _ in 0..2 {
        let failed = book.flush(&store, NOW).await.unwrap_err();
        assert!(matches!(failed, StoreError::Refused(_)), "{failed:?}");
    }
    for other in &others {
        assert_eq!(store.requests(&other.subject).await, 1);
    }
    assert_eq!(store.written.load(SeqCst), 302, "each once, and the refused one once a flush");
}

#[tokio::test]
async fn what_was_sent_twice_without_an_answer_is_counted_once_whichever_of_them_came() {
    for comes_last in [false, true] {
        let (store, book) = (Watched::new(), ProfileBook::new(100, true));
        let key = known(&book, &store, "a").await;
        key.learn(NOW);
        store.loses_answers.store(true, SeqCst);
        assert!(book.flush(&store, NOW).await.is_err());
        key.learn(NOW);
        store.refuses.store(!comes_last, SeqCst);
        assert!(book.flush(&store, NOW).await.is_err());
        key.learn(NOW);
        store.refuses.store(false, SeqCst);
        store.loses_answers.store(false, SeqCst);
        book.read_again(&store, &key.subject).await.unwrap();
        assert_eq!(key.requests(), 19);
        book.flush(&store, NOW).await.unwrap();
        assert_eq!((store.requests(&key.subject).await, key.requests()), (19, 19));
    }
}

#[tokio::test]
async fn what_a_request_teaches_a_profile_that_has_left_the_cache_is_stored_too() {
    let (store, book) = (Watched::new(), ProfileBook::new(1, true));
    let early = known(&book, &store, "a").await;
    // Nothing of it waits, so that this is all that leaving the cache is.
    book.forget(&early.subject);
    let late = Learner::new(&book, &store, "a").await;
    assert!(!late.handle.is(&early.handle), "it was read anew");
    late.learn(NOW);
    early.learn(NOW);
    book.flush(&store, NOW).await.unwrap();
    assert_eq!((store.requests(&late.subject).await, late.requests()), (18, 18));
    early.learn(NOW);
    book.flush(&store, NOW).await.unwrap();
    assert_eq!(store.requests(&late.subject).await, 19);
}

#[tokio::test]
async fn what_another_run_left_is_flushed_and_what_is_forgotten_is_not() {
    let (store, book) = (Watched::new(), ProfileBook::new(100, true));
    let (kept, forgotten) = (Subject::key("kept"), Subject::key("forgotten"));
    let at_hand = known(&book, &store, "kept").await;
    let left = |requests| Profile { requests, ..Profile::default() };
    book.take_over(vec![(kept.clone(), left(3)), (forgotten.clone(), left(4))]);
    book.forget(&forgotten);
    let stored = book.flushed(&store, &kept, NOW).await.unwrap().unwrap();
    assert_eq!((stored.requests, at_hand.requests()), (19, 19));
    book.flush(&store, NOW).await.unwrap();
    assert_eq!((store.requests(&kept).await, store.requests(&forgotten).await), (19, 0));
    assert!(book.leave().is_empty());
}
