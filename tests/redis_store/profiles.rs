//! Profiles in Redis: what a flush of many costs, who may write over what, and how instances hear of each other's news.

use std::sync::Arc;

use keyward::{
    domain::{event::EventType, profile::Profile, subject::Subject},
    store::{
        ProfileChange, ProfileNews, ProfileStore, ProfileVersion, ProfileWritten, StandingStore,
        WholeProfile, redis::RedisStore,
    },
};

use crate::{T0, event, options, server::Server, store};

fn profile(requests: u64) -> Profile {
    Profile { requests, first_seen: Some(T0), last_seen: Some(T0), ..Profile::default() }
}

/// A whole profile, written by `writer` over one of the versions `over`.
fn change(subject: &Subject, requests: u64, over: [u64; 2], writer: u16) -> ProfileChange {
    let over = over.map(ProfileVersion).to_vec();
    let version = over.iter().max().unwrap().next(writer);
    let whole = WholeProfile::of(&profile(requests), over, version);
    ProfileChange { whole, writer, ..ProfileChange::merging(subject, &profile(1)) }
}

async fn write(store: &RedisStore, change: ProfileChange) -> ProfileWritten {
    store.write_profiles(&[change]).await.unwrap().remove(0).unwrap()
}

async fn news(store: &RedisStore, since: i64) -> ProfileNews {
    let parts = store.profile_news(since).await.unwrap();
    parts.into_iter().flat_map(Result::unwrap).collect()
}

/// How often a command of a server was called since its statistics were reset.
fn calls(server: &Server, command: &str) -> u64 {
    let stats = server.cli(&["INFO", "commandstats"]);
    let line = stats.lines().find_map(|line| line.strip_prefix(&format!("cmdstat_{command}:calls=")));
    line.map_or(0, |rest| rest.split(',').next().unwrap().parse().unwrap())
}

#[tokio::test]
async fn a_flush_of_a_thousand_profiles_reads_none_of_them_back_and_takes_few_calls() {
    let server = Server::start(&[]);
    let store = RedisStore::connect(&server.url(), options()).await.unwrap();
    let changes: Vec<_> = (0..1000).map(|n| change(&Subject::key(&format!("k{n}")), 1, [0, 0], 7)).collect();
    server.cli(&["SCRIPT", "FLUSH"]);
    store.write_profiles(&changes[..1]).await.unwrap();
    server.cli(&["CONFIG", "RESETSTAT"]);
    let written = store.write_profiles(&changes[1..]).await.unwrap();
    assert!(written.iter().all(|written| matches!(written, Ok(ProfileWritten::Whole))));
    assert_eq!((calls(&server, "set"), calls(&server, "get")), (999, 0));
    // Four partitions, 64 profiles in a call.
    let scripts = calls(&server, "evalsha") + calls(&server, "eval");
    assert!((16..=20).contains(&scripts), "{scripts}");
    assert_eq!(calls(&server, "zadd"), scripts, "when they were seen is noted together");
    assert_eq!(store.profile(&Subject::key("k999")).await.unwrap(), Some(profile(1)));
}

#[tokio::test]
async fn a_whole_profile_is_written_over_what_its_writer_knows_and_else_merged() {
    let (store, subject) = (store().await, Subject::key("k"));
    assert_eq!(write(&store, change(&subject, 5, [0, 0], 1)).await, ProfileWritten::Whole);
    let first = store.stored_profile(&subject).await.unwrap().unwrap();
    assert_eq!((first.profile, first.version), (profile(5), ProfileVersion(0).next(1)));
    assert_eq!(write(&store, change(&subject, 6, [first.version.0; 2], 1)).await, ProfileWritten::Whole);
    let ProfileWritten::Merged(merged) = write(&store, change(&subject, 9, [first.version.0; 2], 2)).await
    else {
        panic!("it was written over what another had written");
    };
    assert_eq!(merged.profile.requests, 7, "the six and what was learned since");
    assert_eq!(store.stored_profile(&subject).await.unwrap(), Some(*merged.clone()));
    let lost = merged.version.0;
    let known = change(&subject, 8, [first.version.0, lost], 2);
    assert_eq!(
        write(&store, known).await,
        ProfileWritten::Whole,
        "a writing whose answer was lost is its own"
    );
}

#[tokio::test]
async fn writers_at_the_same_time_lose_nothing_of_each_other() {
    let (store, subject) = (Arc::new(store().await), Subject::key("k"));
    let writers = (0..8_u16).map(|writer| {
        let (store, subject) = (store.clone(), subject.clone());
        tokio::spawn(async move { write(&store, change(&subject, 1, [0, 0], writer)).await })
    });
    futures::future::join_all(writers).await.into_iter().for_each(|written| drop(written.unwrap()));
    assert_eq!(store.profile(&subject).await.unwrap().unwrap().requests, 8);
}

#[tokio::test]
async fn news_name_the_profile_until_it_is_forgotten() {
    let (store, subject) = (store().await, Subject::key("k"));
    write(&store, change(&Subject::key("quiet"), 1, [0, 0], 1)).await;
    assert!(news(&store, T0).await.is_empty());
    write(&store, ProfileChange { news_at: Some(T0), ..change(&subject, 1, [0, 0], 1) }).await;
    assert_eq!(news(&store, T0).await, [(subject.clone(), T0)]);
    assert!(news(&store, T0 + 1).await.is_empty(), "they are older than that");
    store.forget(&subject, &event("k", T0, EventType::SubjectForgotten)).await.unwrap();
    assert!(news(&store, T0).await.is_empty());
}
