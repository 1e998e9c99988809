"""Count what a data set consists of: lengths, instruments, pitches, densities, lengths of notes.

All tokens are counted. Lengths of notes and numbers of tracks need a walk through the documents,
so they are counted in a sample of at most `SAMPLE_TOKENS` tokens, spread evenly over training.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from megatron_music.data.counts import Contents, Counts, binned, count_bars
from megatron_music.data.indexed import IndexedReader
from megatron_music.data.manifest import TOKENIZER_FOLDER, read_manifest
from megatron_music.data.records import RECORDS_FILE
from megatron_music.data.settings import SPLITS
from megatron_music.errors import DataError
from megatron_music.formatting import counted
from megatron_music.progress import Progress, silent
from megatron_music.score.instruments import instrument_name
from megatron_music.score.metre import COMMON_TIME
from megatron_music.tokenizer.vocabulary import PITCHES, Vocabulary, load_vocabulary

SAMPLE_TOKENS = 16_000_000
MOST_TRACKS = 64

PORTION_TOKENS = 1 << 20


@dataclass(frozen=True)
class Statistics:
    """What `data stats` shows: the manifest, the contents, and what a sample tells of notes.

    `note_steps[n]` counts the notes of n steps in the sample and `tracks[n]` its documents of n
    tracks; the last cells hold what is beyond. `sung_notes` counts the notes of all sides that
    have a syllable.
    """

    manifest: Mapping[str, Any]
    contents: Contents
    note_steps: Counts
    tracks: Counts
    sampled_documents: int
    sung_notes: int = 0


def statistics(folder: Path, progress: Progress = silent) -> Statistics:
    """Count what is in a data set; raises DataError. `progress` counts tokens."""
    manifest = read_manifest(folder)
    vocabulary = load_vocabulary(folder / TOKENIZER_FOLDER)
    readers = [IndexedReader(folder / name) for name in SPLITS]
    size = len(vocabulary)
    token_counts = np.zeros(size, np.int64)
    done, total = 0, sum(len(reader.tokens) for reader in readers)
    for reader in readers:
        # In portions: the tokens are mapped from a file that may be larger than memory.
        for start in range(0, len(reader.tokens), PORTION_TOKENS):
            part = reader.tokens[start : start + PORTION_TOKENS]
            found = np.bincount(part, minlength=size)
            if len(found) > size:
                raise DataError(
                    f"there is a token {len(found) - 1} in a vocabulary of {size}; "
                    "megatron-music data verify tells where"
                )
            token_counts += found
            done += len(part)
            progress(done, total)
    contents = Contents.added_up(
        vocabulary,
        [token_counts],
        [np.bincount(reader.lengths, minlength=1) for reader in readers],
        count_bars(folder / RECORDS_FILE),
    )
    sung_notes = sum(_count_sung(reader, vocabulary) for reader in readers)
    return Statistics(manifest, contents, *_sample(readers[0], vocabulary), sung_notes)


def _count_sung(reader: IndexedReader, vocabulary: Vocabulary) -> int:
    """Count the notes that have a syllable."""
    if not vocabulary.has_lyrics:
        return 0
    sung = 0
    for start in range(0, len(reader.tokens), PORTION_TOKENS):
        # One token more: a note at the end of a portion has its syllable in the next.
        part = reader.tokens[start : start + PORTION_TOKENS + 1].astype(np.int64)
        begins = (part >= vocabulary.note_on) & (part < vocabulary.note_on + PITCHES)
        words = (part >= vocabulary.syllable) & (part < vocabulary.attribute)
        sung += int((begins[:-1] & words[1:]).sum())
    return sung


def _sample(reader: IndexedReader, vocabulary: Vocabulary) -> tuple[Counts, Counts, int]:
    """Walk through some of the documents; return lengths of notes, tracks, documents walked."""
    from megatron_music.data.report.stats_kernel import walk

    longest = 2 * COMMON_TIME.steps(vocabulary.settings.steps_per_quarter)
    note_steps, tracks = np.zeros(longest + 1, np.int64), np.zeros(MOST_TRACKS + 1, np.int64)
    followed = 0
    edges = np.concatenate(([0], np.cumsum(reader.lengths, dtype=np.int64)))
    total = int(edges[-1])
    places = np.arange(0, total, PORTION_TOKENS)
    firsts = np.unique([*np.searchsorted(edges, places).tolist(), len(edges) - 1]).tolist()
    # Runs of documents, evenly over the split: neighbours are windows of one piece.
    for first, last in list(pairwise(firsts))[:: max(1, -(-total // SAMPLE_TOKENS))]:
        tokens = reader.tokens[edges[first] : edges[last]]
        followed += walk(tokens, reader.lengths[first:last], vocabulary, note_steps, tracks)
    return note_steps, tracks, followed


def note_rows(made: Statistics) -> dict[str, list[tuple[str, int]]]:
    """Return by title the rows of the histograms that the sample allows."""
    quarter = made.contents.vocabulary.settings.steps_per_quarter
    sample = f"in {counted(made.sampled_documents, 'document')} for training"
    edges = sorted(
        {
            1,
            *range(quarter // 2, 2 * quarter, quarter // 2),
            *range(2 * quarter, 9 * quarter, 2 * quarter),
        }
    )
    rows = {
        f"Notes by steps ({quarter} a quarter note) {sample}, without drums": binned(
            made.note_steps, edges
        ),
        f"Documents by tracks, {sample}": binned(made.tracks, range(1, MOST_TRACKS + 1)),
    }
    return {title: listed for title, listed in rows.items() if listed}


def as_json(made: Statistics) -> dict[str, Any]:
    """Return statistics as values that JSON knows."""
    contents = made.contents
    return {
        "splits": made.manifest["splits"],
        "inputs": made.manifest["inputs"],
        "tokens": int(contents.token_counts.sum()),
        "documents": int(contents.document_tokens.sum()),
        "documents_within_context": {str(k): v for k, v in contents.fitting().items()},
        "document_tokens": _sparse(contents.document_tokens),
        "piece_bars": _sparse(contents.piece_bars),
        "instruments": {instrument_name(k): v for k, v in contents.instruments.items()},
        "pitches": contents.pitches.tolist(),
        "densities": contents.densities.tolist(),
        "values": contents.value_counts,
        "sung_notes": made.sung_notes,
        "sample": {
            "documents": made.sampled_documents,
            "note_steps": _sparse(made.note_steps),
            "tracks": _sparse(made.tracks),
        },
    }


def _sparse(counts: Counts) -> dict[str, int]:
    return {str(value): int(counts[value]) for value in np.flatnonzero(counts).tolist()}
