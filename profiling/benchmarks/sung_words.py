r"""What a model knows of words that are sung: nats a syllable with and without the music.

    python profiling/benchmarks/sung_words.py --data data/bach-sung --model runs/bach-sung-tiny/hf

Held-out windows are read three times with the same words: to their own music, to the melody and the
voices of another window, and to a melody of quarter notes on one pitch with nothing around it. Of
two melodies the words go as far as the shorter one. `-n` songs are composed as well, for the share
of notes that have a syllable; with --stress the English words of a file are composed to, and the
stressed syllables on strong beats are counted by the CMU dictionary (`pip install pronouncing`).
"""

import argparse
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
from harness import describe

from megatron_music.data.settings import SPLITS
from megatron_music.errors import MusicError
from megatron_music.evaluate.bootstrap import ratio
from megatron_music.evaluate.corpus import read_split
from megatron_music.evaluate.heldout import read
from megatron_music.evaluate.measures import sung_notes
from megatron_music.generate.composer import Composer
from megatron_music.generate.lyrics import read_words
from megatron_music.generate.request import Request
from megatron_music.score.notes import Piece, Track
from megatron_music.score.words import split_mark
from megatron_music.tokenizer.codec import decode, encode
from megatron_music.tokenizer.vocabulary import Kind
from megatron_music.wording import markdown_table

EVERY_WINDOW = 1 << 40
PACKAGES = ("torch", "transformers", "numpy")
MONOTONE_PITCH = 67
QUARTERS_A_BAR = 4


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, metavar="DIR")
    parser.add_argument("--model", type=Path, required=True, metavar="HFDIR")
    parser.add_argument("-n", type=int, default=16, help="songs to compose")
    parser.add_argument("--stress", type=Path, metavar="FILE.txt", help="English words")
    arguments = parser.parse_args()
    try:
        print(measure(arguments))
    except MusicError as fault:
        sys.exit(f"error: {fault}")


def measure(arguments: argparse.Namespace) -> str:
    """Return the tables."""
    composer = Composer.load(arguments.model)
    vocabulary = composer.vocabulary
    windows = read_split(arguments.data, SPLITS[1], EVERY_WINDOW, vocabulary)
    windows = windows.and_also(read_split(arguments.data, SPLITS[2], EVERY_WINDOW, vocabulary))
    whole = [decode(tokens, vocabulary) for tokens in windows.tokens]
    pieces = [(piece, of) for piece, of in zip(whole, windows.groups, strict=True) if piece.is_sung]
    groups = np.array([of for _, of in pieces])
    readings = {"their own music": [], "the music of another piece": [], "one pitch, alone": []}
    for place, (piece, _) in enumerate(pieces):
        others = [one for one, of in pieces if of != pieces[place][1]]
        singer = max(piece.tracks, key=lambda track: int((track.sung != "").sum()))
        words = [one for one in singer.sung.tolist() if one]
        for name, music in zip(
            readings, (piece, others[place % len(others)], monotone(piece, singer)), strict=True
        ):
            readings[name].append(sung_to(music, words))
    rows = []
    for name, songs in readings.items():
        losses = read(composer.model, vocabulary, [encode(one, vocabulary) for one in songs])
        nats = [of_syllables(one.targets, one.nats, vocabulary) for one in losses]
        counts = np.array([sum((t.sung != "").sum() for t in one.tracks) for one in songs], float)
        rows.append((name, str(int(counts.sum())), str(ratio(np.array(nats), counts, groups))))
    parts = [markdown_table(("words to", "syllables", "nats a syllable"), rows)]
    songs = list(composer.compose(Request(arguments.n, seed=1000)))
    shares = [[sung_notes(piece) for piece, _ in pieces], [sung_notes(s.piece) for s in songs]]
    parts.append(
        markdown_table(
            ("windows", "share of notes with a syllable"),
            [
                (f"{len(of)} {name}", f"{np.mean(of):.1%}")
                for name, of in zip(("held out", "composed"), shares, strict=True)
            ],
        )
    )
    if arguments.stress is not None:
        parts.append(stress(composer, arguments))
    return "\n\n".join((*parts, describe(PACKAGES).text))


def of_syllables(targets: np.ndarray, nats: np.ndarray, vocabulary: object) -> float:
    """Return the nats of all SYLLABLE tokens of a window."""
    kinds = [vocabulary.meanings[token][0] for token in targets.tolist()]
    return float(nats[[kind is Kind.SYLLABLE for kind in kinds]].sum())


def monotone(piece: Piece, singer: Track) -> Piece:
    """Return a melody of quarter notes on one pitch, as long as a piece and without the others."""
    onset = np.arange(piece.bars * QUARTERS_A_BAR, dtype=np.int64) * piece.steps_per_quarter
    pitch = np.full(len(onset), MONOTONE_PITCH)
    track = Track(singer.instrument, onset, onset + piece.steps_per_quarter, pitch)
    return replace(piece, tracks=(track,))


def sung_to(piece: Piece, words: list[str]) -> Piece:
    """Return a piece whose singer has other words, a note each from the first one that is sung."""
    place = max(range(len(piece.tracks)), key=lambda i: int((piece.tracks[i].sung != "").sum()))
    track = piece.tracks[place]
    sung = np.full(len(track), "", dtype="U40")
    notes = np.flatnonzero(track.sung != "") if track.syllables is not None else range(len(track))
    for note, word in zip(notes, words, strict=False):
        sung[note] = word
    silent = [replace(one, syllables=None) for one in piece.tracks]
    silent[place] = replace(track, syllables=sung)
    return replace(piece, tracks=tuple(silent))


def stress(composer: Composer, arguments: argparse.Namespace) -> str:
    """Return how often syllables stand on the first or third beat, by their stress."""
    import pronouncing

    request = Request(arguments.n, seed=1000, words=read_words(arguments.stress))
    on_beat: dict[bool, list[bool]] = {True: [], False: []}
    for song in composer.compose(request):
        track = max(song.piece.tracks, key=lambda one: int((one.sung != "").sum()))
        half = 2 * song.piece.steps_per_quarter
        word: list[tuple[str, int]] = []
        for syllable, onset in zip(track.sung.tolist(), track.onset.tolist(), strict=True):
            if not syllable:
                continue
            text, mark = split_mark(syllable)
            word.append((text, onset))
            if not mark:
                continue
            spelt = "".join(c for part, _ in word for c in part if c.isalpha() or c == "'").lower()
            phones = pronouncing.phones_for_word(spelt)
            stresses = pronouncing.stresses(phones[0]) if phones else ""
            if len(stresses) == len(word) > 1:
                for level, (_, at) in zip(stresses, word, strict=True):
                    on_beat[level != "0"].append(at % half == 0)
            word = []
    return markdown_table(
        ("syllables of words of several", "count", "on beat 1 or 3"),
        [
            (name, str(len(on_beat[is_stressed])), f"{np.mean(on_beat[is_stressed]):.1%}")
            for name, is_stressed in (("stressed", True), ("unstressed", False))
        ],
    )


if __name__ == "__main__":
    main()
