#!/usr/bin/env bash
# Run the GPU day on a machine without a network, from the wheels, data and model that carry.sh packed in build/carry:
#
#     profiling/gpu_day/carried.sh                  # results in runs/gpu-day
#     OUT=/somewhere profiling/gpu_day/carried.sh --only train sweep
#
# Nothing is installed on the machine: the wheels go into a temporary folder in front of the packages that it has.
# MUSIC_PYTHON  the machine's Python with torch's CUDA build, python3 unless set
# OUT           where logs, summary.json and the page go
. "$(dirname "${BASH_SOURCE[0]}")/head.sh"
python="${MUSIC_PYTHON:-python3}"
out="${OUT:-runs/gpu-day}"
[[ -d build/carry/wheels ]] || fail "no build/carry; make it where there is a network: profiling/gpu_day/carry.sh"
"$python" -c 'import torch' 2> /dev/null || fail "$python has no torch; name one that has: MUSIC_PYTHON"

site="$(mktemp -d)"
trap 'rm -rf "$site"' EXIT
"$python" -m pip install -q --disable-pip-version-check --no-index --no-deps --no-compile --upgrade --target "$site" build/carry/wheels/*.whl
export PYTHONPATH="$site${PYTHONPATH:+:$PYTHONPATH}" PATH="$site/bin:$PATH" MUSIC_PYTHON="$python"
export NUMBA_CACHE_DIR="$site/numba" MPLCONFIGDIR="$site/mpl" PYTHONDONTWRITEBYTECODE=1 HF_HUB_OFFLINE=1
options=(--data build/carry/data -o "$out" --results "$out")
[[ ! -d build/carry/model ]] || options+=(--model build/carry/model)
"$python" -m profiling.gpu_day "${options[@]}" "$@"
