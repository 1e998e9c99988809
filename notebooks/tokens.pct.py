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
# # From music to tokens
#
# A language model reads words. This notebook turns a chorale into the words it reads, and back:
#
# **MIDI → notes in ticks → notes on a grid → mmmtrack tokens → the same notes.**
#
# It takes seconds, on a CPU, without a network.

# %%
from collections import Counter
from pathlib import Path
from tempfile import mkdtemp

import numpy as np

from megatron_music.data.sources.open import open_source
from megatron_music.notebook import player, show
from megatron_music.score.midi_reader import read_midi
from megatron_music.score.midi_writer import write_midi
from megatron_music.score.pianoroll import instrument_label
from megatron_music.score.quantize import quantize, windows
from megatron_music.tokenizer.codec import decode, encode, to_text, transpose
from megatron_music.tokenizer.grammar import Walker
from megatron_music.tokenizer.vocabulary import TokenizerSettings, Vocabulary

# %% [markdown]
# ## A chorale
#
# The Bach chorales come with the `music21` package. Any MIDI file does as well:
# `read_midi(Path("song.mid"))` gives the same kind of score.

# %%
chorales = open_source("bach").items
score = chorales[1].read()
print(chorales[1].name, "-", score.ticks_per_quarter, "ticks a quarter")
for track in score.tracks:
    name, quarter = instrument_label(track.instrument), track.onset[0] / score.ticks_per_quarter
    print(f"{name}: {len(track)} notes, the first in quarter {quarter:g}")

# %% [markdown]
# ## Onto the grid
#
# Times become whole sixteenths, four a quarter, sixteen a bar. Here are the first four bars: one
# colour a voice, time to the right.

# %%
piece = quantize(score, steps_per_quarter=4)
opening = windows(piece, bars=4, hop=4)[0]
show(opening, "the first four bars")

# %% [markdown]
# ## As words
#
# Track by track, bar by bar: a note begins (`NOTE_ON`), time passes (`TIME_DELTA`, in sixteenths),
# the note ends (`NOTE_OFF`). Here is the bass's second bar; compare it with the lowest line above.

# %%
vocabulary = Vocabulary(TokenizerSettings(density=False))
tokens = encode(opening, vocabulary)
text = to_text(tokens, vocabulary)
bass = text[text.index("INST=BASS") :]
print("BAR_START" + bass.split("BAR_START")[2])

# %% [markdown]
# The whole window, four voices of four bars, is one document. Each word has a number: that is all
# a model ever sees.

# %%
print(len(tokens), "tokens of a vocabulary of", len(vocabulary))
print(text[:180], "...")
print(*tokens[:24], "...")

# %% [markdown]
# Nothing was lost: decoding gives exactly the notes that went in.

# %%
assert decode(tokens, vocabulary) == opening
midi = Path(mkdtemp()) / "opening.mid"
write_midi(opening, midi)
assert quantize(read_midi(midi), 4) == opening

# %% [markdown]
# ## Another key is an addition
#
# `NOTE_ON=60` is the number of `NOTE_ON=0` plus 60, so a fourth up is 5 added to every note. That
# is how a data set gets its twelve keys.

# %%
higher = transpose(tokens, 5, vocabulary)
assert higher is not None
print("different tokens:", int((higher != tokens).sum()), "of", len(tokens))
player(decode(higher, vocabulary))

# %% [markdown]
# ## A grammar
#
# Not every sequence of words is music: a note that ends must have begun, a bar holds sixteen
# sixteenths. The grammar knows at each point what may come next. When composing, everything else
# is forbidden, so that every piece is sound with any weights.

# %%
walker = Walker(vocabulary)
second_bar = np.flatnonzero(tokens == vocabulary.bar_start)[1]
for token in tokens[: second_bar + 4]:
    walker.advance(int(token))
legal = np.flatnonzero(walker.allowed())
print("after ...", to_text(tokens[second_bar : second_bar + 4], vocabulary))
for kind, count in Counter(vocabulary.meanings[i][0].value for i in legal).items():
    example = next(i for i in legal if vocabulary.meanings[i][0].value == kind)
    print(f"{count:4} of kind {kind}, for instance {vocabulary.tokens[example]}")

# %% [markdown]
# ## Next
#
# - Change `chorales[1]`, or read a MIDI file of yours; try `steps_per_quarter=12` (with
#   `TokenizerSettings(12)`), which also holds triplets.
# - On the command line: `megatron-music encode song.mid`, `megatron-music decode song.txt -o song.mid`.
# - [dataset.ipynb](dataset.ipynb): all chorales as training data.
