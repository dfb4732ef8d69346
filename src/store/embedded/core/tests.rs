//! The writer's transactions and snapshots, on a database in memory.

use super::*;
use crate::domain::{DAY, Millis, subject::Subject};
use crate::domain::{
    event::{Event, EventType},
    finding::Severity,
    observation::{Charge, ChargeMode},
    profile::Profile,
    standing::{Standing, StandingDetail, StandingState},
    window::{Counts, WindowLimits},
};
use crate::store::{
    ProfileVersion, Respond, Responded, WholeProfile,
    embedded::{event_rows, memory::Counters, sqlite, standings},
    pack_profile,
};

const START: Millis = 1_760_000_000_000;

fn core() -> Core {
    let options = EmbeddedOptions { event_retention_days: 1, ..EmbeddedOptions::default() };
    let memory = Arc::new(Memory::new(&options, Counters::tracking_changes(100)));
    Core::new(sqlite::open_in_memory().unwrap(), memory, options, None).unwrap()
}

/// Makes the database as large as it may ever be.
fn fill_disk(core: &Core) {
    let pages: u32 = core.connection.pragma_query_value(None, "page_count", |row| row.get(0)).unwrap();
    core.connection.query_row(&format!("PRAGMA max_page_count = {pages}"), [], |_| Ok(())).unwrap();
}

fn free_disk(core: &Core) {
    core.connection.query_row("PRAGMA max_page_count = 1000000", [], |_| Ok(())).unwrap();
}

fn subject() -> Subject {
    Subject::key("k1:1")
}

fn charge(now: Millis) -> Charge {
    Charge {
        subject: subject(),
        now,
        counts: Counts { requests: 1, ..Counts::default() },
        limits: WindowLimits::default(),
        mode: ChargeMode::Admit,
        peer: None,
        peer_capacity: 1,
        may_create: true,
        observing: false,
        counters: Vec::new(),
        entry: None,
    }
}

fn ban(reason: &str) -> Respond {
    let standing = Standing { version: 1, state: StandingState::PermanentlyBanned, ..Standing::default() };
    let detail = StandingDetail { reason: reason.to_owned(), ..StandingDetail::default() };
    let standing = Some((standing, detail));
    Respond { subject: subject(), now: START, standing, refunds: vec![], events: vec![] }
}

type Answer<T> = oneshot::Receiver<Result<T, StoreError>>;

fn task<T: Send + 'static>(
    work: impl FnOnce(&Connection, &mut Effects) -> Result<T, StoreError> + Send + 'static,
) -> (Box<dyn Job>, Answer<T>) {
    let (reply, answer) = oneshot::channel();
    (Box::new(Task::new(work, reply)), answer)
}

fn append(core: &mut Core, event: Event) -> Result<Vec<Event>, StoreError> {
    let (job, mut answer) = task(move |c, effects| event_rows::append(c, vec![event], effects));
    core.run(vec![job]);
    answer.try_recv().unwrap()
}

fn event(time: Millis) -> Event {
    Event::new(time, EventType::Throttled, Severity::Low, None)
}

#[test]
fn a_full_disk_refuses_the_change_and_counting_goes_on() {
    let mut core = core();
    core.memory.counters.observe(&charge(START));
    fill_disk(&core);
    let large = ban(&"x".repeat(100_000));
    let (job, mut answer) = task(move |c, effects| standings::respond(c, large, effects));
    core.run(vec![job]);
    assert!(matches!(answer.try_recv().unwrap(), Err(StoreError::Refused(_))));
    let seen = core.memory.counters.observe(&charge(START));
    assert!(seen.admitted && seen.counts[0].requests == 2);
    free_disk(&core);
    let (job, mut answer) = task(move |c, effects| standings::respond(c, ban("now it fits"), effects));
    core.run(vec![job]);
    assert!(matches!(answer.try_recv().unwrap(), Ok(Responded::Done(_))));
    assert!(!core.memory.counters.observe(&charge(START)).admitted);
}

#[test]
fn a_snapshot_that_failed_is_written_later() {
    let mut core = core();
    let profile = Profile { requests: 5, last_seen: Some(START), ..Profile::default() };
    let packed = pack_profile(&profile, Vec::new()).unwrap();
    let over = vec![ProfileVersion::default()];
    let whole = WholeProfile { packed, last_seen: START, over, version: ProfileVersion(1) };
    for number in 0..200 {
        let subject = Subject::key(&format!("k1:{number}"));
        core.memory.counters.observe(&Charge { subject: subject.clone(), ..charge(START) });
        let mark = core.memory.profiles.get(&subject).unwrap_err();
        assert!(core.memory.profiles.replace(&subject, Err(mark), &whole));
    }
    fill_disk(&core);
    core.tick();
    assert!(core.save_some().is_err());
    assert!(!core.has_backlog());
    free_disk(&core);
    core.tick();
    while core.has_backlog() {
        core.save_some().unwrap();
    }
    for (table, expected) in [("subjects", 100), ("profiles", 200)] {
        let sql = format!("SELECT count(*) FROM {table}");
        let rows: i64 = core.connection.query_row(&sql, [], |row| row.get(0)).unwrap();
        assert_eq!(rows, expected, "{table}");
    }
}

#[test]
fn one_job_that_fails_takes_no_other_with_it() {
    let mut core = core();
    let (good, mut first) = task(|c, effects| event_rows::append(c, vec![event(START)], effects));
    let (bad, mut second) = task(|c, effects| {
        event_rows::append(c, vec![event(START)], effects)?;
        Err::<(), _>(StoreError::BadCursor)
    });
    let (also_good, mut third) = task(|c, effects| event_rows::append(c, vec![event(START)], effects));
    core.run(vec![good, bad, also_good]);
    assert!(first.try_recv().unwrap().is_ok());
    assert!(matches!(second.try_recv().unwrap(), Err(StoreError::BadCursor)));
    let last = third.try_recv().unwrap().unwrap().remove(0);
    assert_eq!(event_rows::follow(&core.connection, 0, 10).unwrap().events.len(), 2);
    assert_eq!(
        event_rows::position(core.memory.log_end()),
        event_rows::after(&core.connection, &last.id, i64::MAX).unwrap()
    );
}

#[test]
fn old_events_go_and_their_numbers_are_not_given_again() {
    let mut core = core();
    append(&mut core, event(START)).unwrap();
    let second = append(&mut core, event(START + 1)).unwrap().remove(0);
    core.memory.tell(START + DAY + 1);
    core.tick();
    assert_eq!(event_rows::follow(&core.connection, 0, 10).unwrap().events, std::slice::from_ref(&second));
    core.memory.tell(START + 3 * DAY);
    core.tick();
    assert!(event_rows::find(&core.connection, &second.id).unwrap().is_none());
    let third = append(&mut core, event(START + 3 * DAY)).unwrap().remove(0);
    let position = event_rows::after(&core.connection, &second.id, core.memory.log_end()).unwrap();
    let seq = event_rows::seq_of(&position, core.memory.log_end()).unwrap();
    assert_eq!(event_rows::follow(&core.connection, seq, 10).unwrap().events, [third]);
}

#[test]
fn subjects_that_had_left_do_not_come_back_at_a_start_beyond_the_room_there_is() {
    const ROOM: usize = 100;
    let mut core = core();
    let numbered = |number: i64| Subject::key(&format!("k1:{number}"));
    for number in 0..400 {
        core.memory.counters.observe(&Charge { subject: numbered(number), ..charge(START + number) });
        if number % 50 == 49 {
            core.tick();
            while core.has_backlog() {
                core.save_some().unwrap();
            }
        }
    }
    let kept: i64 = core.connection.query_row("SELECT count(*) FROM subjects", [], |row| row.get(0)).unwrap();
    assert!(kept > 200, "{kept}");
    let options = EmbeddedOptions::default();
    core.memory = Arc::new(Memory::new(&options, Counters::tracking_changes(ROOM)));
    core.load().unwrap();
    let counters = &core.memory.counters;
    let known: Vec<i64> =
        (0..400).filter(|n| counters.inspect(&numbered(*n), START + 400).is_some()).collect();
    assert_eq!((known.len(), counters.len()), (ROOM, ROOM));
    let newer = known.iter().filter(|number| **number >= 200).count();
    assert!(newer > ROOM / 2, "the oldest leave first: {known:?}");
}
