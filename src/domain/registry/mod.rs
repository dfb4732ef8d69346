//! Plans, projects and keys: which limits apply to a request, and whether its key may make it at all.
//!
//! A [`Registry`] is made of the configuration and of what the store holds, which wins where both have a name. It is
//! never changed: a change makes another one that shares with the former what is the same, so that one of 100,000 keys
//! can change at the cost of a few hundred. `bodies` are the forms that people write, `limits` the limits in them,
//! `keys` what is kept of each key. Nothing is counted here.

mod bodies;
mod keys;
mod limits;
#[cfg(test)]
mod tests;
mod users;
mod wrong;

pub use bodies::{Held, KeyEntry, MAX_ALLOWED, Plan, Project};
pub use keys::NotAllowed;
pub use limits::{Amount, Applied, LimitBody, MAX_LIMITS, Rule, amount};
pub use wrong::Wrong;

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

use self::{
    keys::{Key, Keys},
    limits::Rules,
};
use super::{
    Millis,
    calendar::Zone,
    limit::{Priority, Scope},
    record::Record,
    subject::{Subject, SubjectKind},
};

/// What the rest of a limit is kept for is told in thousandths.
const WHOLE: u16 = 1000;
/// The zone of whoever has none.
const UTC: &str = "UTC";

/// What becomes of keys that are not registered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UnknownKeys {
    /// They have the default plan.
    #[default]
    Admit,
    /// Their requests are refused, with the reason that the key is unknown.
    Refuse,
}

/// How much of a limit that several share the requests of a priority may fill, in thousandths. High ones may fill it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shares {
    /// The share that requests of low priority may use, in thousandths.
    pub low: u16,
    /// The share that requests of medium priority may use, in thousandths.
    pub medium: u16,
}

impl Default for Shares {
    fn default() -> Self {
        Self { low: WHOLE, medium: WHOLE }
    }
}

impl Shares {
    fn of(&self, priority: Priority) -> u16 {
        match priority {
            Priority::Low => self.low,
            Priority::Medium => self.medium,
            Priority::High => WHOLE,
        }
    }
}

/// What the configuration says. Every body in it is checked.
#[derive(Debug, Clone, Default)]
pub struct Configured {
    /// Plans by their name.
    pub plans: BTreeMap<String, Plan>,
    /// Projects by their id.
    pub projects: BTreeMap<String, Project>,
    /// Limits on all requests together.
    pub limits: Vec<LimitBody>,
    /// What becomes of keys that are not registered.
    pub unknown_keys: UnknownKeys,
    /// The plan of keys without one; empty: none.
    pub default_plan: String,
    /// The project of requests whose key nobody registered and that name none; empty: none.
    pub default_project: String,
    /// Which share of a limit each priority may use.
    pub shares: Shares,
}

/// What an entry of the registry is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    /// A plan, under its name.
    Plan(Plan),
    /// A project, under its id.
    Project(Project),
    /// A key, under its public id.
    Key(KeyEntry),
}

/// What becomes of a name in the registry.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(
    clippy::large_enum_variant,
    reason = "few are held at a time, and most of them are of the large kind"
)]
pub enum Change {
    /// It is put, at a moment.
    Put(Entry, Millis),
    /// The stored plan goes; the configured one is in force again, if there is one.
    NoPlan,
    /// The stored project goes, likewise.
    NoProject,
    /// The key is no longer registered.
    NoKey,
}

type Named<T> = Arc<BTreeMap<Arc<str>, Held<T>>>;

/// Every plan, project and key in force.
#[derive(Debug, Clone, Default)]
pub struct Registry {
    configured: Arc<Configured>,
    plans: Named<Plan>,
    projects: Named<Project>,
    keys: Keys,
    ready: Arc<Ready>,
    /// Nothing in it concerns any request.
    idle: bool,
}

/// What follows from plans, projects and configuration, made ready for requests.
#[derive(Debug, Default)]
struct Ready {
    /// Of each plan, its rules by the zone of the calendar.
    plans: HashMap<Arc<str>, HashMap<Arc<str>, Rules>>,
    projects: HashMap<Subject, ReadyProject>,
    everything: Rules,
    /// The project of requests whose key nobody registered and that name none.
    default_project: Option<Subject>,
    /// Whether any project has a priority: else nobody is to be cut for anybody.
    prioritised: bool,
}

#[derive(Debug)]
struct ReadyProject {
    rules: Rules,
    plan: Option<Arc<str>>,
    zone: Arc<str>,
    priority: Option<Priority>,
}

/// What the registry says about a request.
#[derive(Debug, Clone, Default)]
pub struct Terms {
    /// The project that its key is registered to, which wins over the one that the record names; where neither says
    /// any, the default one.
    pub project: Option<Subject>,
    /// The record names another one.
    pub mismatch: bool,
    /// Its key is registered.
    pub is_registered: bool,
    /// Why it is refused.
    pub refusal: Option<NotAllowed>,
    /// The limits that apply to it: of its key, its project, and everything.
    pub limits: SmallVec<[Applied; 4]>,
}

impl Registry {
    /// The registry of a configuration and of what is stored.
    pub fn new(
        configured: Arc<Configured>,
        stored: impl IntoIterator<Item = (String, Entry, Millis)>,
    ) -> Self {
        fn held<T: Clone>(configured: &BTreeMap<String, T>) -> BTreeMap<Arc<str>, Held<T>> {
            let held = |body: &T| Held { body: Arc::new(body.clone()), updated: None };
            configured.iter().map(|(name, body)| (name.as_str().into(), held(body))).collect()
        }
        let (mut plans, mut projects) = (held(&configured.plans), held(&configured.projects));
        let mut keys = Vec::new();
        for (name, entry, at) in stored {
            let (name, updated) = (Arc::from(name), Some(at));
            match entry {
                Entry::Plan(body) => drop(plans.insert(name, Held { body: Arc::new(body), updated })),
                Entry::Project(body) => drop(projects.insert(name, Held { body: Arc::new(body), updated })),
                Entry::Key(body) => keys.push((name, body, at)),
            }
        }
        let (plans, projects, keys) = (Arc::new(plans), Arc::new(projects), Keys::new(keys));
        Self { configured, plans, projects, keys, ..Self::default() }.made_ready()
    }

    /// The registry after changes, made in their order. Names that none of them is about cost nothing, unless they
    /// share a part of the keys with one.
    #[must_use]
    pub fn after<'c>(&self, changes: impl IntoIterator<Item = (&'c str, Change)>) -> Self {
        let mut next = self.clone();
        let mut limits_change = false;
        for (name, change) in changes {
            limits_change |= !matches!(change, Change::NoKey | Change::Put(Entry::Key(_), _));
            next.change(name, change);
        }
        if limits_change { next.made_ready() } else { next.noticed() }
    }

    fn change(&mut self, name: &str, change: Change) {
        match change {
            Change::Put(Entry::Plan(body), at) => put(&mut self.plans, name, body, Some(at)),
            Change::Put(Entry::Project(body), at) => put(&mut self.projects, name, body, Some(at)),
            Change::Put(Entry::Key(body), at) => self.keys.put(name, body, at),
            Change::NoPlan => give_back(&mut self.plans, name, self.configured.plans.get(name)),
            Change::NoProject => give_back(&mut self.projects, name, self.configured.projects.get(name)),
            Change::NoKey => self.keys.remove(name),
        }
    }

    fn made_ready(mut self) -> Self {
        self.ready = Arc::new(Ready::new(&self.configured, &self.plans, &self.projects));
        self.noticed()
    }

    fn noticed(mut self) -> Self {
        let default_is_empty =
            self.configured.default_plan.is_empty() && self.configured.default_project.is_empty();
        let admits = self.configured.unknown_keys == UnknownKeys::Admit;
        let none = self.keys.is_empty() && self.projects.is_empty() && self.ready.everything.is_empty();
        self.idle = none && default_is_empty && admits;
        self
    }

    /// Every plan by its name.
    pub fn plans(&self) -> &BTreeMap<Arc<str>, Held<Plan>> {
        &self.plans
    }

    /// Every project by its id.
    pub fn projects(&self) -> &BTreeMap<Arc<str>, Held<Project>> {
        &self.projects
    }

    /// The key of this public id, if it is registered.
    pub fn key(&self, key_id: &str) -> Option<Held<KeyEntry>> {
        self.keys.held(key_id)
    }

    /// Whether there is a key of this public id.
    pub fn has_key(&self, key_id: &str) -> bool {
        self.keys.get(key_id).is_some()
    }

    /// Every key, in no order.
    pub fn keys(&self) -> impl Iterator<Item = (&Arc<str>, Held<KeyEntry>)> {
        self.keys.iter()
    }

    /// Whether nothing in it concerns any request.
    pub fn is_idle(&self) -> bool {
        self.idle
    }

    /// Whether a plan of this name is the configuration's, whatever is stored.
    pub fn configures_plan(&self, name: &str) -> bool {
        self.configured.plans.contains_key(name)
    }

    /// Whether a project of this id is the configuration's, whatever is stored.
    pub fn configures_project(&self, id: &str) -> bool {
        self.configured.projects.contains_key(id)
    }

    /// The limits on a project.
    pub fn limits_of_project(&self, id: &str) -> Vec<Applied> {
        let subject = Subject::project(id);
        let ready = self.ready.projects.get(&subject);
        let scope = Scope::Subject(subject);
        ready.into_iter().flat_map(|ready| ready.rules.iter()).map(|rule| rule.on(&scope, WHOLE)).collect()
    }

    /// The limits that a key has of its own.
    pub fn limits_of_key(&self, key_id: &str) -> Vec<Applied> {
        let Some(key) = self.keys.get(key_id) else { return Vec::new() };
        let project = key.project.as_ref().and_then(|project| self.ready.projects.get(project));
        let rules = key.rules_in(project.map_or(UTC, |project| &project.zone));
        let scope = Scope::Subject(Subject::key(key_id));
        rules.iter().map(|rule| rule.on(&scope, WHOLE)).collect()
    }

    /// The project of a key's requests, whatever they name: the one that it is registered to, and of a key that nobody
    /// registered the default one, which is theirs where they name none. `None`: the one that they name.
    pub fn project_of(&self, key_id: &str) -> Option<&Subject> {
        match self.keys.get(key_id) {
            Some(key) => key.project.as_ref(),
            None => self.ready.default_project.as_ref(),
        }
    }

    /// Every limit that requests of a key or of a project are held to, whatever their model: the key's own, its
    /// plan's, its project's, and those on everything.
    pub fn limits_on(&self, subject: &Subject) -> Vec<Applied> {
        let is_key = subject.kind() == SubjectKind::Key;
        let key = self.keys.get(subject.id()).filter(|_| is_key);
        let project = if is_key { self.project_of(subject.id()) } else { Some(subject) };
        let is_made_up = key.is_none() && self.configured.unknown_keys == UnknownKeys::Refuse;
        let asker = Some(subject).filter(|_| is_key && !is_made_up);
        let mut limits = SmallVec::new();
        self.ready.apply(key, &self.configured, project, asker, &|_| true, &mut limits);
        limits.into_vec()
    }

    /// What is said about a request at a moment. `country` is asked for only where it matters.
    pub fn terms(&self, record: &Record, country: impl FnOnce() -> Option<[u8; 2]>, now: Millis) -> Terms {
        if self.idle {
            return Terms::default();
        }
        let former = || record.former_keys.iter().find_map(|key| self.keys.get(key.id()));
        let key = self.keys.get(&record.key_id).or_else(former);
        let registered = key.and_then(|key| key.project.as_ref());
        let default = self.ready.default_project.as_ref();
        let assumed = default.filter(|_| key.is_none() && record.project.is_none());
        let mut terms = Terms {
            project: registered.or(assumed).cloned(),
            mismatch: registered.is_some()
                && record.project.is_some()
                && registered != record.project.as_ref(),
            is_registered: key.is_some(),
            refusal: match key {
                Some(key) => key.refuses(record, country, now),
                None => {
                    (self.configured.unknown_keys == UnknownKeys::Refuse).then_some(NotAllowed::UnknownKey)
                }
            },
            limits: SmallVec::new(),
        };
        self.ready.apply(
            key,
            &self.configured,
            registered.or(record.project.as_ref()).or(assumed),
            Some(&record.key),
            &|rule| rule.covers(record),
            &mut terms.limits,
        );
        if terms.refusal == Some(NotAllowed::UnknownKey) {
            // Made-up keys are refused: none of them has counters of its own.
            terms.limits.retain(|limit| !limit.is_on(&record.key));
        }
        terms
    }
}

fn put<T: Clone>(held: &mut Named<T>, name: &str, body: T, updated: Option<Millis>) {
    Arc::make_mut(held).insert(name.into(), Held { body: Arc::new(body), updated });
}

fn give_back<T: Clone>(held: &mut Named<T>, name: &str, configured: Option<&T>) {
    match configured {
        Some(body) => put(held, name, body.clone(), None),
        None => drop(Arc::make_mut(held).remove(name)),
    }
}

impl Ready {
    fn new(configured: &Configured, plans: &Named<Plan>, projects: &Named<Project>) -> Self {
        let mut zones: BTreeMap<Arc<str>, Zone> = BTreeMap::from([(UTC.into(), Zone::UTC)]);
        let default_project = &configured.default_project;
        let mut ready = Self {
            default_project: (!default_project.is_empty()).then(|| Subject::project(default_project)),
            everything: limits::rules(&limits::read(&configured.limits, "", &mut Vec::new()), &Zone::UTC),
            ..Self::default()
        };
        for (id, Held { body, .. }) in projects.iter() {
            let zone = body.zone();
            let name: Arc<str> = zone.name().into();
            zones.entry(name.clone()).or_insert(zone);
            ready.prioritised |= body.priority.is_some();
            let project = ReadyProject {
                rules: limits::rules(&body.limits(), &zone),
                plan: body.plan.as_deref().map(Into::into),
                zone: name,
                priority: body.priority,
            };
            ready.projects.insert(Subject::project(id), project);
        }
        for (name, Held { body, .. }) in plans.iter() {
            let limits = body.limits();
            let by_zone =
                zones.iter().map(|(zone_name, zone)| (zone_name.clone(), limits::rules(&limits, zone)));
            ready.plans.insert(name.clone(), by_zone.collect());
        }
        ready
    }

    /// The limits of a key's plan, by the zone of the calendar: its own, else its project's, else the default one.
    fn plan_of(
        &self,
        key: Option<&Key>,
        project: Option<&ReadyProject>,
        configured: &Configured,
    ) -> Option<&HashMap<Arc<str>, Rules>> {
        let own = key.and_then(|key| key.body.plan.as_deref()).and_then(|name| self.plans.get(name));
        let of_project = || self.plans.get(project?.plan.as_deref()?);
        own.or_else(of_project).or_else(|| self.plans.get(configured.default_plan.as_str()))
    }

    /// Adds the limits that `covers` finds to concern a request of `asker` (`None`: of any key) in a project.
    fn apply(
        &self,
        key: Option<&Key>,
        configured: &Configured,
        project: Option<&Subject>,
        asker: Option<&Subject>,
        covers: &dyn Fn(&Rule) -> bool,
        limits: &mut SmallVec<[Applied; 4]>,
    ) {
        let mut add = |rules: &Rules, but: &Rules, scope: &dyn Fn() -> Scope, share: u16| {
            let covering = rules.iter().filter(|rule| covers(rule) && !rule.is_among(but));
            limits.extend(covering.map(|rule| rule.on(&scope(), share)));
        };
        let none = Rules::default();
        let known = project.and_then(|project| self.projects.get(project));
        let zone = known.map_or(UTC, |project| &project.zone);
        if let Some(asker) = asker {
            let own = key.map(|key| key.rules_in(zone)).unwrap_or_default();
            add(&own, &none, &|| Scope::Subject(asker.clone()), WHOLE);
            // A limit of the key itself takes the place of the same one of its plan: one counter is charged once.
            let plan = self.plan_of(key, known, configured).and_then(|by_zone| by_zone.get(zone));
            add(plan.unwrap_or(&none), &own, &|| Scope::Subject(asker.clone()), WHOLE);
        }
        if let (Some(subject), Some(known)) = (project, known) {
            let share = known.priority.map_or(WHOLE, |priority| configured.shares.of(priority));
            add(&known.rules, &none, &|| Scope::Subject(subject.clone()), share);
        }
        let priority = known.and_then(|project| project.priority).unwrap_or_default();
        let share = if self.prioritised { configured.shares.of(priority) } else { WHOLE };
        add(&self.everything, &none, &|| Scope::Everything, share);
    }
}
