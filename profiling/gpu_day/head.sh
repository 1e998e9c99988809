# Sourced by carry.sh and carried.sh: strict mode, --help, the checkout's root, refusals in one line.
set -euo pipefail
case ${1:-} in -h | --help) sed -n '2,/^[^#]/s/^#\( \|$\)//p' "$0" && exit ;; esac
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

fail() {
    echo "error: $1" >&2
    exit 1
}
