"""Songs of two models side by side: piano rolls and figures on a page of Markdown.

    megatron-music sample OLD/hf -o before -n 10 --no-wav
    megatron-music sample NEW/hf -o after -n 10 --no-wav
    python docs/before_after.py before after -o docs/before-after

Songs of one name, which have the same seed, are a pair. Writes README.md and two pictures a pair;
`--about FILE.md` is what it says of the models before the songs.
"""

import argparse
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from megatron_music.errors import InputError, MusicError, UsageError
from megatron_music.evaluate.measures import in_key, minor_seconds
from megatron_music.evaluate.voices import dissonant_pairs, voices_crossed
from megatron_music.files import atomic_write, write_text
from megatron_music.formatting import markdown_table
from megatron_music.score.instruments import VOICES
from megatron_music.score.midi_reader import read_midi
from megatron_music.score.notes import Piece
from megatron_music.score.pianoroll import piano_roll
from megatron_music.score.quantize import quantize

MOST_BYTES = 2_000_000
"""Of all files together: they stand in git."""

SIDES = ("before", "after")
_STEPS_PER_QUARTER = 12
_NAME = re.compile(r"song-(\d+)\.mid")


def write_page(
    folders: Sequence[Path], output: Path, count: int, dpi: int, about: Path | None = None
) -> list[Path]:
    """Write the page and its pictures; return the files. Raises InputError, UsageError."""
    seeds = _seeds(folders)[:count]
    if len(seeds) < count:
        raise InputError(
            f"{folders[0]} and {folders[1]} share {len(seeds)} songs by name, {count} are asked "
            "for; sample both with the same seeds, or give -n"
        )
    parts = [
        "# Before and after",
        f"{count} songs of the same seeds by two models, none picked by hand. Below each: minor "
        "seconds (and major sevenths) among the intervals that sound at once, the share of the "
        "sounding time in the likeliest key and, of voices, the dissonant pairs and how long "
        "voices cross ([what is counted](../evaluation.md)). Made by `docs/before_after.py`.",
    ]
    if about is not None:
        parts.append(_text(about))
    files = []
    for seed in seeds:
        pieces = [_piece(folder / f"song-{seed}.mid") for folder in folders]
        names = [f"song-{seed}-{side}.png" for side in SIDES]
        for piece, name in zip(pieces, names, strict=True):
            files.append(output / name)
            with atomic_write(output / name) as temporary:
                piano_roll(piece).savefig(temporary, dpi=dpi, metadata={"Software": None})
        pictures = [f"![seed {seed}, {s}]({n})" for s, n in zip(SIDES, names, strict=True)]
        parts += [f"## Seed {seed}", markdown_table(SIDES, [pictures, list(map(_figures, pieces))])]
    files.append(output / "README.md")
    write_text(files[-1], "\n\n".join(parts) + "\n")
    if (size_bytes := sum(file.stat().st_size for file in files)) > MOST_BYTES:
        raise UsageError(
            f"the page takes {size_bytes:,} bytes, {MOST_BYTES:,} is the limit; lower --dpi or -n"
        )
    return files


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except (OSError, ValueError) as fault:
        raise InputError(f"cannot read {path} ({fault}); give a file of Markdown") from None


def _seeds(folders: Sequence[Path]) -> list[int]:
    """Return the seeds of the songs that all folders hold."""
    found = [
        {int(match[1]) for path in folder.glob("*.mid") if (match := _NAME.fullmatch(path.name))}
        for folder in folders
    ]
    return sorted(set.intersection(*found))


def _piece(path: Path) -> Piece:
    return quantize(read_midi(path), _STEPS_PER_QUARTER)


def _figures(piece: Piece) -> str:
    shares = {"minor seconds": minor_seconds(piece), "in key": in_key(piece)}
    if all(track.instrument in VOICES for track in piece.tracks):
        shares["dissonant pairs"] = dissonant_pairs(piece)
        shares["crossed"] = voices_crossed(piece)
    return ", ".join(f"{name} {100 * share:.1f} %" for name, share in shares.items())


def main(words: Sequence[str]) -> None:
    """Write the page that a command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folders", type=Path, nargs=2, metavar="FOLDER", help="before, after")
    parser.add_argument("-o", "--output", type=Path, default=Path("docs/before-after"))
    parser.add_argument("-n", "--count", type=int, default=10, help="songs, by ascending seed")
    parser.add_argument("--about", type=Path, metavar="FILE.md", help="what to say of the models")
    parser.add_argument("--dpi", type=int, default=72, help="of the pictures")
    arguments = parser.parse_args(words)
    try:
        files = write_page(
            arguments.folders, arguments.output, arguments.count, arguments.dpi, arguments.about
        )
    except MusicError as fault:
        print(f"error: {fault}", file=sys.stderr)
        sys.exit(fault.exit_code)
    size_bytes = sum(file.stat().st_size for file in files)
    print(f"{files[-1]}: {arguments.count} pairs, {size_bytes:,} bytes")


if __name__ == "__main__":
    main(sys.argv[1:])
