//! What is wrong with a setting. Never holds a value that may be a secret.

use std::{error::Error, fmt};

type Source = Box<dyn Error + Send + Sync>;

/// One setting cannot be used.
#[derive(Debug)]
pub struct SettingError {
    /// The dotted name of the setting, such as `sinks.siem.url`.
    pub setting: String,
    /// The line of the file where the setting is, from 1; `None` where there is no file, or before the file is known.
    pub line: Option<usize>,
    /// What is wrong, and what the setting must be; reads on after the name.
    pub hint: String,
    /// The name or the value that was probably meant.
    pub suggestion: Option<String>,
    /// The setting that this one contradicts. Where that one is wrong by itself, nothing can be said about the two.
    pub contradicts: Option<Box<str>>,
    source: Option<Source>,
}

impl SettingError {
    /// An error about `setting`; `hint` reads on after the name: `must be from 1 to 1000`.
    pub fn new(setting: impl Into<String>, hint: impl Into<String>) -> Self {
        let (setting, hint) = (setting.into(), hint.into());
        Self { setting, line: None, hint, suggestion: None, contradicts: None, source: None }
    }

    /// An error about `setting`, where `holds` is false.
    ///
    /// # Errors
    /// The setting and the hint.
    pub fn ensure(holds: bool, setting: &str, hint: impl Into<String>) -> Result<(), Self> {
        if holds { Ok(()) } else { Err(Self::new(setting, hint)) }
    }

    /// The same error by another name of its setting.
    pub fn renamed(mut self, setting: &str) -> Self {
        setting.clone_into(&mut self.setting);
        self
    }

    /// The same error with the name or the value that was probably meant.
    pub fn suggesting(mut self, suggestion: Option<impl Into<String>>) -> Self {
        self.suggestion = suggestion.map(Into::into);
        self
    }

    /// The same error as one between its setting and `other`.
    pub fn contradicting(mut self, other: impl Into<Box<str>>) -> Self {
        self.contradicts = Some(other.into());
        self
    }

    /// The same error with the error that led to it.
    pub fn because(mut self, source: impl Into<Source>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// The same error about a setting within `table`; an error about no setting in particular is about the table.
    pub fn within(mut self, table: &str) -> Self {
        self.setting =
            if self.setting.is_empty() { table.to_owned() } else { format!("{table}.{}", self.setting) };
        self.contradicts = self.contradicts.map(|other| format!("{table}.{other}").into());
        self
    }

    /// The hint, what was probably meant, and the errors that led to it: all but the name.
    pub fn explanation(&self) -> String {
        let mut text = self.hint.clone();
        let mut source = self.source();
        while let Some(cause) = source {
            text = format!("{text}: {cause}");
            source = cause.source();
        }
        if let Some(suggestion) = &self.suggestion {
            text = format!("{text}; did you mean `{suggestion}`?");
        }
        text
    }
}

impl fmt::Display for SettingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.setting, self.explanation())
    }
}

impl Error for SettingError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_ref().map(|source| &**source as &(dyn Error + 'static))
    }
}

/// Everything that is wrong with some settings; never empty when it is returned as an error.
#[derive(Debug, Default)]
pub struct SettingErrors(Vec<SettingError>);

impl SettingErrors {
    /// Adds the error of a check that failed.
    pub fn check(&mut self, result: Result<(), SettingError>) {
        self.0.extend(result.err());
    }

    /// The value of a part; `None` if it has errors, which are added.
    pub fn take<T>(&mut self, result: Result<T, impl Into<Self>>) -> Option<T> {
        match result {
            Ok(value) => Some(value),
            Err(errors) => {
                self.0.extend(errors.into().0);
                None
            }
        }
    }

    /// The value of the last part, if nothing is wrong with it nor with what was checked before.
    ///
    /// # Errors
    /// Everything that is wrong, in the order in which it was found.
    pub fn finish<T>(mut self, last: Result<T, impl Into<Self>>) -> Result<T, Self> {
        match self.take(last) {
            Some(value) if self.0.is_empty() => Ok(value),
            _ => Err(self),
        }
    }

    /// Adds errors that were found elsewhere.
    pub fn extend(&mut self, errors: Self) {
        self.0.extend(errors.0);
    }

    /// Whether nothing is wrong.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether one of the errors is about `setting` or a part of it.
    pub fn concern(&self, setting: &str) -> bool {
        self.0.iter().any(|error| {
            let rest = error.setting.strip_prefix(setting);
            rest.is_some_and(|rest| setting.is_empty() || rest.is_empty() || rest.starts_with(['.', '[']))
        })
    }

    /// The same errors about settings within `table`.
    pub fn within(self, table: &str) -> Self {
        Self(self.0.into_iter().map(|error| error.within(table)).collect())
    }

    /// The errors in the order in which they were found.
    pub fn iter(&self) -> impl Iterator<Item = &SettingError> {
        self.0.iter()
    }

    /// The errors in the order in which they were found, to be completed.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut SettingError> {
        self.0.iter_mut()
    }
}

impl From<SettingError> for SettingErrors {
    fn from(error: SettingError) -> Self {
        Self(vec![error])
    }
}

impl IntoIterator for SettingErrors {
    type Item = SettingError;
    type IntoIter = std::vec::IntoIter<SettingError>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl fmt::Display for SettingErrors {
    /// Writes one line for each error.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, error) in self.0.iter().enumerate() {
            let gap = if n == 0 { "" } else { "\n" };
            write!(f, "{gap}{error}")?;
        }
        Ok(())
    }
}

impl Error for SettingErrors {
    /// The source of the only error; several errors have no one source.
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self.0.as_slice() {
            [only] => only.source(),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_names_the_setting_the_cause_and_what_was_meant() {
        let error = SettingError::new("transport", "must be one of udp, tcp, tls")
            .suggesting(Some("tls"))
            .because(std::io::Error::other("no such thing"))
            .within("sinks.siem");
        let text = "sinks.siem.transport must be one of udp, tcp, tls: no such thing; did you mean `tls`?";
        assert_eq!(error.to_string(), text);
        assert!(error.source().is_some());
        assert_eq!(SettingError::new("", "is empty").within("sinks.a").to_string(), "sinks.a is empty");
    }

    #[test]
    fn several_errors_are_one_line_each() {
        let mut errors = SettingErrors::default();
        errors.check(Err(SettingError::new("a", "must be 1")));
        errors.check(Ok(()));
        let value: Option<u8> = errors.take(Err(SettingError::new("b", "must be 2")));
        assert_eq!(value, None);
        assert_eq!(errors.take(Ok::<u8, SettingError>(3)), Some(3));
        assert_eq!(errors.within("t").to_string(), "t.a must be 1\nt.b must be 2");
    }
}
