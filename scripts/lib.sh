# What scripts share: saying what is missing, and installing or unpacking it where a package manager is at hand.
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

# unpack_packages <folder> <packages>...: unpacks Debian's packages, with whatever they need that is not installed, into a
# folder that takes the place of what was there. Nothing is installed. Packages that exclude each other are in words of
# their own.
unpack_packages() {
  local folder=$1 fresh together package
  shift
  have apt-get || return 1
  say "unpacking $* into $folder"
  mkdir -p "$(dirname "$folder")"
  fresh=$(mktemp -d "$folder.XXXXXX")
  # shellcheck disable=SC2064
  trap "rm -rf '$fresh'" EXIT
  mkdir -p "$fresh/archives/partial"
  as_root env DEBIAN_FRONTEND=noninteractive apt-get update -qq >&2 || say "the lists of packages stay as they are"
  for together in "$@"; do
    # shellcheck disable=SC2086
    apt-get install -y -qq --no-install-recommends --reinstall --download-only \
      -o Debug::NoLocking=1 -o Dir::Cache::archives="$fresh/archives" $together >&2 || return 1
  done
  for package in "$fresh"/archives/*.deb; do dpkg-deb --extract "$package" "$fresh" || return 1; done
  rm -rf "$fresh/archives" "$folder"
  mv "$fresh" "$folder"
}
