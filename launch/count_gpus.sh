#!/usr/bin/env bash
# Print how many NVIDIA GPUs processes started here would use: those of nvidia-smi that
# CUDA_VISIBLE_DEVICES does not hide.
set -euo pipefail
case ${1:-} in -h | --help) sed -n '2,/^set /s/^#\( \|$\)//p' "$0" && exit ;; esac
gpus=$({ nvidia-smi -L 2>/dev/null || true; } | grep -c '^GPU ' || true)
if ((gpus)) && [[ -n ${CUDA_VISIBLE_DEVICES+set} ]]; then
    gpus=$(tr ',' '\n' <<<"$CUDA_VISIBLE_DEVICES" | grep -c '[^-[:space:]]' || true)
fi
echo "$gpus"
