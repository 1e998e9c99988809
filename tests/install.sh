#!/usr/bin/env bash
# Install the Debian packages of programs that a test needs and this machine lacks.
#
#   tests/install.sh PROGRAM...
#
# As root on Debian or Ubuntu they are installed; elsewhere one line says what is missing.
set -euo pipefail

declare -A package=(
    [buildah]=buildah [mmdebstrap]=mmdebstrap
    [slurmctld]=slurmctld [slurmd]=slurmd [sbatch]=slurm-client [sshd]=openssh-server [chromium]=chromium [wrk]=wrk
)
missing=()
for program in "$@"; do
    PATH=$PATH:/usr/sbin:/sbin command -v "$program" >/dev/null || missing+=("${package[$program]}")
done
((${#missing[@]})) || exit 0
if ((EUID)) || ! command -v apt-get >/dev/null; then
    echo "error: missing ${missing[*]}; install them (apt-get install ${missing[*]})" >&2
    exit 1
fi
echo "installing ${missing[*]}"
export DEBIAN_FRONTEND=noninteractive
log=$(mktemp)
trap 'rm -f "$log"' EXIT
{ apt-get update && apt-get install -y --no-install-recommends "${missing[@]}"; } >"$log" 2>&1 || {
    tail -n 3 "$log" >&2
    exit 1
}
