# ---
# jupyter:
#   jupytext:
#     formats: ipynb,.pct.py:percent
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Your own MIDI: from a folder to new bars in your song
#
# Name a folder of MIDI files and run all cells. A small model learns your music; then bars 5 and 6
# of one of your songs are composed anew, and everything else in its file stays as it is. The last
# cell says how long it took.

# %%
import os
import time
from contextlib import suppress
from pathlib import Path

from megatron_music.data.sources.open import open_source
from megatron_music.errors import MusicError
from megatron_music.generate.session import Session
from megatron_music.notebook import megatron_music, show
from megatron_music.score.midi_reader import read_midi
from megatron_music.score.midi_writer import write_midi
from megatron_music.score.quantize import quantize

MIDI = Path("~/midi").expanduser()  # your folder
STARTED_S = time.monotonic()
QUICK = "NOTEBOOKS_QUICK" in os.environ  # as tests run it
ROOT = Path(os.environ.get("NOTEBOOKS_QUICK", ".."))
DATA, RUN = ROOT / "data" / "mine", ROOT / "runs" / "mine-tiny"
ITERATIONS = 4 if QUICK else 100

# %% [markdown]
# Where there is no such folder, twenty chorales by Bach in 4/4 are used instead.

# %%
if QUICK or not MIDI.is_dir():
    MIDI = ROOT / "data" / "chorales-as-midi"
    MIDI.mkdir(parents=True, exist_ok=True)
    for number, chorale in enumerate(open_source("bach").items[1:21]):
        with suppress(MusicError):  # of those that are not in 4/4 throughout
            write_midi(quantize(chorale.read(), 4), MIDI / f"chorale-{number:02}.mid")
songs = sorted(MIDI.rglob("*.mid"))
print(f"{len(songs)} MIDI files")
show(quantize(read_midi(songs[0]), 4), f"{songs[0].name}, as it is")

# %% [markdown]
# ## Learn it
#
# `data build` says what it keeps and what it leaves out. A hundred iterations are enough to hear
# form and rhythm; for melodies let it train longer: 1,600 and more.

# %%
megatron_music(f"data build '{MIDI}' -o {DATA} --fill --bars 8 --split 90,5,5")

# %%
keys = f"train.train_iters={ITERATIONS} train.lr_warmup_iters={ITERATIONS // 4}"
keys += " log.sample_interval=0 log.eval_interval=0"
megatron_music(f"train tiny --data {DATA} --run-dir {RUN} {keys}")
megatron_music(f"export {RUN} -o {RUN}/hf")

# %% [markdown]
# ## Two bars of your song anew
#
# `fill` keeps every note, name, tempo and controller outside of bars 5 and 6. The same on the
# command line: `megatron-music sample runs/mine-tiny/hf --prompt song.mid --fill-bars 5-6`.

# %%
session = Session.load(RUN / "hf", songs[0])
(filled,) = session.fill(count=1, seed=7, fill_bars=(5, 6))
file = session.write(filled, RUN / "bars-5-and-6-anew.mid")
show(filled.piece, f"{songs[0].name}, bars 5 and 6 anew")
print(f"for your DAW: {file.name}; {time.monotonic() - STARTED_S:.0f} s in all")

# %% [markdown]
# ## Next
#
# - Longer: `megatron-music train tiny --data data/mine train.train_iters=1600`, then export again.
# - Continue, vary, harmonise, add an instrument: [composing.md](../docs/composing.md).
# - Many songs with a page to compare them: `megatron-music sample runs/mine-tiny/hf -n 8`.
