"""Music and pictures in a notebook: embedded, small, and without anything from a network.

`show(piece)` draws its piano roll and gives a player below; both stay in the saved notebook.
"""

import shlex
import subprocess
import sys
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from megatron_music.errors import MissingError, MusicError
from megatron_music.score.audio import render_audio
from megatron_music.score.midi_writer import write_midi
from megatron_music.score.notes import Piece
from megatron_music.score.pianoroll import piano_roll

if TYPE_CHECKING:
    from IPython.display import Audio, Image

PICTURE_DPI = 90
SOUND_COMPRESSION = 0.6
"""As libsndfile counts it, 0 to 1; at half the sample rate about 16 kbit/s of MP3."""


def show(piece: Piece, title: str = "", tempo_bpm: float = 100.0) -> None:
    """Show a piece: its piano roll and a player. Raises MissingError outside of Jupyter."""
    try:
        from IPython.display import display
    except ModuleNotFoundError as fault:
        raise MissingError("notebooks need IPython; install it: pip install ipykernel") from fault
    display(picture(piano_roll(piece, title)), player(piece, tempo_bpm))


def picture(figure: Figure) -> "Image":
    """Return a matplotlib figure as a PNG to be the value of a cell."""
    from IPython.display import Image

    FigureCanvasAgg(figure)
    file = BytesIO()
    figure.savefig(file, format="png", dpi=PICTURE_DPI, metadata={"Software": None})
    return Image(data=file.getvalue(), format="png")


def player(piece: Piece, tempo_bpm: float = 100.0) -> "Audio":
    """Return a player of a piece, its sound embedded as MP3."""
    from IPython.display import Audio

    with TemporaryDirectory() as folder:
        midi, wav, mp3 = (Path(folder) / f"piece.{kind}" for kind in ("mid", "wav", "mp3"))
        write_midi(piece, midi, tempo_bpm)
        render_audio(midi, wav)
        import soundfile

        # At half the sample rate: what is above 12 kHz is not missed here.
        samples, rate_hz = soundfile.read(wav)
        halved = samples[: len(samples) // 2 * 2].reshape(-1, 2, samples.shape[1]).mean(1)
        soundfile.write(
            mp3, halved, rate_hz // 2, format="MP3", compression_level=SOUND_COMPRESSION
        )
        return Audio(filename=mp3, embed=True)


def megatron_music(command: str) -> None:
    """Run a command of the program with this notebook's Python and print its result.

    Where there is none its last remark is printed. Raises MusicError where the command fails.
    """
    print(f"$ megatron-music {command}")
    words = [sys.executable, "-m", "megatron_music", *shlex.split(command)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    remarks = done.stderr.strip().splitlines()[-1:]
    print(done.stdout.strip() or "\n".join(remarks))
    if done.returncode:
        raise MusicError(f"megatron-music {command} failed: {' '.join(remarks)}")
