#!/bin/sh
# Install the named Debian packages that are missing; says nothing where all are there.
set -eu
missing=
for name; do
    [ "$(dpkg-query -W -f '${db:Status-Status}' "$name" 2>/dev/null)" = installed ] || missing="$missing $name"
done
[ -n "$missing" ] || exit 0
command -v apt-get >/dev/null || { echo "missing:$missing. Install them with your system's package manager" >&2; exit 1; }
if [ "$(id -u)" = 0 ]; then as_root=; else as_root="sudo -E"; fi
echo "  packages     installs$missing"
# One at a time, as `make -j` may start several.
exec 9<"$0"
flock 9
log=$(mktemp)
export DEBIAN_FRONTEND=noninteractive
# nginx is only run by tests, never as this host's own service: nothing that is installed here starts by itself.
policy=/usr/sbin/policy-rc.d
[ -e $policy ] || { printf '#!/bin/sh\nexit 101\n' | $as_root tee $policy >/dev/null; $as_root chmod 755 $policy; made=1; }
status=0
{ $as_root apt-get update -q && $as_root apt-get install -q -y --no-install-recommends $missing; } >"$log" 2>&1 || status=$?
[ -z "${made:-}" ] || $as_root rm -f $policy
[ $status = 0 ] || { tail -n 3 "$log" >&2; echo "could not install$missing; the log is $log. Is the package mirror in reach?" >&2; exit 1; }
rm -f "$log"
