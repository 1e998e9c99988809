#!/usr/bin/env bash
# What the container does, by its first word.
#
#   pretrain RECIPE --data DIR ...   train on all its GPUs (launch/pretrain.sh)
#   jupyter [OPTION...]              JupyterLab on 127.0.0.1:PORT (launch/jupyter.sh)
#   profile sweep|nvml|report ...    megatron-music profile
#   studio [OPTION...]               the studio on 127.0.0.1:8000; songs and votes in studio/
#   shell                            bash
#   health                           for HEALTHCHECK: whether the role at work answers
#   anything else                    that command
#
# Runs as any uid: what needs a home finds it in /cache, mounted, or in a temporary folder.
set -euo pipefail
case ${1:-} in -h | --help) sed -n '2,/^set /s/^#\( \|$\)//p' "$0" && exit ;; esac
here=/opt/megatron_music
answering=/tmp/megatron_music-address

role=${1:-shell}
(($# == 0)) || shift
if [[ $role == health ]]; then
    [[ ! -f $answering ]] || exec python3 - "$(<"$answering")" <<'PYTHON'
import sys, urllib.request

urllib.request.urlopen(f"http://127.0.0.1:{sys.argv[1]}", timeout=4)
PYTHON
    exit
fi

# The port among the options of a studio.
studio_port() {
    local port=8000
    while (($#)); do
        case $1 in --port) port=${2:-} ;; --port=*) port=${1#*=} ;; esac
        shift
    done
    echo "$port"
}

cache=/cache
[[ -w $cache ]] || cache=$(mktemp -d)
export HOME=$cache XDG_CACHE_HOME=$cache USER=${USER:-music} LOGNAME=${LOGNAME:-music}
export NUMBA_CACHE_DIR=$cache/numba MPLCONFIGDIR=$cache/matplotlib HF_HOME=$cache/huggingface
# The kernels that the image brings, in place of those of an image before it.
if [[ -f $here/numba/built ]] && ! cmp -s "$here/numba/built" "$cache/numba/built"; then
    fresh=$(mktemp -d "$cache/numba.XXXXXX")
    cp -r "$here/numba/." "$fresh"
    rm -rf "$cache/numba"
    mv -T "$fresh" "$cache/numba" || rm -rf "$fresh" # another container was quicker
fi
export TORCHINDUCTOR_CACHE_DIR=$cache/inductor TRITON_CACHE_DIR=$cache/triton
export MUSIC_PYTHON=python3

case $role in
    pretrain) command=("$here/launch/pretrain.sh" "$@") ;;
    jupyter)
        echo "${PORT:-8888}/api" >"$answering"
        command=("$here/launch/jupyter.sh" "$@")
        ;;
    profile) command=(megatron-music profile "$@") ;;
    studio)
        echo "$(studio_port "$@")/healthz" >"$answering"
        command=(megatron-music studio "$@")
        ;;
    shell) command=(bash "$@") ;;
    *) command=("$role" "$@") ;;
esac

# NVIDIA's own entry point fits the driver's libraries; what it prints is kept off our stdout.
theirs=/opt/nvidia/nvidia_entrypoint.sh
[[ -x $theirs ]] || exec "${command[@]}"
exec 3>&1
# shellcheck disable=SC2016  # expanded by the inner shell
exec "$theirs" /bin/bash -c 'exec "$@" >&3 3>&-' bash "${command[@]}" >&2
