#!/usr/bin/env bash
# Fetches MaxMind's GeoLite2 databases with your own account and puts them in place, each in one step.
#
#   MAXMIND_ACCOUNT_ID=... MAXMIND_LICENSE_KEY=... geoip/refresh.sh <directory> [edition]...
#
# Editions default to GeoLite2-City and GeoLite2-ASN. An edition that has not changed is not fetched again.
# Nothing is replaced unless the download matches the publisher's SHA-256.
set -euo pipefail

usage() {
  echo "usage: MAXMIND_ACCOUNT_ID=... MAXMIND_LICENSE_KEY=... $0 <directory> [edition]..." >&2
  exit 2
}

[[ $# -ge 1 ]] || usage
: "${MAXMIND_ACCOUNT_ID:?set MAXMIND_ACCOUNT_ID to your MaxMind account id}"
: "${MAXMIND_LICENSE_KEY:?set MAXMIND_LICENSE_KEY to your MaxMind licence key}"
directory=$1
shift
editions=("$@")
[[ ${#editions[@]} -gt 0 ]] || editions=(GeoLite2-City GeoLite2-ASN)
[[ -d $directory ]] || { echo "$directory is not a directory" >&2; exit 2; }

# Beside the target, so that the last step is a rename within one file system.
work=$(mktemp -d "$directory/.refresh.XXXXXX")
trap 'rm -rf "$work"' EXIT

# The credentials go through a file that only this user can read: arguments show in the process list.
(umask 077 && printf 'user = "%s:%s"\n' "$MAXMIND_ACCOUNT_ID" "$MAXMIND_LICENSE_KEY" >"$work/credentials")

fetch() { # url target
  curl --fail --silent --show-error --location --retry 3 --max-time 600 --config "$work/credentials" --output "$2" "$1"
}

for edition in "${editions[@]}"; do
  base="https://download.maxmind.com/geoip/databases/$edition/download"
  fetch "$base?suffix=tar.gz.sha256" "$work/$edition.sha256"
  expected=$(cut -d' ' -f1 "$work/$edition.sha256")
  [[ $expected =~ ^[0-9a-f]{64}$ ]] || { echo "$edition: the checksum that came is none" >&2; exit 1; }

  known="$directory/.$edition.sha256"
  if [[ -f "$directory/$edition.mmdb" && -f $known && $(<"$known") == "$expected" ]]; then
    echo "$edition: up to date"
    continue
  fi

  fetch "$base?suffix=tar.gz" "$work/$edition.tar.gz"
  echo "$expected  $work/$edition.tar.gz" | sha256sum --check --quiet
  mkdir "$work/$edition"
  tar --extract --gzip --file "$work/$edition.tar.gz" --directory "$work/$edition" --strip-components=1
  sync "$work/$edition/$edition.mmdb"
  mv --force "$work/$edition/$edition.mmdb" "$directory/$edition.mmdb"
  echo "$expected" >"$known"
  echo "$edition: replaced"
done
