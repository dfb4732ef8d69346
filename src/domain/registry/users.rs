//! Who has a plan, and who is in a project.

use super::{Applied, KeyEntry, Registry};
use crate::domain::subject::Subject;

impl Registry {
    /// Who has a plan: `default_plan`, `project:…`, `key:…`; the first few of them.
    pub fn users_of_plan(&self, name: &str, at_most: usize) -> Vec<String> {
        let default = (self.configured.default_plan == name).then(|| "default_plan".to_owned());
        let projects = self.projects.iter().filter(|(_, held)| held.body.plan.as_deref() == Some(name));
        let keys = self.keys.iter().filter(|(_, held)| held.body.plan.as_deref() == Some(name));
        let projects = projects.map(|(id, _)| format!("project:{id}"));
        let keys = keys.map(|(id, _)| format!("key:{id}"));
        default.into_iter().chain(projects).chain(keys).take(at_most).collect()
    }

    /// Which keys are registered to a project: the first few of them.
    pub fn users_of_project(&self, id: &str, at_most: usize) -> Vec<String> {
        let keys = self.keys.iter().filter(|(_, held)| held.body.project.as_deref() == Some(id));
        keys.map(|(id, _)| format!("key:{id}")).take(at_most).collect()
    }

    /// The limits of the first registered keys that have a plan, by themselves or by their project.
    pub fn limits_of_keys_with_plan(&self, name: &str, at_most: usize) -> Vec<Applied> {
        let by_project = |id: &str| {
            let held = self.projects.get(id)?;
            Some(held.body.plan.as_deref().unwrap_or(&self.configured.default_plan) == name)
        };
        let has_it = |held: &KeyEntry| match (&held.plan, &held.project) {
            (Some(plan), _) => **plan == *name,
            (None, Some(project)) => by_project(project).unwrap_or(false),
            (None, None) => self.configured.default_plan == name,
        };
        let keys = self.keys.iter().filter(|(_, held)| has_it(&held.body)).take(at_most);
        keys.flat_map(|(id, _)| self.limits_on(&Subject::key(id))).collect()
    }
}
