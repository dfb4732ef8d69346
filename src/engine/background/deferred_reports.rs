//! Reports that are counted behind their answer: those of keys that a ban or the registry refuses, and those with an
//! identity to which the store gave no answer. Nobody waits for the store on their account, and what they used is
//! counted within about a second, or when the store is back.
//!
//! A flood of them must not become one of the store. What only counts is added up by subject and counter, and told to
//! the store with what else is owed to it; what can be a retry, or settles a reservation, or is reported late, waits
//! for a charge of its own. Whether the store took it when it was sent before, only the store knows: it is sent again
//! as it was, and finds its own claim there.

use std::{collections::VecDeque, sync::Arc};

use parking_lot::Mutex;

use super::usage_book::UsageBook;
use crate::{
    clock,
    domain::{
        Millis, SECOND,
        counter::CounterChange,
        observation::{Charge, Claim, Observation},
        record::Record,
        reservation::Reservation,
        usage::{Totals, UsageDelta},
    },
    engine::{fallback::Fallback, shared::Shared},
    store::{StoreError, patient},
};

/// Reports that wait for a charge of their own, at most: about 64 MiB of them. Beyond it they are added up like the
/// others: a retry is then no longer distinguished.
const MOST_WAITING: usize = 32_768;
/// Beyond so many waiting, what parts of the store may lack is owed: a part that is away for long is not asked about
/// ever more charges.
const MOST_UNFINISHED: usize = 2_000;
/// A charge that is known by its name for less long is not sent again, in milliseconds.
const KNOWN_LONG_ENOUGH: Millis = 20 * SECOND;
/// Reports that are charged at a time.
const PAGE: usize = 500;

/// A report that waits for a charge of its own.
#[derive(Debug)]
pub(super) struct Report {
    pub(super) charge: Charge,
    pub(super) usage: Counted,
}

/// What usage counts of a report.
#[derive(Debug)]
pub(super) enum Counted {
    /// What the record says, and whether it was refused, and not only said to be one that would have been.
    Record(Box<Record>, bool),
    /// What another run had worked out.
    Delta(UsageDelta),
    /// It is counted; these are the changes that parts of the store lack.
    Done(Vec<CounterChange>),
}

/// Reports that are counted behind their answer.
pub(in crate::engine) struct DeferredReports {
    shared: Arc<Shared>,
    fallback: Arc<Fallback>,
    book: Arc<UsageBook>,
    /// Whether the store is another's, and can be owed something; in a replay it is in the process.
    owes: bool,
    waiting: Mutex<VecDeque<Report>>,
    /// One at a time charges what waits.
    charging: tokio::sync::Mutex<()>,
}

impl DeferredReports {
    /// What only counts is told to the store with what `fallback` has for it, if the store can be owed something.
    pub(in crate::engine) fn new(
        shared: Arc<Shared>,
        fallback: Arc<Fallback>,
        book: Arc<UsageBook>,
        owes: bool,
    ) -> Self {
        Self {
            shared,
            fallback,
            book,
            owes,
            waiting: Mutex::default(),
            charging: tokio::sync::Mutex::default(),
        }
    }

    /// Counts a record in limits (by its charge, if it has one) and usage, behind its answer.
    pub(in crate::engine) fn count(
        &self,
        record: &Record,
        charge: Option<Charge>,
        refused: bool,
        now: Millis,
    ) {
        let Some(charge) = charge else { return self.book.count(record, refused, now) };
        let waits = charge.entry.is_some() || !self.owes;
        if waits {
            let mut waiting = self.waiting.lock();
            if waiting.len() < MOST_WAITING {
                let usage = Counted::Record(Box::new(record.clone()), refused);
                return waiting.push_back(Report { charge, usage });
            }
        }
        self.fallback.owe(&charge, !charge.counts.is_zero());
        self.book.count(record, refused, now);
    }

    /// Sends a charge again that a part of the store did not answer, for as long as it is known there by its name;
    /// then, or where there is no room, the changes are owed that it may lack.
    pub(in crate::engine) fn finish(&self, charge: Charge, owed: Vec<CounterChange>) {
        let mut waiting = self.waiting.lock();
        if waiting.len() < MOST_UNFINISHED && self.book.retry_span() >= KNOWN_LONG_ENOUGH {
            waiting.push_back(Report { charge, usage: Counted::Done(owed) });
        } else {
            drop(waiting);
            self.fallback.owe_changes(&owed);
        }
    }

    /// Owes what charges may lack that are soon not known by their names any more.
    fn owe_overdue(&self, now: Millis) {
        let lasts = self.book.retry_span() / 2;
        self.waiting.lock().retain(|report| match &report.usage {
            Counted::Done(owed) if now - report.charge.now >= lasts => {
                self.fallback.owe_changes(owed);
                false
            }
            _ => true,
        });
    }

    /// Charges the reports that wait, and counts the usage of those that are no retries. While the store does not
    /// answer they go on waiting. None leaves before it is charged: whoever stops waiting here takes none along.
    pub(in crate::engine) async fn charge(&self, now: Millis) -> Result<(), StoreError> {
        let _turn = self.charging.lock().await;
        self.owe_overdue(now);
        // What comes meanwhile has its turn next time; what the store does not take stays in front.
        let (end, mut stays, mut failed) = (self.waiting.lock().len(), 0, None);
        let (mut begin, began) = (0, clock::instant());
        while begin < end {
            // What follows would outlive the names of charges.
            if began.elapsed().as_millis() as Millis >= self.book.retry_span() / 4 {
                break;
            }
            let charges: Vec<Charge> = {
                let waiting = self.waiting.lock();
                let page = waiting.iter().skip(stays).take(PAGE.min(end - begin));
                page.map(|report| report.charge.clone()).collect()
            };
            begin += charges.len().max(1);
            for observed in self.observe(&charges).await? {
                match observed {
                    Ok(observation) => stays += usize::from(!self.conclude(stays, observation, now)),
                    Err(error) => {
                        stays += 1;
                        failed = Some(error);
                    }
                }
            }
        }
        failed.map_or(Ok(()), Err)
    }

    /// Makes charges together; where that fails though the store answers, each by itself: a part of a Cluster that is
    /// away holds up nothing but its own.
    async fn observe(&self, charges: &[Charge]) -> Result<Vec<Result<Observation, StoreError>>, StoreError> {
        let store = &self.shared.store;
        match patient(store.observe(charges)).await {
            Ok(observed) => return Ok(observed.into_iter().map(Ok).collect()),
            Err(error) if charges.len() == 1 || !self.shared.is_answering() => return Err(error),
            Err(_) => {}
        }
        let alone = charges.iter().map(async |charge| {
            let mut observed = patient(store.observe(std::slice::from_ref(charge))).await?;
            observed.pop().ok_or_else(|| StoreError::Incompatible("an answer is missing".into()))
        });
        Ok(futures::future::join_all(alone).await)
    }

    /// Takes the report at a place out of the queue, as it is charged, and counts its usage unless it was a retry.
    /// One of which a part is not answered stays, with nothing more to count: `false`.
    fn conclude(&self, place: usize, mut observation: Observation, now: Millis) -> bool {
        let mut owed = std::mem::take(&mut observation.owed);
        let report = {
            let mut waiting = self.waiting.lock();
            let Some(report) = waiting.remove(place) else { return true };
            if let Counted::Done(lacks) = &report.usage {
                // Somebody has answered meanwhile: the charge is not known by its name any more.
                if observation.claim != Claim::Fresh {
                    self.fallback.owe_changes(lacks);
                    return true;
                }
                // What answered before is made.
                owed.retain(|change| lacks.contains(change));
            }
            if observation.unfinished {
                let charge = report.charge.clone();
                waiting.insert(place, Report { charge, usage: Counted::Done(owed) });
            } else {
                self.fallback.owe_changes(&owed);
            }
            report
        };
        let completes = observation.completes();
        if completes || observation.claim == Claim::Fresh {
            self.count_usage(report.usage, observation.kept(&report.charge), completes, now);
        }
        !observation.unfinished
    }

    /// Counts what was used, by the estimate that was kept where the record does not say it; not the request itself,
    /// where it was counted when it was seen on its way.
    fn count_usage(&self, usage: Counted, kept: Option<&Reservation>, completes: bool, now: Millis) {
        match usage {
            Counted::Done(_) => {}
            Counted::Record(record, refused) if completes => self.book.complete(&record, refused, now),
            Counted::Record(record, refused) => self.book.count_kept(&record, kept, refused, now),
            Counted::Delta(mut delta) => {
                if completes {
                    delta.measured.totals.requests = 0;
                }
                if let Some(kept) = kept {
                    let Totals { requests, refused, client_errors, server_errors, .. } =
                        delta.measured.totals;
                    let estimate = kept.usage_delta(false).measured.totals;
                    delta.measured.totals =
                        Totals { requests, refused, client_errors, server_errors, ..estimate };
                }
                self.book.add_delta(delta);
            }
        }
    }

    /// What waits, taken, with its usage worked out.
    pub(super) fn leave(&self, now: Millis) -> Vec<Report> {
        let waiting = std::mem::take(&mut *self.waiting.lock());
        let worked_out = |Report { charge, usage }: Report| {
            let delta = match usage {
                Counted::Record(record, refused) => self.book.delta(&record, refused, now),
                Counted::Delta(delta) => delta,
                Counted::Done(owed) => {
                    self.fallback.owe_changes(&owed);
                    return None;
                }
            };
            Some(Report { charge, usage: Counted::Delta(delta) })
        };
        waiting.into_iter().filter_map(worked_out).collect()
    }

    /// Takes over what waited in another run.
    pub(super) fn take_over(&self, reports: Vec<Report>) {
        self.waiting.lock().extend(reports);
    }
}
