#!/usr/bin/env bash
# Run a command in the image, with NVIDIA's recommended options, as the caller's own user.
#
#   docker/run.sh megatron-music doctor
#   docker/run.sh pretrain tiny --data data/bach
#   docker/run.sh jupyter | studio | shell
#   docker/run.sh --print     the words before the command
#   docker/run.sh --check     refuse where engine, image or GPU runtime are missing; make the folders
#   docker/run.sh --choose    "docker" or "local" and why, for RUNTIME=auto
#
# data/, runs/ and notebooks/ of this folder lie under /workspace, caches under /cache.
# Variables, with their defaults (and those of engine.sh):
#   CACHE_DIR                 caches on this machine (~/.cache/megatron_music)
#   RUN_AS                    uid:gid (the caller's; root's stand-in is the owner of this folder)
#   DATASET, SOURCE, RECIPE, SWEEP  mounted for reading where they are paths outside of data/ and runs/
#   RUN_ARGS                  further options for the engine
#   PORT, JUPYTER_TOKEN_FILE  as for launch/jupyter.sh
#   DRY_RUN=1                 print the command instead of running it
set -euo pipefail
LC_ALL=C.UTF-8 # letters stay letters in what is printed for make
case ${1:-} in -h | --help) sed -n '2,/^set /s/^#\( \|$\)//p' "$0" && exit ;; esac
# shellcheck source=docker/engine.sh
. "$(dirname "${BASH_SOURCE[0]}")/engine.sh"

has_gpu_runtime() {
    case $ENGINE in
        docker) docker info --format '{{json .Runtimes}}' | grep nvidia >/dev/null ||
            command -v nvidia-container-runtime-hook >/dev/null ;;
        podman) compgen -G '/etc/cdi/nvidia*' >/dev/null || compgen -G '/var/run/cdi/nvidia*' >/dev/null ;;
        *) false ;;
    esac
}

check() {
    need_engine
    has_image || refuse "no image $IMAGE; build it with: make container BASE=$BASE"
    (($(count_gpus) == 0)) || has_gpu_runtime ||
        refuse "$ENGINE cannot reach this machine's GPUs; install nvidia-container-toolkit," \
            "or go on with: make pretrain RUNTIME=local"
}

if [[ ${1:-} == --choose ]]; then
    if reason=$(check 2>&1); then
        echo "docker ($IMAGE)"
    else
        echo "local (${reason#error: })"
    fi
    exit
fi
if [[ ${1:-} == --print ]]; then # a plan needs neither engine nor image
    if (need_engine) 2>/dev/null; then need_engine; fi
    ENGINE=${ENGINE:-docker}
elif [[ -z ${DRY_RUN:-} || -z ${ENGINE:-} ]]; then
    check
fi

run_as=${RUN_AS:-$(id -u):$(id -g)}
if [[ -z ${RUN_AS:-} && $EUID == 0 ]]; then run_as=$(stat -c %u:%g .); fi
export HOME=${HOME:-~}
cache=${CACHE_DIR:-$HOME/.cache/megatron_music}
volumes=("$PWD/data:/workspace/data" "$PWD/runs:/workspace/runs" "$cache:/cache")
[[ ! -d notebooks ]] || volumes+=("$PWD/notebooks:/workspace/notebooks")
for path in "${DATASET:-}" "${SOURCE:-}" "${RECIPE:-}" "${SWEEP:-}"; do
    case $path in
        "" | data | data/* | runs | runs/* | notebooks | profiling/*) ;;
        /*) [[ ! -e $path ]] || volumes+=("$path:$path:ro") ;;
        *) [[ ! -e $path ]] || volumes+=("$PWD/$path:/workspace/$path:ro") ;;
    esac
done
passed=()
for name in NPROC TP PP NNODES NODE_RANK MASTER_ADDR MASTER_PORT NCCL_DEBUG NCCL_SOCKET_IFNAME \
    NCCL_IB_HCA GLOO_SOCKET_IFNAME CUDA_VISIBLE_DEVICES OMP_NUM_THREADS PORT; do
    passed+=(--env "$name")
done
network=()
if [[ ${NNODES:-1} != 1 ]]; then # the other nodes have to reach it, and InfiniBand's devices be there
    network=(--network host)
    [[ ! -d /dev/infiniband || $ENGINE == buildah ]] || network+=(--device /dev/infiniband)
fi
if [[ ${1:-} == jupyter ]]; then # its 127.0.0.1 has to be this machine's
    PORT=${PORT:-8888}
    export PORT
    token_file=${JUPYTER_TOKEN_FILE:-$HOME/.local/state/megatron_music/jupyter-$PORT.token}
    token_folder=$(dirname "$token_file")
    network=(--network host)
    volumes+=("$token_folder:/token")
    passed+=(--env "JUPYTER_TOKEN_FILE=/token/$(basename "$token_file")")
fi

if [[ ${1:-} == studio ]]; then # on this machine's 127.0.0.1; songs and votes stay here
    network=(--network host)
    volumes+=("$PWD/studio:/workspace/studio")
fi

mounts=()
for volume in "${volumes[@]}"; do
    mounts+=(--volume "$volume")
    [[ -e ${volume%%:*} || -n ${DRY_RUN:-} || ${1:-} == --print ]] ||
        install --directory --owner "${run_as%:*}" --group "${run_as#*:}" "${volume%%:*}"
done
[[ ${1:-} != --check ]] || exit 0

read -ra further <<<"${RUN_ARGS:-}"
options=(--user "$run_as" "${network[@]}" "${mounts[@]}" "${passed[@]}" "${further[@]}")
words=("$ENGINE" run --rm --init --ipc=host --ulimit memlock=-1 --ulimit stack=67108864)
case $ENGINE in
    docker) (($(count_gpus) == 0)) || words+=(--gpus all) ;;
    podman)
        ((EUID == 0)) || words+=(--userns keep-id) # root's has one since podman 4.5, and needs none
        (($(count_gpus) == 0)) || words+=(--device nvidia.com/gpu=all --security-opt label=disable)
        ;;
    buildah) # has no --rm: a working container is made for the command and removed after it
        options=(--isolation "${BUILDAH_ISOLATION:-chroot}" "${options[@]}")
        if [[ ${1:-} == --print ]]; then
            printf '%q ' "BASE=$BASE" "IMAGE=$IMAGE" "DATASET=${DATASET:-}" "SOURCE=${SOURCE:-}" "RECIPE=${RECIPE:-}" \
                "SWEEP=${SWEEP:-}" docker/run.sh
            exit
        fi
        entry=(/opt/megatron_music/docker/entrypoint.sh "$@")
        if [[ -n ${DRY_RUN:-} ]]; then
            printf '%q ' buildah run "${options[@]}" "$IMAGE" -- "${entry[@]}"
            echo
            exit
        fi
        container=$(buildah from --pull-never "$IMAGE")
        trap 'buildah rm "$container" >/dev/null' EXIT
        buildah run "${options[@]}" "$container" -- "${entry[@]}"
        exit
        ;;
esac
[[ ! -t 0 || ${1:-} == --print ]] || words+=(--interactive --tty)
words+=("${options[@]}" "$IMAGE")
if [[ ${1:-} == --print ]]; then
    printf '%q ' "${words[@]}"
elif [[ -n ${DRY_RUN:-} ]]; then
    printf '%q ' "${words[@]}" "$@"
    echo
else
    exec "${words[@]}" "$@"
fi
