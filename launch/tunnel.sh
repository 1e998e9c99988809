#!/usr/bin/env bash
# Bring the JupyterLab or the studio of another machine to this one through ssh, and print its link.
#
#   launch/tunnel.sh user@dgx                         where `make jupyter` runs there
#   WHAT=studio PORT=8000 launch/tunnel.sh user@dgx   where `make studio` does
#
# Further arguments go to ssh, as in -p 2222 or -J jump-host. Variables, with their defaults:
#   WHAT                jupyter or studio (jupyter)
#   PORT                the port there (8888)
#   LOCAL_PORT          the port here (PORT)
#   JUPYTER_TOKEN_FILE  the token's file there (.local/state/megatron_music/jupyter-PORT.token)
#   DRY_RUN=1           print the command instead of running it
# One connection carries both the token and the page; Ctrl-C closes it.
set -euo pipefail
case ${1:-} in -h | --help) sed -n '2,/^set /s/^#\( \|$\)//p' "$0" && exit ;; esac

refuse() { echo "error: $*" >&2; exit "${code:-2}"; }

host=${1:-}
[[ -n $host && $host != -* ]] || refuse "no host; as in: make tunnel HOST=user@dgx"
shift
PORT=${PORT:-8888} LOCAL_PORT=${LOCAL_PORT:-${PORT:-8888}}
for port in "$PORT" "$LOCAL_PORT"; do
    [[ $port =~ ^[1-9][0-9]{0,4}$ && $port -lt 65536 ]] ||
        refuse "PORT and LOCAL_PORT must be from 1 to 65535 (got '$port')"
done
WHAT=${WHAT:-jupyter}
[[ $WHAT == jupyter || $WHAT == studio ]] || refuse "WHAT must be jupyter or studio (got '$WHAT')"
file=${JUPYTER_TOKEN_FILE:-.local/state/megatron_music/jupyter-$PORT.token}
forward=(-N -L "127.0.0.1:$LOCAL_PORT:127.0.0.1:$PORT" -o ExitOnForwardFailure=yes
    -o ServerAliveInterval=30 "$@")
if [[ -n ${DRY_RUN:-} ]]; then
    printf '%q ' ssh "${forward[@]}" "$host"
    echo
    exit
fi

code=1
command -v ssh >/dev/null || refuse "no ssh on this machine; install openssh-client"
if (exec 3<>"/dev/tcp/127.0.0.1/$LOCAL_PORT") 2>/dev/null; then
    refuse "port $LOCAL_PORT is taken on this machine; give another, as in:" \
        "LOCAL_PORT=$((LOCAL_PORT + 1)) make tunnel HOST=$host"
fi
folder=$(mktemp -d 2>/dev/null) || refuse "no temporary folder can be made in ${TMPDIR:-/tmp}; set TMPDIR"
trap 'kill "$tunnel" 2>/dev/null; rm -rf "$folder"' EXIT
trap 'exit 130' INT TERM
control=(-o ControlPath="$folder/ssh")
ssh -o ControlMaster=yes "${control[@]}" "${forward[@]}" "$host" &
tunnel=$!
until ssh "${control[@]}" -O check "$host" 2>/dev/null; do
    kill -0 "$tunnel" 2>/dev/null || refuse "no tunnel to $host: see what ssh said above"
    sleep 0.2
done
if [[ $WHAT == studio ]]; then
    echo "The studio of $host; Ctrl-C closes the tunnel. Open http://127.0.0.1:$LOCAL_PORT/"
    wait "$tunnel" || refuse "the tunnel to $host ended; start it again"
    exit
fi
# shellcheck disable=SC2029  # the name is quoted here, for the shell there
token=$(ssh "${control[@]}" "$host" "cat $(printf %q "$file")" 2>/dev/null) ||
    refuse "$host has no $file that you can read; start it there: make jupyter PORT=$PORT"
cat <<LINES
JupyterLab of $host; Ctrl-C closes the tunnel. Open
    http://127.0.0.1:$LOCAL_PORT/lab?token=$token
LINES
wait "$tunnel" || refuse "the tunnel to $host ended; start it again"
