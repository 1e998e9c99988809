"""Compose a few bars with a model in training, with a fixed seed, so that you hear it learn."""

import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from megatron_music.cli import show

if TYPE_CHECKING:
    from megatron_music.generate.composer import Composer
    from megatron_music.train.request import SampleContext

SEED = 7
BARS = 4


def listen(context: "SampleContext") -> None:
    """Write `samples/step_N/song-7.{mid,wav,png}`; what goes wrong is said and costs no training.

    In this process where it holds the whole model: it draws from streams of its own, and training
    takes up no random state from one iteration to the next.
    """
    partial = context.samples.with_name(f".{context.samples.name}.partial")
    try:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        _write(_composer(context, partial), partial, context.iteration)
        shutil.rmtree(context.samples, ignore_errors=True)
        partial.rename(context.samples)
        show.say(f"composed {BARS} bars: {context.samples / f'song-{SEED}.mid'}")
    except Exception as fault:  # no error here may stop the training
        show.say(f"note: nothing composed at iteration {context.iteration}: {_shortly(fault)}")
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _write(composer: "Composer", folder: Path, iteration: int) -> None:
    from megatron_music.generate.request import Request
    from megatron_music.score.audio import render_audio
    from megatron_music.score.midi import write_midi
    from megatron_music.score.pianoroll import draw_piano_roll

    (song,) = composer.compose(Request(count=1, seed=SEED, bars=BARS))
    midi = folder / f"song-{SEED}.mid"
    write_midi(song.piece, midi)
    render_audio(midi, midi.with_suffix(".wav"))
    draw_piano_roll(song.piece, midi.with_suffix(".png"), f"iteration {iteration}")


def _composer(context: "SampleContext", folder: Path) -> "Composer":
    from megatron_music.export.weights import as_gpt2
    from megatron_music.generate.composer import Composer

    if context.weights is not None:
        model = as_gpt2(context.weights, context.recipe.model, context.vocabulary)
        return Composer(model, context.vocabulary)
    exported = folder / "hf"
    command = [sys.executable, "-m", "megatron_music", "export", str(context.step)]
    try:
        subprocess.run([*command, "-o", str(exported)], check=True, capture_output=True, text=True)
        return Composer.load(exported)
    finally:
        shutil.rmtree(exported, ignore_errors=True)


def _shortly(fault: Exception) -> str:
    told = fault.stderr if isinstance(fault, subprocess.CalledProcessError) else str(fault)
    lines = [line for line in told.splitlines() if line.strip()]
    return lines[-1] if lines else type(fault).__name__
