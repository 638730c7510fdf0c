#!/usr/bin/env bash
# engine.sh RIE COMMAND…  runs COMMAND beside a container engine that exists only meanwhile.
#
# The engine is Debian's podman, as root, in namespaces of its own for mounts, network and
# processes: containers reach COMMAND's ports at 10.88.0.1 and nobody else reaches them,
# and when COMMAND has ended nothing runs any more, no rule is in the firewall and the
# engine's files are gone. What stays are the packages that apt-get has installed.
#
# The engine holds one image, the one that SAM runs provided.al2023 functions of x86_64 in:
# RIE, the Lambda runtime interface emulator, and no operating system. A static binary
# needs none, and no registry is asked.
#
# COMMAND gets the engine's address in DOCKER_HOST and a HOME that is thrown away.
# Where no engine can start, the answer is a line "SKIPPED: " with the reason, and 0.
set -euo pipefail

image=public.ecr.aws/lambda/provided:al2023-rapid-x86_64

outside() {
  [ "$(uname -sm)" = "Linux x86_64" ] || skip "this is $(uname -sm), and the engine needs Linux on x86_64"
  [ "$(id -u)" = 0 ] || skip "the engine needs root"
  install_engine
  unshare --mount --net --pid --fork --mount-proc true 2>/dev/null || skip "the kernel gives root no namespaces here"

  dir=$(mktemp -d /tmp/keyreeve-engine.XXXXXX)
  trap 'rm -rf "$dir"' EXIT
  unshare --mount --net --pid --fork --kill-child --mount-proc "$0" --inside "$dir" "$@" &
  # unshare lets no other signal through; its end is everybody's inside.
  trap 'kill -KILL $! 2>/dev/null; wait; exit 130' INT TERM
  status=0
  wait $! || status=$?
  [ ! -e "$dir/reason" ] || skip "$(cat "$dir/reason")"
  exit $status
}

skip() {
  echo "SKIPPED: make test-sam ran nothing: $1"
  exit 0
}

install_engine() {
  complete && return
  command -v apt-get >/dev/null || skip "there is no podman, and no apt-get to install it with"
  echo "Installing podman, crun, netavark and iptables with apt-get, once and for this whole machine."
  { apt-get install -y -qq --no-install-recommends podman crun netavark iptables iproute2 ||
    { apt-get update -qq && apt-get install -y -qq --no-install-recommends podman crun netavark iptables iproute2; }; } \
    >/dev/null 2>&1 </dev/null || skip "apt-get could not install podman"
  complete || skip "podman is installed, but not whole"
}

complete() {
  command -v podman crun iptables ip unshare >/dev/null && [ -x /usr/lib/podman/netavark ]
}

inside() {
  dir=$1 rie=$2
  shift 2
  ip link set lo up
  # crun takes a unified hierarchy beside the old ones for a cgroup v2 that it could use.
  umount /sys/fs/cgroup/unified 2>/dev/null || true
  configure
  podman --tmpdir "$dir/tmp" system service --time=0 "unix://$dir/podman.sock" >"$dir/log" 2>&1 &
  for _ in $(seq 100); do
    remote version >/dev/null 2>&1 && break
    sleep 0.1
  done
  remote version >/dev/null 2>&1 || give_up "the engine does not answer: $(tail -n 3 "$dir/log")"
  import_image
  # The emulator waits for calls; it is enough that a second later it still does.
  remote create --name probe "$image" /var/rapid/aws-lambda-rie bootstrap >/dev/null 2>"$dir/log" &&
    remote start probe >/dev/null 2>"$dir/log" && sleep 1 &&
    [ "$(remote inspect --format '{{.State.Running}}' probe 2>"$dir/log")" = true ] ||
    give_up "the engine runs no container: $(tail -n 3 "$dir/log") $(remote logs --tail 3 probe 2>&1)"
  remote rm --force --time 0 probe >/dev/null
  DOCKER_HOST=unix://$dir/podman.sock "$@"
}

remote() { timeout 60 podman --remote --url "unix://$dir/podman.sock" "$@"; }

give_up() {
  echo "$1" >"$dir/reason" # which makes the outer half skip
  exit 1
}

# cgroups: an unprivileged machine hands out none. The limits: root may not raise its own
# everywhere, and podman's defaults are higher than many a machine's.
configure() {
  export HOME=$dir/home CONTAINERS_CONF=$dir/containers.conf CONTAINERS_STORAGE_CONF=$dir/storage.conf
  mkdir -p "$HOME/.config/containers"
  echo '{"default":[{"type":"insecureAcceptAnything"}]}' >"$HOME/.config/containers/policy.json"
  cat >"$CONTAINERS_CONF" <<END
[containers]
cgroups = "disabled"
default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]
[engine]
cgroup_manager = "cgroupfs"
events_logger = "none"
runtime = "crun"
[network]
network_backend = "netavark"
network_config_dir = "$dir/networks"
END
  cat >"$CONTAINERS_STORAGE_CONF" <<END
[storage]
driver = "vfs"
graphroot = "$dir/images"
runroot = "$dir/run"
END
}

import_image() {
  mkdir -p "$dir/root"/{var/{rapid,task,runtime},opt,tmp,etc}
  chmod 1777 "$dir/root/tmp"
  install -m 755 "$rie" "$dir/root/var/rapid/aws-lambda-rie"
  tar -C "$dir/root" -c . | remote import - "$image" >/dev/null 2>"$dir/log" || give_up "the engine takes no image: $(tail -n 3 "$dir/log")"
}

if [ "$1" = --inside ]; then
  shift
  inside "$@"
else
  outside "$@"
fi
