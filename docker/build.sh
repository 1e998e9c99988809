#!/usr/bin/env bash
# Build the image megatron_music:BASE on NVIDIA's PyTorch image.
#
#   make container [BASE=current|newest|volta]
#
# Variables, with their defaults (and those of engine.sh):
#   BASE_IMAGE     the image to start from (BASE's in bases.env)
#   MEGATRON_CORE  its Megatron (BASE's in bases.env)
#   TRANSFORMERS   its transformers (BASE's in bases.env, else the pinned one)
#   PINNED=1       start from BASE's digest in bases.env instead of its tag
#   BUILD_ARGS     further options for the engine, as in --network=host
#   DRY_RUN=1      print the command instead of running it
set -euo pipefail
case ${1:-} in -h | --help) sed -n '2,/^set /s/^#\( \|$\)//p' "$0" && exit ;; esac
# shellcheck source=docker/engine.sh
. "$(dirname "${BASH_SOURCE[0]}")/engine.sh"
# shellcheck source=docker/bases.env
. "$here/bases.env"

root=$(dirname "$here")
megatron=${BASE}_megatron_core transformers=${BASE}_transformers digest=${BASE}_digest
[[ $BASE =~ ^[a-z]+$ && -n ${!BASE:-} && -n ${!megatron:-} ]] ||
    refuse "BASE must be one of$(sed -n 's/^\([a-z]*\)=.*/ \1/p' "$here/bases.env" | tr -d '\n')" \
        "(got '$BASE')"
base_image=${!BASE}
if [[ -n ${PINNED:-} ]]; then
    [[ -n ${!digest:-} ]] || refuse "bases.env has no digest for BASE=$BASE; build it without PINNED"
    base_image=${base_image%:*}@${!digest}
fi
base_image=${BASE_IMAGE:-$base_image}
[[ -n ${DRY_RUN:-} && -n ${ENGINE:-} ]] || need_engine
revision=$(git -C "$root" rev-parse --short HEAD 2>/dev/null || echo unknown)

build=("$ENGINE" build)
[[ $ENGINE == docker ]] || build+=(--format docker) # the other format knows no health check
read -ra further <<<"${BUILD_ARGS:-}"
build+=(--file docker/Dockerfile --tag "$IMAGE" --build-arg "BASE_IMAGE=$base_image"
    --build-arg "MEGATRON_CORE=${MEGATRON_CORE:-${!megatron}}" --build-arg "TRANSFORMERS=${TRANSFORMERS:-${!transformers:-}}" --build-arg "REVISION=$revision"
    "${further[@]}" .)
if [[ -n ${DRY_RUN:-} ]]; then
    printf '%q ' "${build[@]}"
    echo
    exit
fi
echo "container: $IMAGE on $base_image, by $ENGINE"
cd "$root"
"${build[@]}" || refuse "the image was not built: see above." \
    "Without it: make pretrain RUNTIME=local"
echo "container: $IMAGE is there; make pretrain RUNTIME=docker BASE=$BASE"
