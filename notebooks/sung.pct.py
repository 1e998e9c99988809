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
# # Words that are sung: karaoke in, karaoke out
#
# A folder of karaoke files becomes a data set with words, a small model learns melody and words
# together, and then it sings: a melody to your words, words to a given melody, and a file that a
# karaoke player shows. Some minutes on a CPU.

# %%
import os
from contextlib import suppress
from pathlib import Path

import mido

from megatron_music.data.sources.open import open_source
from megatron_music.errors import MusicError
from megatron_music.generate.composer import Composer
from megatron_music.generate.midi_patch import write_song
from megatron_music.generate.prompt import read_prompt
from megatron_music.generate.song_request import Request
from megatron_music.notebook import megatron_music, show
from megatron_music.score.midi_writer import write_midi
from megatron_music.score.quantize import quantize
from megatron_music.score.words import as_text
from megatron_music.tokenizer.codec import encode, to_text

KARAOKE = Path("~/karaoke").expanduser()  # your folder
QUICK = "NOTEBOOKS_QUICK" in os.environ  # as tests run it
ROOT = Path(os.environ.get("NOTEBOOKS_QUICK", ".."))
DATA, RUN = ROOT / "data" / "karaoke", ROOT / "runs" / "karaoke-tiny"
ITERATIONS = 4 if QUICK else 60
CHORALES = 30

# %% [markdown]
# Where there is no such folder, chorales by Bach with their German words are used instead.

# %%
if QUICK or not KARAOKE.is_dir():
    KARAOKE = ROOT / "data" / "chorales-as-karaoke"
    KARAOKE.mkdir(parents=True, exist_ok=True)
    for chorale in open_source("bach-sung").items[:CHORALES]:
        with suppress(MusicError):  # of those without words, or not in one metre throughout
            write_midi(quantize(chorale.read(), 4), KARAOKE / f"{chorale.name}.kar")
files = sorted(KARAOKE.rglob("*.kar"))
prompt = read_prompt(files[0], 4)
print(f"{len(files)} karaoke files; the first is sung to:\n")
print(next(as_text(track.sung) for track in prompt.piece.tracks if track.syllables is not None))

# %% [markdown]
# ## A data set with words
#
# `--lyrics` keeps the words. Syllables that are frequent have a token of their own, others are
# spelled in smaller pieces, down to bytes: any word can be sung.

# %%
megatron_music(f"data build '{KARAOKE}' -o {DATA} --lyrics --bars 4")

# %%
keys = f"train.train_iters={ITERATIONS} train.lr_warmup_iters={ITERATIONS // 4}"
keys += " log.sample_interval=0 log.eval_interval=0"
megatron_music(f"train tiny --data {DATA} --run-dir {RUN} {keys}")
megatron_music(f"export {RUN} -o {RUN}/hf")
composer = Composer.load(RUN / "hf")
vocabulary = composer.vocabulary
print("pieces:", *vocabulary.settings.syllable_pieces[:40], "...")
print(to_text(encode(prompt.piece, vocabulary)[:24], vocabulary))

# %% [markdown]
# ## A melody to your words
#
# Each line has bars of its own. Of two lines of an iambic verse the first syllable is an upbeat: it
# is sung before the barline. Every syllable is sung, in order; the model chooses the notes.

# %%
WORDS = "A-maz-ing grace, how sweet the sound\nThat saved a wretch like me"


def sung(piece) -> str:
    """Return the syllables of the singer with bar and beat, from 1."""
    singer = max(piece.tracks, key=lambda track: (track.sung != "").sum())
    lines = []
    for onset, text in zip(singer.onset.tolist(), singer.sung.tolist(), strict=True):
        if text:
            bar, step = divmod(onset, 16)
            lines.append(f"{bar + 1}.{1 + step / 4:g} {text.strip()}")
    return "  ".join(lines)


[song] = composer.compose(Request(words=WORDS, upbeat=1, seed=3))
print(sung(song.piece))
show(song.piece, "Amazing grace, to another melody")

# %% [markdown]
# ## Words to a given melody
#
# All notes stay; the soprano gets words that the model draws. After so few iterations they
# sound like the language of the files, no more: `ITERATIONS` of 600 and more are better.

# %%
[again] = composer.compose(Request(sing=True, voice="track 1", seed=3), prompt)
print(sung(again.piece))

# %% [markdown]
# ## For a karaoke player
#
# The file has the words in a track of their own, each at the tick of its note. Here another reader
# of MIDI plays it back.

# %%
write_song(song, RUN / "amazing.kar")
for track in mido.MidiFile(RUN / "amazing.kar", charset="utf-8").tracks:
    if track.name == "Words":
        print(*(event.text for event in track if event.type == "text"), sep="|")

# %% [markdown]
# ## Next
#
# - All chorales, some minutes: `make pretrain DATASET=bach-sung`.
# - The same on the command line, and what of words is measured: [words.md](../docs/words.md).
# - Change bars of a song and keep its words: [mine.ipynb](mine.ipynb).
