#!/usr/bin/env bash
# Train with Megatron-LM's own pretrain_gpt.py on our data folder and tokenizer, by one of our recipes:
#
#     MEGATRON_LM=~/Megatron-LM launch/megatron_lm.sh article --data data/lakh --run-dir runs/stock
#     MEGATRON_LM=~/Megatron-LM NPROC=8 launch/megatron_lm.sh article --data data/lakh \
#         parallel.tensor_model_parallel_size=2 -- --log-throughput
#     DRY_RUN=1 launch/megatron_lm.sh article --data data/lakh     # print the command, run nothing
#
# It draws no windows of whole pieces, which collections of scores and folders are built as; write them out:
#     megatron-music data convert data/bach -o data/bach-windows
#
# Everything before `--` is for `megatron-music train`, everything after it for pretrain_gpt.py.
# MEGATRON_LM  the cloned Megatron-LM repository, of the release that fits the installed megatron-core
# NPROC        processes on this node, else one a GPU; NNODES, NODE_RANK, MASTER_ADDR, MASTER_PORT as in torchrun
# MUSIC_PYTHON the interpreter (.venv's where there is one, else python3)
# On a V100 add: train.precision=fp16 train.transformer_impl=local
set -euo pipefail
case ${1:-} in -h | --help) sed -n '2,/^set /s/^#\( \|$\)//p' "$0" && exit ;; esac

fail() {
    echo "error: $1" >&2
    exit 2
}

root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
python="${MUSIC_PYTHON:-$root/.venv/bin/python}"
command -v "$python" > /dev/null || python=python3

[[ "${NPROC:-1}" =~ ^[1-9][0-9]{0,5}$ ]] || fail "NPROC must be a whole number from 1 (got '$NPROC')"
"$python" -c 'from importlib.util import find_spec as has; exit(not has("typer"))' 2> /dev/null || {
    (($? < 128)) || exit 130 # Ctrl-C
    fail "$python cannot train; make an environment: make setup (or name one: MUSIC_PYTHON)"
}
(($#)) || fail "give a recipe and a data set: launch/megatron_lm.sh article --data data/lakh"
ours=()
while (($#)) && [[ "$1" != "--" ]]; do
    ours+=("$1")
    shift
done
if (($#)); then shift; fi

words="$("$python" -m megatron_music train "${ours[@]}" --megatron-lm-args)"
mapfile -t arguments <<< "$words"

if [[ -z "${NPROC:-}" ]]; then
    NPROC="$(nvidia-smi -L 2> /dev/null | grep -c '^GPU' || true)"
    ((NPROC)) || NPROC=1
fi
script="${MEGATRON_LM:-/path/to/Megatron-LM}/pretrain_gpt.py"
command=("$python" -m torch.distributed.run --nproc-per-node "$NPROC" --nnodes "${NNODES:-1}"
    --node-rank "${NODE_RANK:-0}" --master-addr "${MASTER_ADDR:-127.0.0.1}"
    --master-port "${MASTER_PORT:-29500}" "$script" "${arguments[@]}" "$@")

if [[ -n "${DRY_RUN:-}" ]]; then
    printf '%q ' "${command[@]}"
    echo
    exit
fi
[[ -n "${MEGATRON_LM:-}" ]] || fail "MEGATRON_LM is not set; give the path of a Megatron-LM clone"
[[ -f "$script" ]] || fail "no $script; MEGATRON_LM must be the root of a Megatron-LM clone"
wants="$("$python" - "$MEGATRON_LM/pyproject.toml" 2> /dev/null <<'PYTHON' || true
import platform, sys, tomllib
from packaging.specifiers import SpecifierSet

with open(sys.argv[1], "rb") as file:
    wanted = tomllib.load(file)["project"]["requires-python"]
if platform.python_version() not in SpecifierSet(wanted):
    print(wanted)
PYTHON
)"
[[ -z "$wants" ]] || fail "$MEGATRON_LM needs Python $wants, and $python is another; name one that fits: MUSIC_PYTHON"
# Megatron asks for it with tensor parallelism before Blackwell.
export CUDA_DEVICE_MAX_CONNECTIONS="${CUDA_DEVICE_MAX_CONNECTIONS:-1}"
export PYTHONPATH="$MEGATRON_LM${PYTHONPATH:+:$PYTHONPATH}"
exec "${command[@]}"
