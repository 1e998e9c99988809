"""Compose a few bars, or write a few lines, with a model in training, with a fixed seed."""

import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from megatron_music.cli import show

if TYPE_CHECKING:
    from transformers import GPT2LMHeadModel

    from megatron_music.train.request import SampleContext

SEED = 7
BARS = 4
MOST_TOKENS = 400
"""Of words."""


def write_samples(context: "SampleContext") -> None:
    """Write `samples/step_N/song-7.{mid,wav,png}`; a failure is logged and training continues.

    In this process where it holds the whole model: sampling has its own random streams, and
    training keeps no random state from one iteration to the next.
    """
    # A folder of samples is complete or absent, as a checkpoint is.
    partial = context.samples.with_name(f".{context.samples.name}.partial")
    try:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        summary = _sample(context, partial)
        shutil.rmtree(context.samples, ignore_errors=True)
        partial.rename(context.samples)
        show.log(summary)
    except Exception as fault:  # no error here may stop the training
        text = fault.stderr if isinstance(fault, subprocess.CalledProcessError) else str(fault)
        lines = [line for line in text.splitlines() if line.strip()]
        reason = lines[-1] if lines else type(fault).__name__
        show.log(f"note: nothing composed at iteration {context.iteration}: {reason}")
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _sample(context: "SampleContext", folder: Path) -> str:
    """Write samples of the model into a folder; return a line about them."""
    from megatron_music.tokenizer.text_vocabulary import TextVocabulary

    if isinstance(context.vocabulary, TextVocabulary):
        from megatron_music.files import write_text
        from megatron_music.text.words_request import TextRequest
        from megatron_music.text.writer import Writer

        writer = Writer(_model(context, folder), context.vocabulary)
        (words,) = writer.write(TextRequest(seed=SEED, max_tokens=MOST_TOKENS))
        head = " / ".join(filter(None, (words.artist, words.title)))
        write_text(folder / f"song-{SEED}.txt", f"{head}\n\n{words.text}\n".lstrip())
        return f"wrote {context.samples / f'song-{SEED}.txt'}: {head}\n{words.text}"
    from megatron_music.generate.composer import Composer
    from megatron_music.generate.song_request import Request
    from megatron_music.score.audio import render_audio
    from megatron_music.score.midi_writer import write_midi
    from megatron_music.score.pianoroll import draw_piano_roll

    composer = Composer(_model(context, folder), context.vocabulary)
    (song,) = composer.compose(Request(count=1, seed=SEED, bars=BARS))
    midi = folder / f"song-{SEED}.mid"
    write_midi(song.piece, midi)
    render_audio(midi, midi.with_suffix(".wav"))
    draw_piano_roll(song.piece, midi.with_suffix(".png"), f"iteration {context.iteration}")
    return f"composed {BARS} bars: {context.samples / f'song-{SEED}.mid'}"


def _model(context: "SampleContext", folder: Path) -> "GPT2LMHeadModel":
    """Return the current model: from memory, else exported into a temporary folder."""
    from megatron_music.export.weights import as_gpt2
    from megatron_music.generate.load_model import load_on_device

    if context.weights is not None:
        return as_gpt2(context.weights, context.recipe, context.vocabulary)
    exported = folder / "hf"
    # In another process: this one holds a part of the model, or layers of another kind.
    command = [sys.executable, "-m", "megatron_music", "export", str(context.step)]
    try:
        subprocess.run([*command, "-o", str(exported)], check=True, capture_output=True, text=True)
        return load_on_device(exported)
    finally:
        shutil.rmtree(exported, ignore_errors=True)
