"""Test whether labels change the music: a classifier of real music on songs with labels.

For each family of labels a logistic regression on the measures of a window learns from training
music which label it has. It is tried on held-out music, and on songs that were asked for by label:
where it finds the labels asked for as often as the real ones, asking works.
"""

from collections import Counter
from dataclasses import dataclass, replace
from typing import NamedTuple

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
        first, second = (_labelled(split, known, vocabulary) for split in (training, held_out))
        of_training, of_held_out = Counter(first.labels.tolist()), Counter(second.labels.tolist())
        chosen = [
            token
            for token, count in of_training.most_common()
            if count >= FEWEST_WINDOWS and of_held_out[token] >= FEWEST_WINDOWS // 4
        ][:MOST_LABELS]
        if len(chosen) < 2:
            continue
        kept = [i for i, label in enumerate(first.labels.tolist()) if label in chosen]
        judge = fit(features([first.pieces[i] for i in kept]), first.labels[kept])
        count = max(FEWEST_WINDOWS // 4, request.count // len(chosen))
        wish = replace(request, count=count, song_ids=(), bars=None)
        for token in chosen:
            asked = replace(wish, attributes=(f"{family}={known[token]}",))
            songs = [song.piece for song in composer.compose(asked)]
            of_label = np.flatnonzero(second.labels == token)
            real = judge.predict(features([second.pieces[i] for i in of_label])) == token
            # Songs are independent of one another; windows of one piece are not.
            found = int((judge.predict(features(songs)) == token).sum())
            row = LabelRow(
                family=family,
                label=known[token],
                training=of_training[token],
                held_out=of_held_out[token],
                songs=len(songs),
                real=bootstrap.mean(real.astype(np.float64), second.groups[of_label]),
                composed=bootstrap.share(found, len(songs)),
            )
            rows.append(row)
    progress(len(families), len(families))
    return rows


class _Labelled(NamedTuple):
    """Whole windows, the token of the label of each, and the piece that each is from."""

    pieces: list[Piece]
    labels: IntArray
    groups: IntArray


def _labelled(split: SplitWindows, known: dict[int, str], vocabulary: Vocabulary) -> _Labelled:
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
    return _Labelled(pieces, np.array(labels, np.int64), np.array(groups, np.int64))
