#!/usr/bin/env bash
# Pack build/carry: what a machine with a GPU but without a network lacks, for profiling/gpu_day/carried.sh there:
#
#     make data && profiling/gpu_day/carry.sh                  # here, with a network
#     LACKS="symusic pooch" PY=3.11 profiling/gpu_day/carry.sh # other wheels, for another Python
#
# Copy the checkout with build/carry to that machine. It must have Python PY with torch's CUDA build.
# LACKS   the packages it lacks beside megatron-core and this project (compare `python3 -m pip list` there); the default fits
#         one that has torch, triton, transformers, numba, typer and rich, but nothing for music
# PY      its Python, 3.12 unless set; versions are those of constraints/; ARCH its processor, x86_64 unless set
# MEGATRON_CORE  another version than the pinned one, as 0.19.2 with Python 3.12
# DATA    the data set, data/bach unless set; MODEL an exported model (runs/bach-tiny/hf, if it is there)
# MUSIC_PYTHON  the interpreter whose pip is used (.venv's where there is one)
. "$(dirname "${BASH_SOURCE[0]}")/head.sh"
python="${MUSIC_PYTHON:-.venv/bin/python}"
py="${PY:-3.12}"
data="${DATA:-data/bach}"
model="${MODEL:-runs/bach-tiny/hf}"
pins="constraints/py${py/./}.txt"
lacks="${LACKS:-symusic pretty_midi mido pydantic pydantic_core annotated-types typing-inspection midirenderer pooch platformdirs \
    soundfile cffi pycparser pySmartDL importlib_resources}"
[[ -f "$pins" ]] || fail "no $pins: PY must be a Python that versions are pinned for (got '$py')"
[[ -f "$data/manifest.json" ]] || fail "no data set in $data; make one: make data"
command -v "$python" > /dev/null || fail "no $python; make an environment: make setup (or name one: MUSIC_PYTHON)"

wanted=()
for name in megatron-core $lacks; do
    pin="$(sed -n "s/^$name==/$name==/p" "$pins")"
    [[ -n "$pin" ]] || fail "$name is not in $pins; take it out of LACKS, or spell it as there"
    [[ "$name" != megatron-core || -z "${MEGATRON_CORE:-}" ]] || pin="megatron-core==$MEGATRON_CORE"
    wanted+=("$pin")
done
platforms=()
for tag in manylinux_2_28 manylinux_2_27 manylinux_2_24 manylinux_2_17 manylinux2014 manylinux1; do
    platforms+=(--platform "${tag}_${ARCH:-x86_64}")
done

rm -rf build/carry build/carry.partial
mkdir -p build/carry.partial/wheels
pip=("$python" -m pip --disable-pip-version-check -q)
"${pip[@]}" download --no-deps --only-binary=:all: --python-version "$py" --implementation cp "${platforms[@]}" \
    -d build/carry.partial/wheels "${wanted[@]}"
# This project, for its metadata (`doctor`): built from a copy, the checkout stays clean.
copy="$(mktemp -d)"
trap 'rm -rf "$copy"' EXIT
cp -r megatron_music pyproject.toml README.md LICENSE THIRD_PARTY.md "$copy"
"${pip[@]}" wheel --no-deps -w build/carry.partial/wheels "$copy"

cp -r "$data" build/carry.partial/data
[[ ! -d "$model" ]] || cp -r "$model" build/carry.partial/model
mv build/carry.partial build/carry
du -sh build/carry
