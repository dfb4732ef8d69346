//! A sink that notifies: the settings of a channel, and how events are grouped for it.

use std::sync::Arc;

use toml::Table;

use super::{channel::ChannelSettings, grouping::Grouping, notifier::Notifier};
use crate::{
    forward::{
        common::CommonSettings,
        context::SinkContext,
        contract::{KindSettings, Sink},
    },
    settings::{SettingError, SettingErrors, field_names, read_table},
};

/// The own settings of a sink that notifies by a channel.
#[derive(Debug)]
struct NotifySettings<C> {
    grouping: Grouping,
    channel: C,
}

impl<C: ChannelSettings> KindSettings for NotifySettings<C> {
    fn check(&self, common: &CommonSettings, errors: &mut SettingErrors) {
        if common.format.is_some() {
            let hint = format!("is not for a sink of type {}", common.kind);
            errors.check(Err(SettingError::new("format", hint)));
        }
        self.grouping.check(errors);
        self.channel.check(common, errors);
    }

    fn open(&self, common: &CommonSettings, context: &SinkContext) -> Result<Box<dyn Sink>, SettingError> {
        let channel = self.channel.open(common)?;
        Ok(Box::new(Notifier::new(self.grouping.clone(), C::TRAITS, channel, common, context.now.clone())))
    }

    /// What a batch costs is one write of the groups, whatever is in it.
    fn batch(&self) -> usize {
        1_000
    }

    fn notifies(&self) -> bool {
        true
    }
}

/// Reads the settings of a sink that notifies by a channel; `common` has the names of the settings that every sink has.
///
/// # Errors
/// Every unknown name, and the first value of each part that cannot be read.
pub fn read<C: ChannelSettings + 'static>(
    table: Table,
    common: &[&str],
) -> Result<Arc<dyn KindSettings>, SettingErrors> {
    let known = field_names::<Grouping>();
    let (grouping, own): (Table, Table) =
        table.into_iter().partition(|(key, _)| known.contains(&key.as_str()));
    let mut errors = SettingErrors::default();
    let grouping: Option<Grouping> = errors.take(read_table(grouping, &[]));
    let elsewhere: Vec<&str> = known.iter().chain(common).copied().collect();
    let channel = errors.finish(read_table::<C>(own, &elsewhere))?;
    Ok(Arc::new(NotifySettings { grouping: grouping.unwrap_or_default(), channel }))
}
