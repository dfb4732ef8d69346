//! A store put together from roles, so that a test store is one role alone:
//! `Roles { usage: Arc::new(Forgetful), ..Roles::of(store) }`.

use std::sync::Arc;

use keyward::{
    domain::{
        Millis,
        counter::{Counter, CounterChange, CounterCount},
        debt::DebtBatch,
        event::Event,
        observation::{Charge, Observation},
        reservation::{Ended, Reservation, ReservationChange, ReservationChanged, ReservationId},
        subject::Subject,
        usage::{UsageBatch, UsageQuery, UsageTable},
    },
    store::{
        Changed, Claim, ClaimStore, CounterStore, DeadLetter, DeadLetterAct, Document, DocumentStore,
        EventLog, EventQuery, EventWriter, LogPage, LogPosition, Page, ProfileChange, ProfileNews,
        ProfileStore, ProfileWritten, ReservationStore, Respond, Responded, Revision, SeenSubject,
        SinkHealth, SinkLead, SinkRecord, SinkStep, SinkStore, StandingLookup, StandingRecord, StandingStore,
        Stepped, Store, StoreControl, StoreError, StoreResult, StoredProfile, UsageStore,
    },
};

/// Who takes each role.
#[derive(Clone)]
pub(crate) struct Roles {
    pub counters: Arc<dyn CounterStore>,
    pub reservations: Arc<dyn ReservationStore>,
    pub standings: Arc<dyn StandingStore>,
    pub log: Arc<dyn EventLog>,
    pub writer: Arc<dyn EventWriter>,
    pub sinks: Arc<dyn SinkStore>,
    pub profiles: Arc<dyn ProfileStore>,
    pub documents: Arc<dyn DocumentStore>,
    pub usage: Arc<dyn UsageStore>,
    pub claims: Arc<dyn ClaimStore>,
    pub control: Arc<dyn StoreControl>,
}

impl Roles {
    /// All of them taken by one store.
    pub(crate) fn of(store: Arc<dyn Store>) -> Self {
        Self {
            counters: store.clone(),
            reservations: store.clone(),
            standings: store.clone(),
            log: store.clone(),
            writer: store.clone(),
            sinks: store.clone(),
            profiles: store.clone(),
            documents: store.clone(),
            usage: store.clone(),
            claims: store.clone(),
            control: store,
        }
    }
}

/// Implements a role by asking who takes it.
macro_rules! role {
    ($role:ident by $field:ident: $($name:ident<$a:lifetime>($($arg:ident: $of:ty),*) -> $out:ty;)*) => {
        impl $role for Roles {
            $(fn $name<$a>(&$a self, $($arg: $of),*) -> StoreResult<$a, $out> { self.$field.$name($($arg),*) })*
        }
    };
}

role! { CounterStore by counters:
    observe<'a>(charges: &'a [Charge]) -> Vec<Observation>;
    inspect<'a>(subject: &'a Subject, now: Millis) -> Option<Observation>;
    change_counters<'a>(changes: &'a [CounterChange], now: Millis) -> ();
    settle_debts<'a>(batch: &'a DebtBatch) -> ();
    counters<'a>(counters: &'a [Counter], now: Millis) -> Vec<CounterCount>;
}

role! { ReservationStore by reservations:
    ended_reservations<'a>(now: Millis, limit: usize) -> Vec<Reservation>;
    reservations<'a>(limit: usize) -> Vec<Reservation>;
    end_reservation<'a>(lease: &'a Reservation, now: Millis) -> Ended;
    change_reservation<'a>(id: &'a ReservationId, change: ReservationChange, now: Millis) -> ReservationChanged;
    count_charged<'a>(now: Millis) -> usize;
}

role! { StandingLookup by standings:
    standing<'a>(subject: &'a Subject) -> Option<StandingRecord>;
    standings_in_force<'a>(now: Millis) -> Vec<StandingRecord>;
}

role! { StandingStore by standings:
    respond<'a>(respond: &'a Respond) -> Responded;
    expire_bans<'a>(now: Millis) -> usize;
    forget<'a>(subject: &'a Subject, event: &'a Event) -> ();
}

role! { EventWriter by writer:
    append<'a>(events: &'a [Event]) -> Vec<Event>;
}

impl EventLog for Roles {
    fn events<'a>(&'a self, query: &'a EventQuery) -> StoreResult<'a, Page<Event>> {
        self.log.events(query)
    }

    fn event<'a>(&'a self, id: &'a str) -> StoreResult<'a, Option<Event>> {
        self.log.event(id)
    }

    fn log_end(&self) -> StoreResult<'_, LogPosition> {
        self.log.log_end()
    }

    fn position_after<'a>(&'a self, id: &'a str) -> StoreResult<'a, LogPosition> {
        self.log.position_after(id)
    }

    fn read_log<'a>(&'a self, position: &'a LogPosition, limit: usize) -> StoreResult<'a, LogPage> {
        self.log.read_log(position, limit)
    }

    fn advance(&self, position: &LogPosition, id: &str) -> Result<LogPosition, StoreError> {
        self.log.advance(position, id)
    }
}

role! { SinkStore by sinks:
    lead_sink<'a>(sink: &'a str, owner: &'a str, now: Millis, until: Millis) -> Option<SinkLead>;
    renew_sink<'a>(sink: &'a str, epoch: u64, until: Millis, health: &'a SinkHealth) -> Option<bool>;
    leave_sink<'a>(sink: &'a str, owner: &'a str) -> ();
    step_sink<'a>(step: &'a SinkStep) -> Stepped;
    sink<'a>(sink: &'a str) -> Option<SinkRecord>;
    dead_letters<'a>(sink: &'a str) -> Vec<DeadLetter>;
    act_on_dead_letters<'a>(sink: &'a str, act: DeadLetterAct, ids: &'a [String]) -> usize;
}

role! { ProfileStore by profiles:
    stored_profile<'a>(subject: &'a Subject) -> Option<StoredProfile>;
    write_profiles<'a>(changes: &'a [ProfileChange]) -> Vec<Result<ProfileWritten, StoreError>>;
    profile_news<'a>(since: Millis) -> Vec<Result<ProfileNews, StoreError>>;
    subjects_seen<'a>(after: Option<&'a SeenSubject>, limit: usize) -> Vec<SeenSubject>;
}

role! { DocumentStore by documents:
    documents<'a>() -> (Revision, Vec<Document>);
    documents_revision<'a>() -> Revision;
    documents_since<'a>(known: Revision) -> Option<Changed>;
    write_document<'a>(document: &'a Document, event: &'a Event) -> bool;
    write_document_at<'a>(document: &'a Document, event: &'a Event, at: Revision) -> bool;
}

role! { UsageStore by usage:
    add_usage<'a>(batch: &'a UsageBatch) -> ();
    usage<'a>(query: &'a UsageQuery) -> UsageTable;
}

role! { ClaimStore by claims:
    claim<'a>(request: &'a str, now: Millis) -> Claim;
    claimed<'a>(subject: &'a Subject, claim: u128, now: Millis) -> Claim;
    answer_claim<'a>(subject: &'a Subject, claim: u128, answer: &'a [u8], now: Millis) -> ();
}

role! { StoreControl by control:
    register_pepper<'a>(name: &'a str, fingerprint: &'a str) -> Option<String>;
    clock<'a>() -> Option<Millis>;
    ping<'a>() -> ();
    close<'a>() -> ();
}
