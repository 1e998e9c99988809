# shellcheck shell=bash
# Sourced by build.sh and run.sh: which container engine this machine has, and the image's name.
#
# Variables, with their defaults:
#   ENGINE   docker, podman or buildah (the first of them that works)
#   BASE     current, newest or volta, as in bases.env (current)
#   IMAGE    the image (megatron_music:BASE)

refuse() { echo "error: $*" >&2; exit 1; }

# shellcheck disable=SC2034  # the scripts that read this file use it
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
BASE=${BASE:-current}
IMAGE=${IMAGE:-megatron_music:$BASE}

works() {
    case $1 in
        docker) docker version --format '{{.Server.Version}}' ;;
        podman) podman info --format '{{.Version.Version}}' ;;
        buildah) buildah --version ;;
        *) refuse "ENGINE must be docker, podman or buildah (got '$1')" ;;
    esac >/dev/null 2>&1
}

# Set ENGINE, or refuse with what is missing and how to go on without.
need_engine() {
    local engine silent=""
    for engine in ${ENGINE:-docker podman buildah}; do
        if ! command -v "$engine" >/dev/null; then continue; fi
        if works "$engine"; then
            ENGINE=$engine
            return
        fi
        silent+="$engine is installed but does not answer (is its service running, may you use it?); "
    done
    refuse "${silent:-no docker, podman or buildah on this machine; }install one," \
        "or go on without a container: make pretrain RUNTIME=local"
}

has_image() {
    case $ENGINE in
        buildah) buildah inspect --type image "$IMAGE" ;;
        *) "$ENGINE" image inspect "$IMAGE" ;;
    esac >/dev/null 2>&1
}

count_gpus() { { nvidia-smi -L 2>/dev/null || true; } | grep -c '^GPU ' || true; }
