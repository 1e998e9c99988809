"""The whole evaluation of an exported model against the data set it was trained on."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from megatron_music.data.dataset_windows import WindowReader
from megatron_music.data.manifest import read_manifest
from megatron_music.data.settings import SPLITS
from megatron_music.errors import DataError
from megatron_music.evaluate import bootstrap
from megatron_music.evaluate.bootstrap import Estimate
from megatron_music.evaluate.comparison import (
    SETS,
    FigureRow,
    HistogramRow,
    Seams,
    WindowSet,
    compare_figures,
    compare_histograms,
    seams,
)
from megatron_music.evaluate.copying import count_runs
from megatron_music.evaluate.corpus import (
    SplitWindows,
    closing_windows,
    compared_windows,
    read_labels,
    read_split,
    whole_windows,
)
from megatron_music.evaluate.critic import FOLDS, CriticResult, judge_songs
from megatron_music.evaluate.embedding import (
    EmbeddingMap,
    attribute_map,
    instrument_map,
    note_map,
    token_counts,
)
from megatron_music.evaluate.heldout import (
    HeldOut,
    UnconstrainedSample,
    evaluate_losses,
    sample_unconstrained,
)
from megatron_music.evaluate.label_accuracy import LabelRow, label_rows
from megatron_music.evaluate.measures import FIGURES, SUNG_FIGURES
from megatron_music.evaluate.sung_words import SungWords, evaluate_words
from megatron_music.evaluate.voices import VOICE_FIGURES, ends_on_the_tonic
from megatron_music.generate.composer import Composer
from megatron_music.generate.song import Song
from megatron_music.generate.song_request import Request
from megatron_music.progress import Stage, silent_stage
from megatron_music.tokenizer.codec import encode
from megatron_music.tokenizer.vocabulary import Vocabulary

MOST_WINDOWS = 400
"""The number of windows of each held-out split, evenly spread."""

LONG_SONGS = 4
"""For every four songs, one song of two windows is composed."""

WINDOWS_OF_A_LABEL = 100
"""The most windows of a label in each split: a classifier learns all labels alike."""

FEWEST_WINDOWS = 10
"""The least number of whole windows for statistics of a set."""


@dataclass(frozen=True)
class Evaluation:
    """The results of an evaluation.

    `voices` is empty for music that has none, `words` None for a model without them;
    `real_endings` is the share of held-out windows at the end of their piece whose last chord is
    the tonic triad, None where none is known to be. `windows` counts the windows of each of `SETS`,
    `copying` the `composed` songs and `held_out` windows by the longest run of bars that they share
    with training music.
    """

    model: Path
    data: Path
    request: Request
    vocabulary: Vocabulary
    losses: dict[str, HeldOut]
    unigram: dict[str, float]
    free: tuple[UnconstrainedSample, ...]
    windows: dict[str, int]
    figures: dict[str, FigureRow]
    voices: dict[str, FigureRow]
    real_endings: Estimate | None
    histograms: tuple[HistogramRow, ...]
    seams: Seams
    copying: dict[str, dict[int, int]]
    verdict: CriticResult
    notes: EmbeddingMap
    instruments: EmbeddingMap
    attributes: EmbeddingMap
    labels: list[LabelRow]
    words: SungWords | None


def evaluate(model: Path, data: Path, request: Request, stage: Stage = silent_stage) -> Evaluation:
    """Evaluate an exported model; `request.count` songs are composed as the request says.

    The data set must be the one it was trained on, or of the same vocabulary. Raises
    CheckpointError, DataError, UsageError and MissingError.
    """
    composer = Composer.load(model)
    vocabulary = composer.vocabulary
    manifest = _manifest(data, vocabulary)
    splits = {name: read_split(data, name, MOST_WINDOWS, vocabulary) for name in SPLITS[1:]}
    training = read_split(data, SPLITS[0], 2 * max(request.count, MOST_WINDOWS // 4), vocabulary)
    sets = _real_music(splits, training, vocabulary)
    losses = evaluate_losses(composer, splits, stage)
    with stage("compose without the mask", "songs") as progress:
        free = sample_unconstrained(composer, request.count, request.seed, progress)
    songs = _compose(composer, request, stage)
    composed = compared_windows([song.piece for song in songs], np.arange(len(songs)), vocabulary)
    bars, every = vocabulary.settings.bars, [*sets, WindowSet(*composed)]
    # Two windows each, for the notes across the barline where the first ends.
    longer = replace(request, count=max(1, request.count // LONG_SONGS), bars=2 * bars)
    long_songs = [song.piece for song in _compose(composer, longer, stage)]
    drawn = WindowReader(data, SPLITS[0], vocabulary)
    counts = drawn.keys * token_counts(drawn, vocabulary)
    held_out = [tokens for split in splits.values() for tokens in split.tokens]
    with stage("compare with real music", "steps") as progress:
        progress(0, 3)
        sung = SUNG_FIGURES if vocabulary.has_lyrics else {}
        figures = compare_figures(every, FIGURES | sung)
        singing = VOICE_FIGURES if vocabulary.settings.voices else {}
        voices = compare_figures(every, singing)
        histograms = tuple(compare_histograms(every))
        progress(1, 3)
        written = [encode(song.piece, vocabulary) for song in songs]
        copied = count_runs(data, {"composed": written, "held_out": held_out}, vocabulary)
        progress(2, 3)
        verdict = judge_songs(every, songs, vocabulary)
        progress(3, 3)
    return Evaluation(
        model=model,
        data=data,
        request=request,
        vocabulary=vocabulary,
        losses=losses,
        unigram=manifest.get("unigram_nats_per_token", {}),
        free=tuple(free),
        windows={name: len(one.pieces) for name, one in zip(SETS, every, strict=True)},
        figures=figures,
        voices=voices,
        real_endings=_endings(splits, vocabulary) if voices else None,
        histograms=histograms,
        seams=seams(long_songs, bars, sets[1].pieces, sets[1].groups),
        copying=copied,
        verdict=verdict,
        notes=note_map(composer.model, vocabulary, counts),
        instruments=instrument_map(composer.model, vocabulary, counts),
        attributes=attribute_map(composer.model, vocabulary, counts),
        labels=_labels(composer, request, data, stage),
        words=evaluate_words(composer, splits, every, stage) if vocabulary.has_lyrics else None,
    )


def _labels(composer: Composer, request: Request, data: Path, stage: Stage) -> list[LabelRow]:
    vocabulary = composer.vocabulary
    if not vocabulary.settings.attributes:
        return []
    training, first, second = (
        read_labels(data, name, WINDOWS_OF_A_LABEL, vocabulary) for name in SPLITS
    )
    with stage("compose by label", "families") as progress:
        return label_rows(composer, request, training, first.and_also(second), progress)


def _manifest(data: Path, vocabulary: Vocabulary) -> dict[str, dict[str, float]]:
    manifest = read_manifest(data)
    if manifest["vocabulary_hash"] != vocabulary.hash:
        raise DataError(
            f"{data} was built with another vocabulary than the model's; "
            "give the data set that the model was trained on"
        )
    return manifest


def _real_music(
    splits: dict[str, SplitWindows], training: SplitWindows, vocabulary: Vocabulary
) -> tuple[WindowSet, WindowSet]:
    """Return whole windows of training and of held-out music; raises DataError for too few."""
    first, second = splits.values()
    sets = [
        WindowSet(*whole_windows(documents, vocabulary))
        for documents in (training, first.and_also(second))
    ]
    for music in sets:
        if len(music.pieces) < FEWEST_WINDOWS or len(np.unique(music.groups)) < FOLDS:
            raise DataError(
                f"the data set has {len(music.pieces)} whole windows of held-out or training "
                f"music from {len(np.unique(music.groups))} pieces; an evaluation needs "
                f"{FEWEST_WINDOWS} from {FOLDS}: give more music, or a larger --split"
            )
    return sets[0], sets[1]


def _compose(composer: Composer, request: Request, stage: Stage) -> list[Song]:
    songs = []
    with stage("compose", "songs") as progress:
        progress(0, request.count)
        for song in composer.compose(request):
            songs.append(song)
            progress(len(songs), request.count)
    return songs


def _endings(splits: dict[str, SplitWindows], vocabulary: Vocabulary) -> Estimate | None:
    """Estimate how often held-out pieces end on the tonic triad."""
    first, second = splits.values()
    pieces, groups = closing_windows(first.and_also(second), vocabulary)
    if not pieces:
        return None
    return bootstrap.mean(np.array([ends_on_the_tonic(piece) for piece in pieces]), groups)
