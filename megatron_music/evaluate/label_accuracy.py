"""Test whether labels change the music: a classifier of real music on songs with labels.

For each family of labels a logistic regression on the measures of a window learns from training
music which label it has. It is tried on held-out music, and on songs that were asked for by label:
where it finds the labels asked for as often as the real ones, asking works.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from megatron_music.evaluate import bootstrap
from megatron_music.evaluate.bootstrap import Estimate
from megatron_music.evaluate.corpus import SplitWindows
from megatron_music.evaluate.critic import features, fit
from megatron_music.generate.composer import Composer
from megatron_music.generate.song_request import Request
from megatron_music.progress import Progress
from megatron_music.score.notes import IntArray, Piece
from megatron_music.tokenizer.attributes import UNKNOWN, families_of
from megatron_music.tokenizer.codec import decode
from megatron_music.tokenizer.vocabulary import Vocabulary

MOST_LABELS = 16
"""The most labels of a family: those of the most windows. More would have few songs each."""

FEWEST_WINDOWS = 20
"""The least number of windows of a label in training music; a quarter of them is held out."""


@dataclass(frozen=True)
class LabelRow:
    """How often the classifier finds a label: the windows and songs, and the shares found."""

    family: str
    label: str
    training: int
    held_out: int
    songs: int
    real: Estimate
    composed: Estimate


def label_rows(
    composer: Composer,
    request: Request,
    training: SplitWindows,
    held_out: SplitWindows,
    progress: Progress,
) -> list[LabelRow]:
    """Return a row for each frequent label of each family that has two or more of them."""
    vocabulary = composer.vocabulary
    rows: list[LabelRow] = []
    families = families_of(vocabulary)
    for done, (family, labels) in enumerate(families.items()):
        progress(done, len(families))
        known = {token: label for label, token in labels.items() if label != UNKNOWN}
        first, second = (_label_windows(split, known, vocabulary) for split in (training, held_out))
        of_training, of_held_out = Counter(first.labels), Counter(second.labels)
        chosen = [
            token
            for token, count in of_training.most_common()
            if count >= FEWEST_WINDOWS and of_held_out[token] >= FEWEST_WINDOWS // 4
        ][:MOST_LABELS]
        if len(chosen) > 1:
            rows += _of_family(composer, request, family, known, chosen, first, second)
    progress(len(families), len(families))
    return rows


@dataclass(frozen=True)
class _LabelWindows:
    """Whole windows, the token of the label of each, and the piece that each is from."""

    pieces: list[Piece]
    labels: list[int]
    groups: IntArray

    def only(self, labels: Sequence[int]) -> "_LabelWindows":
        """Return the windows of some labels."""
        kept = [i for i, label in enumerate(self.labels) if label in labels]
        return _LabelWindows(
            [self.pieces[i] for i in kept], [self.labels[i] for i in kept], self.groups[kept]
        )


def _label_windows(
    split: SplitWindows, known: dict[int, str], vocabulary: Vocabulary
) -> _LabelWindows:
    """Return the whole windows that have one of the labels `known`, by their tokens."""
    pieces, labels, groups = [], [], []
    for tokens, group in zip(split.tokens, split.groups.tolist(), strict=True):
        # Labels come right after PIECE_START.
        label = next((token for token in tokens[1:9].tolist() if token in known), None)
        if label is None:
            continue
        piece = decode(tokens, vocabulary)
        if piece.bars == vocabulary.settings.bars:
            pieces.append(piece)
            labels.append(label)
            groups.append(group)
    return _LabelWindows(pieces, labels, np.array(groups, np.int64))


def _of_family(
    composer: Composer,
    request: Request,
    family: str,
    known: dict[int, str],
    chosen: Sequence[int],
    training: _LabelWindows,
    held_out: _LabelWindows,
) -> list[LabelRow]:
    training, held_out = training.only(chosen), held_out.only(chosen)
    judge = fit(features(training.pieces), np.array(training.labels, np.int64))
    count = max(FEWEST_WINDOWS // 4, request.count // len(chosen))
    rows: list[LabelRow] = []
    for token in chosen:
        wish = replace(
            request, attributes=(f"{family}={known[token]}",), count=count, song_ids=(), bars=None
        )
        songs = [song.piece for song in composer.compose(wish)]
        of_label = held_out.only([token])
        is_found = judge.predict(features(of_label.pieces)) == token
        # Songs are independent of one another; windows of one piece are not.
        count_found = int((judge.predict(features(songs)) == token).sum())
        rows.append(
            LabelRow(
                family=family,
                label=known[token],
                training=training.labels.count(token),
                held_out=held_out.labels.count(token),
                songs=len(songs),
                real=bootstrap.mean(is_found.astype(np.float64), of_label.groups),
                composed=bootstrap.share(count_found, len(songs)),
            )
        )
    return rows
