//! Where what belongs to this machine is kept, where no setting says it.

use std::path::{Path, PathBuf};

use super::{Config, Sources};

/// The directory below the one that a process is started in: used where it is there already, or nobody's home is known.
pub const HERE: &str = "./keyward-data";

/// The directory of whoever runs the service, by the XDG base directory specification; [`HERE`] where `is_here`, or
/// where the environment names neither a state directory nor a home.
fn directory(sources: &Sources, is_here: bool) -> PathBuf {
    let absolute = |name: &str| sources.variable(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let state = || absolute("XDG_STATE_HOME").or_else(|| Some(absolute("HOME")?.join(".local/state")));
    let own = if is_here { None } else { state() };
    own.map_or_else(|| HERE.into(), |state| state.join("keyward"))
}

impl Config {
    /// Names the directories that are not set.
    pub(super) fn settle(&mut self, sources: &Sources) {
        let own = directory(sources, Path::new(HERE).is_dir());
        if self.store.url.is_empty() {
            self.store.url = format!("embedded:{}", own.display());
        } else if self.store_is_shared() && self.secrets.data_directory.as_os_str().is_empty() {
            self.secrets.data_directory = own;
        }
    }

    /// Whether its data are in [`HERE`], and stay there for as long as that directory does.
    pub fn keeps_data_here(&self) -> bool {
        self.data_directory() == Path::new(HERE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_data_are_in_the_state_directory_of_the_user_unless_they_are_here_already() {
        let at = |environment: &[(&str, &str)], is_here| {
            let environment = environment.iter().map(|(name, value)| ((*name).into(), (*value).into()));
            directory(&Sources { environment: environment.collect(), ..Sources::default() }, is_here)
        };
        let (home, state) = (("HOME", "/home/a"), ("XDG_STATE_HOME", "/state"));
        assert_eq!(at(&[home, state], false), Path::new("/state/keyward"));
        assert_eq!(at(&[home], false), Path::new("/home/a/.local/state/keyward"));
        assert_eq!(
            at(&[home, ("XDG_STATE_HOME", "relative")], false),
            Path::new("/home/a/.local/state/keyward")
        );
        assert_eq!(at(&[("HOME", ""), ("XDG_STATE_HOME", "")], false), Path::new(HERE));
        assert_eq!(at(&[home, state], true), Path::new(HERE));
    }

    #[test]
    fn a_store_elsewhere_has_its_directory_there_too_and_what_is_set_stays() {
        let settled = |environment: &[(&str, &str)]| {
            let all = [&[("HOME", "/home/a")][..], environment].concat();
            let environment = all.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
            Config::load(&Sources { environment, ..Sources::default() }).unwrap()
        };
        let own = Path::new("/home/a/.local/state/keyward");
        let embedded = settled(&[]);
        assert_eq!(
            (embedded.store.url.as_str(), embedded.data_directory()),
            ("embedded:/home/a/.local/state/keyward", own.into())
        );
        assert_eq!(settled(&[("KEYWARD_STORE", "redis://db")]).data_directory(), own);
        assert_eq!(settled(&[("KEYWARD_STORE", "embedded:/srv/kw")]).data_directory(), Path::new("/srv/kw"));
    }
}
