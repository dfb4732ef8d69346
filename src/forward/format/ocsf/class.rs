//! The classes of OCSF that Keyward uses, and the activities that they share.

use crate::domain::subject::{Subject, SubjectKind};

pub(super) const DETECTION_FINDING: Class = Class(2004, "Detection Finding", 2, "Findings");
pub(super) const ENTITY_MANAGEMENT: Class =
    Class(3004, "Entity Management", 3, "Identity & Access Management");
pub(super) const APPLICATION_ERROR: Class = Class(6008, "Application Error", 6, "Application Activity");

/// The class and its category: uid and caption of each.
pub(super) struct Class(pub(super) u32, pub(super) &'static str, pub(super) u32, pub(super) &'static str);

/// An id of an enum and its caption.
pub(super) type Choice = (u8, &'static str);

pub(super) const CREATE: Choice = (1, "Create");
pub(super) const UPDATE: Choice = (2, "Update");
pub(super) const CLOSE: Choice = (3, "Close");

/// What a subject is called as the type of a resource.
pub(super) fn type_of(subject: &Subject) -> &'static str {
    match subject.kind() {
        SubjectKind::Key => "API Key",
        SubjectKind::Ip => "IP Address",
        SubjectKind::Project => "Project",
    }
}
