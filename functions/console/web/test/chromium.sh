#!/usr/bin/env bash
# chromium.sh WHAT COMMAND…  runs COMMAND with the path of a Chromium in CHROMIUM. Where there
# is none, apt-get installs Debian's as root; where that cannot be, the answer is a line
# "SKIPPED: " with WHAT and the reason, and 0.
set -euo pipefail

what=$1
shift

skip() {
  echo "SKIPPED: $what ran nothing: $1"
  exit 0
}

find_chromium() {
  CHROMIUM=${CHROMIUM:-$(command -v chromium || command -v chromium-browser || command -v google-chrome || true)}
  [ -x "$CHROMIUM" ]
}

if ! find_chromium; then
  [ -z "$CHROMIUM" ] || skip "CHROMIUM names no program"
  command -v apt-get >/dev/null || skip "there is no Chromium: install it, or name one in CHROMIUM"
  [ "$(id -u)" = 0 ] || skip "there is no Chromium, and apt-get needs root to install it: apt-get install chromium, or name one in CHROMIUM"
  echo "Installing chromium with apt-get, once and for this whole machine."
  { apt-get install -y -qq --no-install-recommends chromium ||
    { apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium; }; } \
    >/dev/null 2>&1 </dev/null || skip "apt-get could not install chromium"
  find_chromium || skip "chromium is installed, but not found"
fi
export CHROMIUM
exec "$@"
