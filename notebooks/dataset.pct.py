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
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from megatron_music.data.dataset_windows import WindowReader
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
# modelled (only 4/4, four parts), finds duplicates by their music, and keeps some pieces aside for
# validation and test. Each piece is stored once, whole. Interrupted, it resumes; done, it says so.

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
# Three splits, each a `.bin` of token ids and an `.idx` that says where documents begin. A model
# that only knew how often each token occurs would pay `unigram` nats a token; everything below that
# has been learned.

# %%
manifest = json.loads((DATA / "manifest.json").read_text())
for split, counts in manifest["splits"].items():
    unigram = manifest["unigram_nats_per_token"][split]
    print(
        f"{split:5}: {counts['pieces']:4} pieces, {counts['tokens']:8,} tokens, "
        f"unigram {unigram:.2f}"
    )

# %% [markdown]
# ## Windows are drawn while training
#
# A model learns windows of eight bars. In each epoch it is drawn anew where the windows of a piece
# begin, and for each window one of twelve keys and the order of the voices. Here are windows of the
# longest chorale, epoch after epoch. Validation and test take windows side by side, in the piece's
# own key.

# %%
vocabulary = load_vocabulary(DATA / "tokenizer")
train = WindowReader(DATA, "train", vocabulary, at_least=2_000)
valid = WindowReader(DATA, "valid", vocabulary)
longest = train.owners[np.argmax(train.places[:, 1])]
for window in np.flatnonzero(train.owners == longest)[:12].tolist():
    first, of_piece = train.places[window].tolist()
    piece = decode(train[window], vocabulary)
    lowest = min(int(track.pitch.min()) for track in piece.tracks)
    print(
        f"bars {first + 1:2} to {first + piece.bars:2} of {of_piece}, lowest pitch {lowest}, "
        f"{len(train[window])} tokens"
    )

# %% [markdown]
# How long the windows are decides how long a context the model needs; which pitches occur shows the
# twelve keys: the training music reaches further up and down than the music held out.


# %%
def pitches(windows: Iterable[np.ndarray]) -> np.ndarray:
    """Count NOTE_ON tokens by pitch, as shares."""
    counts = np.bincount(np.concatenate(list(windows)), minlength=len(vocabulary)).astype(float)
    ons = counts[vocabulary.note_on : vocabulary.note_on + 128]
    return ons / ons.sum()


figure = Figure(figsize=(10, 2.8), layout="constrained")
lengths, heights = figure.subplots(1, 2)
lengths.hist([len(window) for window in train], bins=40, color="#2f6fb5")
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
# ## Windows for stock Megatron-LM
#
# It draws no windows: for it they are stored, once in each key, for any number of bars. The prefix
# of such a data set is its `--data-path`. No music is read again.

# %%
megatron_music(f"data convert {DATA} -o {DATA}-4 --bars 4 --hop 4")
for folder in (DATA, DATA.with_name(f"{DATA.name}-4")):
    size = sum(path.stat().st_size for path in folder.glob("*.bin"))
    print(f"{folder.name}: {size / 1e6:.1f} MB of tokens")

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
# - Your own music: `megatron-music data build ~/midi -o data/mine`.
# - `megatron-music data list` names the collections that are known here.
# - [pretrain.ipynb](pretrain.ipynb): a model learns this data set.
