"""The whole evaluation of an exported model against the data set it was trained on."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from transformers import GPT2LMHeadModel

from megatron_music.data.dataset_windows import WindowReader
from megatron_music.data.indexed import IndexedReader
from megatron_music.data.manifest import read_manifest
from megatron_music.data.settings import SPLITS
from megatron_music.errors import DataError, TokenError
from megatron_music.evaluate import bootstrap, copying, critic
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
from megatron_music.evaluate.corpus import (
    SplitWindows,
    closing_windows,
    compared_bars,
    compared_windows,
    read_labels,
    read_split,
    whole_windows,
)
from megatron_music.evaluate.embedding import (
    EmbeddingMap,
    attribute_map,
    instrument_map,
    note_map,
    token_counts,
)
from megatron_music.evaluate.heldout import HeldOut, read, summarize
from megatron_music.evaluate.label_accuracy import LabelRow, label_rows
from megatron_music.evaluate.measures import FIGURES, SUNG_FIGURES
from megatron_music.evaluate.sung_words import SungWords, evaluate_words
from megatron_music.evaluate.voices import VOICE_FIGURES, ends_on_the_tonic
from megatron_music.generate.composer import Composer
from megatron_music.generate.decoding import decode
from megatron_music.generate.song import Song
from megatron_music.generate.song_request import Request
from megatron_music.generate.structural import SongReader
from megatron_music.progress import Progress, Stage, silent, silent_stage
from megatron_music.score.notes import Piece
from megatron_music.tokenizer.codec import encode
from megatron_music.tokenizer.grammar import Walker
from megatron_music.tokenizer.vocabulary import Vocabulary

MOST_WINDOWS = 400
"""The number of windows of each held-out split, evenly spread."""

LONG_SONGS = 4
"""For every four songs, one song of two windows is composed."""

WINDOWS_OF_A_LABEL = 100
"""The most windows of a label in each split: a classifier learns all labels alike."""

FEWEST_WINDOWS = 10
"""The least number of whole windows for statistics of a set."""


WHOLE, BROKEN, UNFINISHED = "whole", "broken", "unfinished"

BATCH = 16


@dataclass(frozen=True)
class UnconstrainedSample:
    """The outcome of a sample without a mask.

    `outcome`: `whole` is legal to its end; `broken` has an illegal token, the first after
    `legal_tokens` legal ones, for the reason given; `unfinished` is legal up to the end of the
    model's context.
    """

    outcome: str
    legal_tokens: int
    reason: str = ""


@dataclass(frozen=True)
class CriticResult:
    """The critic, how well it separates composed from real music, and each song's score by seed.

    `control` is how well the same kind of critic separates held-out from training music.
    """

    critic: critic.Critic
    area: Estimate
    control: Estimate
    real_scores: tuple[float, ...]
    song_scores: dict[int, float]

    @property
    def ranking(self) -> list[int]:
        """Seeds, from the song that looks most real to the one that looks least."""
        return sorted(self.song_scores, key=lambda seed: -self.song_scores[seed])


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
    losses = _losses(composer, {name: split for name, split in splits.items() if len(split)}, stage)
    with stage("compose without the mask", "songs") as progress:
        free = sample_unconstrained(
            composer.model, vocabulary, request.count, request.seed, progress
        )
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
        copied = _copying(IndexedReader(data / SPLITS[0]), held_out, songs, vocabulary)
        progress(2, 3)
        verdict = _judge(every, songs, vocabulary)
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
        if len(music.pieces) < FEWEST_WINDOWS or len(np.unique(music.groups)) < critic.FOLDS:
            raise DataError(
                f"the data set has {len(music.pieces)} whole windows of held-out or training "
                f"music from {len(np.unique(music.groups))} pieces; an evaluation needs "
                f"{FEWEST_WINDOWS} from {critic.FOLDS}: give more music, or a larger --split"
            )
    return sets[0], sets[1]


def _losses(
    composer: Composer, splits: dict[str, SplitWindows], stage: Stage
) -> dict[str, HeldOut]:
    losses = {}
    for name, split in splits.items():
        with stage(f"read {name}", "windows") as progress:
            model, vocabulary = composer.model, composer.vocabulary
            readings = read(model, vocabulary, split.tokens, split.places, progress)
        losses[name] = summarize(readings, split.groups, composer.vocabulary)
    return losses


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


def _copying(
    reader: IndexedReader,
    held_out: Sequence[np.ndarray[tuple[int], np.dtype[np.uint16]]],
    songs: Sequence[Song],
    vocabulary: Vocabulary,
) -> dict[str, dict[int, int]]:
    corpus = copying.training_bars(reader, vocabulary)

    def runs(documents: Sequence[np.ndarray[tuple[int], np.dtype[np.uint16]]]) -> dict[int, int]:
        """Count documents by the longest run that they share."""
        bars = copying.bars_of(documents, vocabulary)
        return dict(sorted(Counter(copying.longest_runs(bars, corpus).tolist()).items()))

    composed = [encode(song.piece, vocabulary) for song in songs]
    return {"composed": runs(composed), "held_out": runs(held_out)}


def _judge(
    sets: Sequence[WindowSet], songs: Sequence[Song], vocabulary: Vocabulary
) -> CriticResult:
    """Fit the critic on real music and on the songs; estimate its AUC by cross-validation.

    `sets` are training, held-out and composed music.
    """
    training, held_out, composed = (critic.features(music.pieces) for music in sets)
    real = np.concatenate((training, held_out))
    # The pieces of each set are numbered from 0.
    groups = np.concatenate((sets[0].groups, sets[1].groups + int(sets[0].groups.max()) + 1))
    area = critic.cross_validated(real, composed, groups, sets[2].groups)
    control = critic.cross_validated(training, held_out, sets[0].groups, sets[1].groups)
    grid = vocabulary.settings.steps_per_quarter
    judge = critic.train(real, composed, grid, compared_bars(vocabulary))

    def scores(pieces: Sequence[Piece]) -> list[float]:
        """Return the critic's score of each piece."""
        return [judge.score(piece) for piece in pieces]

    return CriticResult(
        critic=judge,
        area=area,
        control=control,
        real_scores=tuple(scores([*sets[0].pieces, *sets[1].pieces])),
        song_scores=dict(
            zip((song.seed for song in songs), scores([s.piece for s in songs]), strict=True)
        ),
    )


def whole_share(free: Sequence[UnconstrainedSample]) -> Estimate:
    """Estimate the share of samples without a mask that are legal from beginning to end."""
    return bootstrap.share(sum(sample.outcome == "whole" for sample in free), len(free))


def sample_unconstrained(
    model: GPT2LMHeadModel,
    vocabulary: Vocabulary,
    count: int,
    seed: int,
    progress: Progress = silent,
) -> list[UnconstrainedSample]:
    """Draw `count` pieces at temperature 1 from all tokens, with neither mask nor truncation.

    A model with structural inputs gets them, but for the place in the piece.
    """
    samples: list[UnconstrainedSample] = []
    reader = SongReader(model, vocabulary)
    devices = [model.device] if model.device.type == "cuda" else []
    progress(0, count)
    for first in range(0, count, BATCH):
        songs = min(BATCH, count - first)
        start = torch.full((songs, 1), vocabulary.piece_start, device=model.device)
        reader.begin(songs)
        # The generators of the caller stay as they were.
        with torch.random.fork_rng(devices):
            torch.manual_seed(seed + first)
            rows = decode(
                reader.read,
                lambda _, scores: torch.multinomial(scores.softmax(-1), 1)[:, 0],
                start,
                [vocabulary.piece_end],
                reader.rows.seq_length,
            )
        samples += [check_sample(row, vocabulary) for row in rows]
        progress(len(samples), count)
    return samples


def check_sample(tokens: Sequence[int], vocabulary: Vocabulary) -> UnconstrainedSample:
    """Check one sample by the grammar, up to PIECE_END."""
    walker = Walker(vocabulary)
    ends = [place + 1 for place, token in enumerate(tokens) if token == vocabulary.piece_end]
    try:
        walker.follow(tokens[: ends[0]] if ends else tokens)
    except TokenError as fault:
        return UnconstrainedSample(BROKEN, walker.length, fault.reason)
    return UnconstrainedSample(WHOLE if walker.is_whole else UNFINISHED, walker.length)
