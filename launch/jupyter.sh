#!/usr/bin/env bash
# Start JupyterLab for this machine alone: on 127.0.0.1, with a token kept in a file of yours.
#
#   launch/jupyter.sh                             then open the link it prints
#   launch/tunnel.sh user@this-machine            from elsewhere
#
# Further arguments go to JupyterLab. Variables, with their defaults:
#   PORT                a free port on 127.0.0.1 (8888)
#   JUPYTER_TOKEN_FILE  made with mode 0600 if it is not there
#                       (~/.local/state/megatron_music/jupyter-PORT.token)
#   MUSIC_PYTHON        the interpreter (.venv's where there is one, else python3)
#   DRY_RUN=1           print the command instead of running it
# The token reaches JupyterLab through the file: no command line and no environment shows it.
set -euo pipefail
case ${1:-} in -h | --help) sed -n '2,/^set /s/^#\( \|$\)//p' "$0" && exit ;; esac
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

refuse() { echo "error: $*" >&2; exit "${code:-2}"; }

PORT=${PORT:-8888}
[[ $PORT =~ ^[1-9][0-9]{0,4}$ && $PORT -lt 65536 ]] ||
    refuse "PORT must be from 1 to 65535 (got '$PORT')"
export HOME=${HOME:-~}
export JUPYTER_TOKEN_FILE=${JUPYTER_TOKEN_FILE:-$HOME/.local/state/megatron_music/jupyter-$PORT.token}
python=${MUSIC_PYTHON:-$root/.venv/bin/python}
[[ -x $python || -n ${MUSIC_PYTHON:-} ]] || python=python3
command=("$python" -m jupyterlab --config "$root/launch/jupyter_config.py" --no-browser
    --ServerApp.ip=127.0.0.1 --ServerApp.port="$PORT" --ServerApp.port_retries=0
    --ServerApp.root_dir="$PWD" --log-level=WARN)
((EUID)) || command+=(--allow-root)
command+=("$@")
if [[ -n ${DRY_RUN:-} ]]; then
    printf '%q ' "JUPYTER_TOKEN_FILE=$JUPYTER_TOKEN_FILE" "${command[@]}"
    echo
    exit
fi

code=1
"$python" -c 'import importlib.util as u, sys; sys.exit(not u.find_spec("jupyterlab"))' 2>/dev/null ||
    refuse "$python has no JupyterLab; start with: make jupyter (or pip install jupyterlab)"
if (exec 3<>"/dev/tcp/127.0.0.1/$PORT") 2>/dev/null; then
    refuse "port $PORT is taken; give another, as in: make jupyter PORT=$((PORT + 1))"
fi

# JupyterLab's own message names no cure, so the file is made and tried here.
token() {
    "$python" - "$JUPYTER_TOKEN_FILE" <<'PYTHON'
import os, secrets, sys
from pathlib import Path

path = Path(sys.argv[1])
path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
try:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(secrets.token_hex(24) + "\n")
except FileExistsError:
    if path.is_symlink() or path.stat().st_uid != os.geteuid():
        sys.exit("it is a link or somebody else's; give another: JUPYTER_TOKEN_FILE=PATH")
    if path.stat().st_mode & 0o077:
        sys.exit(f"others can read it; remove it, or: chmod 600 {path}")
if len(token := path.read_text().strip()) < 16:
    sys.exit("it is empty or cut off; remove it for a new one")
print(token)
PYTHON
}
if ! token=$(token 2>&1); then
    refuse "$JUPYTER_TOKEN_FILE: ${token##*$'\n'}"
fi
# Kernels listen at sockets: files whose paths may have 107 letters, 50 of them for the name.
sockets=${JUPYTER_RUNTIME_DIR:-${JUPYTER_DATA_DIR:-${XDG_DATA_HOME:-$HOME/.local/share}/jupyter}/runtime}
if ((${#sockets} > 57)); then
    JUPYTER_RUNTIME_DIR=$(mktemp -d /tmp/jupyter.XXXXXX)
    export JUPYTER_RUNTIME_DIR
fi
cat <<LINES
JupyterLab on this machine alone; Ctrl-C ends it. Open
    http://127.0.0.1:$PORT/lab?token=$token
or, from another machine: make tunnel HOST=$(id -un)@$(uname -n) PORT=$PORT
LINES
exec "${command[@]}"
