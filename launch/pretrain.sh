#!/usr/bin/env bash
# Train on all GPUs of this machine, or as one node of several: the same command on every node.
#
#   launch/pretrain.sh article --data data/lakh --run-dir runs/lakh-article train.lr=1e-3
#   TP=2 NNODES=2 NODE_RANK=0 MASTER_ADDR=10.0.0.1 launch/pretrain.sh article --data data/lakh
#
# All arguments, the recipe first, go to `megatron-music train`. Variables, with their defaults:
#   NPROC         processes on this node (one a GPU; 1 without GPUs)
#   TP, PP        tensor and pipeline model parallel size (1, 1)
#   NNODES        nodes (1)
#   NODE_RANK     this node's number, from 0 (0)
#   MASTER_ADDR   node 0 as the others reach it (127.0.0.1 with one node)
#   MASTER_PORT   a free port there (29500)
#   MUSIC_PYTHON  the interpreter (.venv's where there is one, else python3)
#   DRY_RUN=1     print the command instead of running it
# Set for the training unless they are set already:
#   CUDA_DEVICE_MAX_CONNECTIONS=1           with TP > 1: Megatron's overlap needs it before Blackwell
#   NCCL_DEBUG=WARN                         a failing fabric says why
#   NCCL_SOCKET_IFNAME, GLOO_SOCKET_IFNAME  with several nodes: the interface that leads to node 0
#   OMP_NUM_THREADS                         this node's cores over its processes
set -euo pipefail
case ${1:-} in -h | --help) sed -n '2,/^set /s/^#\( \|$\)//p' "$0" && exit ;; esac
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

refuse() { echo "error: $*" >&2; exit 2; }

# The interface on the way to a host; on the host itself, the one that bears its address.
interface_to() {
    "$python" - "$1" 2>/dev/null <<'PYTHON' || true
import socket, sys
import psutil

family, _, _, _, there = socket.getaddrinfo(sys.argv[1], 1, type=socket.SOCK_DGRAM)[0]
with socket.socket(family, socket.SOCK_DGRAM) as probe:  # nothing is sent
    probe.connect(there)
    here = probe.getsockname()[0]
interfaces = psutil.net_if_addrs().items()
print(next(name for name, bears in interfaces if here in [one.address for one in bears]))
PYTHON
}

gpus=$("$root/launch/count_gpus.sh")
NPROC=${NPROC:-$((gpus > 0 ? gpus : 1))} TP=${TP:-1} PP=${PP:-1}
NNODES=${NNODES:-1} NODE_RANK=${NODE_RANK:-0} MASTER_PORT=${MASTER_PORT:-29500}
for count in "$NPROC" "$TP" "$PP" "$NNODES"; do
    [[ $count =~ ^[1-9][0-9]{0,5}$ ]] ||
        refuse "NPROC, TP, PP and NNODES must be whole numbers from 1 (got '$count')"
done
processes=$((NPROC * NNODES)) model=$((TP * PP))
((processes % model == 0)) || refuse "$processes processes (NPROC=$NPROC on NNODES=$NNODES)" \
    "cannot hold TP=$TP x PP=$PP; use a multiple of $model"
((gpus == 0 || NPROC <= gpus)) ||
    refuse "NPROC=$NPROC processes need as many GPUs and this machine has $gpus; use NPROC=$gpus"
((NNODES == 1)) || [[ -n ${MASTER_ADDR:-} ]] ||
    refuse "NNODES=$NNODES needs MASTER_ADDR: the address of node 0 as the others reach it"
[[ $NODE_RANK =~ ^(0|[1-9][0-9]{0,5})$ && $NODE_RANK -lt $NNODES ]] ||
    refuse "NODE_RANK must be from 0 to $((NNODES - 1)) (got '$NODE_RANK')"
[[ $MASTER_PORT =~ ^[1-9][0-9]{0,4}$ && $MASTER_PORT -lt 65536 ]] ||
    refuse "MASTER_PORT must be from 1 to 65535 (got '$MASTER_PORT')"

python=${MUSIC_PYTHON:-$root/.venv/bin/python}
[[ -x $python || -n ${MUSIC_PYTHON:-} ]] || python=python3
command=("$python")
program=(-m megatron_music)
settings=(NCCL_DEBUG="${NCCL_DEBUG:-WARN}")
((TP == 1)) || settings+=(CUDA_DEVICE_MAX_CONNECTIONS="${CUDA_DEVICE_MAX_CONNECTIONS:-1}")
if ((processes > 1)); then
    threads=$(($(nproc) / NPROC))
    settings+=(OMP_NUM_THREADS="${OMP_NUM_THREADS:-$((threads > 0 ? threads : 1))}")
    command+=(-m megatron_music.train.torchrun --nproc-per-node "$NPROC")
    program=(-m -- megatron_music) # without "--" torchrun takes --run for its --run-path
    ((NNODES > 1)) || command+=(--standalone)
fi
if ((NNODES > 1)); then
    interface=$(interface_to "$MASTER_ADDR")
    if [[ -n $interface ]]; then # "=": NCCL takes a bare name for the beginning of several
        settings+=(NCCL_SOCKET_IFNAME="${NCCL_SOCKET_IFNAME:-=$interface}"
            GLOO_SOCKET_IFNAME="${GLOO_SOCKET_IFNAME:-$interface}")
    fi
    command+=(--nnodes "$NNODES" --node-rank "$NODE_RANK")
    command+=(--master-addr "$MASTER_ADDR" --master-port "$MASTER_PORT")
fi
command+=("${program[@]}" train "${@:1:1}" "parallel.tensor_model_parallel_size=$TP"
    "parallel.pipeline_model_parallel_size=$PP" "${@:2}")

if [[ -n ${DRY_RUN:-} ]]; then
    printf '%q ' "${settings[@]}" "${command[@]}"
    echo
    exit
fi
(($#)) || refuse "give a recipe and a data set: launch/pretrain.sh article --data data/lakh"
"$python" -c 'from importlib.util import find_spec as has; exit(not (has("torch") and has("typer")))' 2>/dev/null || {
    (($? < 128)) || exit 130 # Ctrl-C
    refuse "$python cannot train; make an environment: make setup (or name one: MUSIC_PYTHON)"
}
((NNODES == 1)) || getent ahosts "$MASTER_ADDR" >/dev/null ||
    refuse "MASTER_ADDR=$MASTER_ADDR has no address here; give one that every node can reach"
if ((NNODES > 1 && NODE_RANK == 0)) && (exec 3<>"/dev/tcp/127.0.0.1/$MASTER_PORT") 2>/dev/null; then
    refuse "port $MASTER_PORT is taken on this machine; give another to every node:" \
        "MASTER_PORT=$((MASTER_PORT + 1))"
fi
# What another launcher left, as enroot's hook for PyTorch does, would be taken for torchrun's.
# PET_ variables are torchrun's own options: a job's operator sets them in its pods.
unset RANK LOCAL_RANK WORLD_SIZE LOCAL_WORLD_SIZE "${!PET_@}"
exec env "${settings[@]}" "${command[@]}"
