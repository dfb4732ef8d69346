//! Programs that tests start beside the service, out of what scripts have put into the build directory.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// What a script has put into the build directory.
pub(crate) fn provided(script: &str, path: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name(script).join(path);
    assert!(path.exists(), "{} is needed: run scripts/{script}", path.display());
    path
}

/// A shell that starts what is added to it, and ends it with a signal when the pipe to this process closes.
pub(crate) fn watched(directory: &Path, signal: &str) -> Command {
    let script = format!(
        r#"{{ sh -c 'echo $$ >pid; exec "$@"' sh "$@" </dev/null >said 2>&1; touch ended; }} &
read -r _; [ -e ended ] || kill -{signal} "$(cat pid)"; wait"#
    );
    let mut command = Command::new("sh");
    command.args(["-c", &script, "sh"]).current_dir(directory);
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

/// Where the libraries of unpacked packages are: in a folder per architecture.
pub(crate) fn libraries(root: &Path) -> OsString {
    let under = |path: &str| std::fs::read_dir(root.join(path)).into_iter().flatten();
    let found = under("usr/lib").chain(under("lib")).map(|entry| entry.unwrap().path());
    std::env::join_paths(found.filter(|path| path.is_dir())).unwrap()
}
