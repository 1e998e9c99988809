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
# # From a collection to a data set
#
# All Bach chorales become training data in Megatron's own format, with an account of what became of
# each piece. About half a minute on two cores; if `make pretrain` has run, the data set is there.

# %%
import json
import os
from collections import Counter
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from megatron_music.data.indexed import IndexedReader
from megatron_music.notebook import megatron_music, picture, show
from megatron_music.tokenizer.codec import decode, to_text
from megatron_music.tokenizer.vocabulary import load_vocabulary

# Tests run this elsewhere, to leave the data set of the checkout alone.
ROOT = Path(os.environ.get("NOTEBOOKS_QUICK", ".."))
DATA = ROOT / "data" / "bach"

# %% [markdown]
# ## Build it
#
# One command, here run by the notebook's own Python. It reads every piece, refuses what cannot be
# modelled (only 4/4, four parts), finds duplicates by their music, cuts windows of eight bars every
# four bars, writes training windows in twelve keys, and keeps whole pieces aside for validation and
# test. Interrupted, it goes on; done, it says so.

# %%
megatron_music(f"data build bach -o {DATA}")

# %% [markdown]
# ## What became of the pieces

# %%
records = [json.loads(line) for line in (DATA / "files.jsonl").open()]
fates = Counter(record["reason"] or f"kept for {record['split']}" for record in records)
for fate, count in fates.most_common():
    print(f"{count:4} {fate}")
print("for instance:", next(record["detail"] for record in records if record["detail"]))

# %% [markdown]
# ## What is in it
#
# Three sides, each a `.bin` of token ids and an `.idx` that says where documents begin: what stock
# Megatron takes as `--data-path`. A model that only knew how often each token occurs would pay
# `unigram` nats a token; everything below that has been learned.

# %%
manifest = json.loads((DATA / "manifest.json").read_text())
for side, counts in manifest["splits"].items():
    unigram = manifest["unigram_nats_per_token"][side]
    print(
        f"{side:5}: {counts['pieces']:4} pieces, {counts['documents']:6,} windows, "
        f"{counts['tokens']:9,} tokens, unigram {unigram:.2f}"
    )

# %% [markdown]
# How long the windows are decides how long a context the model needs; which pitches occur shows the
# twelve keys: the training music reaches further up and down than the music held out.

# %%
vocabulary = load_vocabulary(DATA / "tokenizer")
train, valid = IndexedReader(DATA / "train"), IndexedReader(DATA / "valid")


def pitches(reader: IndexedReader) -> np.ndarray:
    """Count NOTE_ON tokens by pitch, as shares."""
    counts = np.bincount(reader.tokens, minlength=len(vocabulary)).astype(float)
    ons = counts[vocabulary.note_on : vocabulary.note_on + 128]
    return ons / ons.sum()


figure = Figure(figsize=(10, 2.8), layout="constrained")
lengths, heights = figure.subplots(1, 2)
lengths.hist(train.lengths, bins=40, color="#2f6fb5")
lengths.set(title="tokens a window", xlabel="tokens", ylabel="windows")
heights.plot(pitches(train), color="#2f6fb5", label="train, in twelve keys")
heights.plot(pitches(valid), color="#d1603c", label="valid, as written")
heights.set(title="notes by pitch", xlabel="MIDI pitch", xlim=(30, 90))
heights.legend(frameon=False)
picture(figure)

# %% [markdown]
# ## Look at one, and listen
#
# The order of the voices is shuffled from window to window, so that the model learns to begin with
# any of them. `DENSITY` says how many notes a bar a track has, from 0, few, to 9, many.

# %%
window = valid[3]
print(to_text(window[:26], vocabulary), "...")
show(decode(window, vocabulary), "a window held out for validation")

# %% [markdown]
# ## Nothing is left to trust
#
# Every file's hash is in the manifest; `verify` checks them and walks each document through the
# grammar. The same input and settings give the same bytes, however many processes built them.

# %%
megatron_music(f"data verify {DATA}")

# %% [markdown]
# ## Next
#
# - Your own music: `megatron-music data build ~/midi -o data/mine --bars 4`.
# - `megatron-music data list` names the collections that are known here.
# - [pretrain.ipynb](pretrain.ipynb): a model learns this data set.
