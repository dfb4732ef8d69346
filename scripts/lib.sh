# What the scripts share: saying what is missing, and installing it where a package manager is at hand.
# Sourced, not run.

say() { printf '== %s\n' "$*" >&2; }
die() { printf 'error: %s\n' "$*" >&2; exit 1; }
have() { command -v "$1" >/dev/null 2>&1; }

# Runs a command as root, with sudo where that is needed.
as_root() {
  if [ "$(id -u)" -eq 0 ]; then "$@"; elif have sudo; then sudo "$@"; else return 1; fi
}

# retried <command>...: three times at most, as a registry that fails once answers a little later.
retried() {
  local pause
  for pause in 10 40; do
    "$@" && return
    say "failed, and tried again in $pause seconds: $*"
    sleep "$pause"
  done
  "$@"
}

# A download that stalls for a minute is begun again, and two minutes are spent on waiting for another installation.
APT=(
  env DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=120
  -o Acquire::Retries=3 -o Acquire::http::Timeout=60 -o Acquire::https::Timeout=60
)

# Once in a run, with the scripts that it starts.
list_packages() {
  [ -n "${KEYWARD_PACKAGES_LISTED:-}" ] && return
  as_root "${APT[@]}" update </dev/null >&2 && export KEYWARD_PACKAGES_LISTED=1
}

install_from_apt() {
  list_packages && as_root "${APT[@]}" install -y --no-install-recommends "$1" </dev/null >&2 && return
  # What is not there may have been replaced since it was listed, and what was interrupted must be ended first.
  unset KEYWARD_PACKAGES_LISTED
  as_root env DEBIAN_FRONTEND=noninteractive dpkg --configure -a </dev/null >&2 || true
  return 1
}

# install_package <apt name> <brew name>: fails where there is no package manager or no right to use it.
install_package() {
  if have apt-get; then
    say "installing $1"
    retried install_from_apt "$1"
  elif have brew; then
    say "installing $2"
    retried brew install --quiet "$2" >&2
  else
    return 1
  fi
}

# download_from_apt <folder> <apt names>: with whatever they need that is not installed. The names are a list of words.
download_from_apt() {
  list_packages || say "the lists of packages stay as they are"
  # shellcheck disable=SC2086
  "${APT[@]}" install -y --no-install-recommends --reinstall --download-only \
    -o Debug::NoLocking=1 -o Dir::Cache::archives="$1" $2 </dev/null >&2 && return
  unset KEYWARD_PACKAGES_LISTED
  return 1
}

# unpack_packages <folder> <apt names>...: unpacked there and not installed, so that no service is started and nothing else
# on the machine changes. Packages that exclude each other are in separate arguments.
unpack_packages() {
  local folder=$1 names package
  shift
  have apt-get || return 1
  say "unpacking $* into $folder"
  fresh=$(mktemp -d "$folder.XXXXXX")
  trap 'rm -rf "$fresh"' EXIT
  mkdir -p "$fresh/archives/partial"
  for names in "$@"; do retried download_from_apt "$fresh/archives" "$names" || return 1; done
  for package in "$fresh"/archives/*.deb; do dpkg-deb --extract "$package" "$fresh" || return 1; done
  rm -rf "$fresh/archives" "$folder"
  mv "$fresh" "$folder"
}

# python_packages <folder> <package>...: in a new environment of Python.
python_packages() {
  local folder=$1
  shift
  say "installing $* into $folder"
  rm -rf "$folder"
  python3 -m venv "$folder" && retried "$folder/bin/pip" install --quiet "$@" >&2
}

# node_packages <folder> <package>...: in a new folder.
node_packages() {
  local folder=$1
  shift
  say "installing $* into $folder"
  rm -rf "$folder"
  mkdir -p "$folder"
  retried npm install --loglevel=error --no-audit --no-fund --prefix "$folder" "$@" >&2
}
