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
# # Composing: temperature by ear
#
# A trained model gives, for every next token, a probability. Temperature bends those: below 1 the
# likely becomes likelier and the music safer, above 1 the unlikely gets its chance. Here is the
# same song, by the same random numbers, from 0.5 to 1.5. A minute on a CPU, once a model is there.

# %%
import os
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from megatron_music.evaluate.corpus import read_split, whole_windows
from megatron_music.evaluate.measures import FIGURES
from megatron_music.generate.composer import Composer
from megatron_music.generate.song_request import Request
from megatron_music.notebook import megatron_music, picture, show

QUICK = "NOTEBOOKS_QUICK" in os.environ  # as tests run it: seconds instead of minutes
ROOT = Path(os.environ.get("NOTEBOOKS_QUICK", ".."))
DATA = ROOT / "data" / "bach"
RUN = ROOT / "runs" / ("notebook/4" if QUICK else "bach-tiny")
KEYS = "train.train_iters=4 train.lr_warmup_iters=1" if QUICK else ""
TEMPERATURES = (0.5, 1.0, 1.5) if QUICK else (0.5, 0.75, 1.0, 1.25, 1.5)

# %% [markdown]
# ## A model
#
# That of `make pretrain`. Where it is missing, these three commands make it in five minutes; where
# it is there, they say so.

# %%
megatron_music(f"data build bach -o {DATA}")
if not (RUN / "hf").is_dir():
    megatron_music(f"train tiny --data {DATA} --run {RUN} {KEYS}")
    megatron_music(f"export {RUN} -o {RUN}/hf")
composer = Composer.load(RUN / "hf")

# %% [markdown]
# ## A request
#
# What may be asked for is the same here and on the command line: bars, instruments, seed,
# temperature, top-k, top-p. These are kept with any weights: the grammar forbids
# the tokens that would break it.

# %%
request = Request(seed=11, bars=4 if QUICK else 8, temperature=1.0, top_p=1.0)
song = next(composer.compose(request))
print(len(song.tokens), "tokens; voices:", len(song.piece.tracks), "bars:", song.piece.bars)
show(song.piece, "temperature 1.0")

# %% [markdown]
# ## Cooler
#
# At 0.5 the voices move in small, likely steps, and repeat themselves.

# %%
BARS = request.bars


def at(temperature: float, count: int = 1) -> list:
    """Compose at a temperature, the same seeds each time."""
    wish = Request(count, seed=11, bars=BARS, temperature=temperature, top_p=1.0)
    return [song.piece for song in composer.compose(wish)]


show(at(0.5)[0], "temperature 0.5")

# %% [markdown]
# ## Warmer
#
# At 1.5 anything goes. Each note is still in its bar and ends: that is the grammar, not the model.

# %%
show(at(1.5)[0], "temperature 1.5")

# %% [markdown]
# ## The same in figures
#
# Eight songs at each temperature; the dotted lines are chorales that the model has never seen. Cooler
# songs keep to their key and move by step, warmer ones leap and lose the common beat. Where a line
# stays away from its dots at every temperature, the cure is more training.

# %%
NAMES = ("share in key", "melodic step, semitones", "notes a bar", "groove similarity")
chorales, _ = whole_windows(read_split(DATA, "valid", 40, composer.vocabulary), composer.vocabulary)
songs = {t: at(t, 2 if QUICK else 8) for t in TEMPERATURES}
figure = Figure(figsize=(11, 2.6), layout="constrained")
for axes, name in zip(figure.subplots(1, len(NAMES)), NAMES, strict=True):
    means = [np.mean([FIGURES[name](piece) for piece in songs[t]]) for t in TEMPERATURES]
    axes.plot(TEMPERATURES, means, "o-", color="#d1603c")
    axes.axhline(
        np.mean([FIGURES[name](piece) for piece in chorales]), linestyle=":", color="#2f6fb5"
    )
    axes.set_title(name, fontsize=9)
    axes.set_xlabel("temperature", fontsize=8)
picture(figure)

# %% [markdown]
# ## Next
#
# - Change the seed: every number is another song, and the same number gives the same song again.
# - Songs as files: `megatron-music sample runs/bach-tiny/hf -o music -n 8 --temperature 0.9`.
# - Which of many is best? `megatron-music rank report/critic.json music/*.mid` asks the critic that
#   `megatron-music evaluate` trains: [evaluation.md](../docs/evaluation.md).
# - Words that are sung: `make pretrain DATASET=bach-sung` trains a model that has them. Then
#   `Request(words="Twinkle, twinkle, little star")` composes a melody to given words, and
#   `composer.compose(Request(sing=True), prompt)` words to a given melody: [words.md](../docs/words.md).
# - [profile.ipynb](profile.ipynb): what training costs, and where the time goes.
