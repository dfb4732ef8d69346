# What scripts/test and .ci/run share: saying what is missing, and installing it where a package manager is at hand.
# Sourced, not run.

say() { printf '== %s\n' "$*" >&2; }
die() { printf 'error: %s\n' "$*" >&2; exit 1; }
have() { command -v "$1" >/dev/null 2>&1; }

# Runs a command as root, with sudo where that is needed.
as_root() {
  if [ "$(id -u)" -eq 0 ]; then "$@"; elif have sudo; then sudo "$@"; else return 1; fi
}

# install_package <apt name> <brew name>: fails where there is no package manager or no right to use it.
install_package() {
  if have apt-get; then
    say "installing $1"
    as_root env DEBIAN_FRONTEND=noninteractive apt-get update -qq >&2 &&
      as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$1" >&2
  elif have brew; then
    say "installing $2"
    brew install --quiet "$2" >&2
  else
    return 1
  fi
}
