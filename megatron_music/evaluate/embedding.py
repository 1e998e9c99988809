"""The music in a model's embeddings: octaves, fifths, families of instruments.

Cosines are taken after the mean of all vectors compared is subtracted: what they all share says
nothing about how they differ.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from transformers import GPT2LMHeadModel

from megatron_music.errors import MissingError
from megatron_music.evaluate.bootstrap import FloatArray
from megatron_music.score.instruments import INSTRUMENT_COUNT
from megatron_music.score.notes import IntArray
from megatron_music.tokenizer.vocabulary import PITCHES, TokenArray, Vocabulary

RARE = 100
"""Tokens that are rarer in training have hardly moved from their initial vectors."""

LARGEST_INTERVAL = 24
OCTAVE = 12
_FIFTH = 7
_COUNTED_TOKENS = 50_000_000


@dataclass(frozen=True)
class EmbeddingMap:
    """Vectors of one family of tokens: their meaning, their cosines, and a map in the plane.

    `codes` [n] are pitches, instruments or places among the attributes, `cosines` [n, n], `plane`
    [n, 2] is from t-SNE, and empty for fewer than five tokens.
    """

    codes: IntArray
    cosines: FloatArray
    plane: FloatArray


def note_map(model: GPT2LMHeadModel, vocabulary: Vocabulary, counts: IntArray) -> EmbeddingMap:
    """Map the NOTE_ON tokens that training has seen, by pitch."""
    return _map(model, counts, vocabulary.note_on, PITCHES)


def instrument_map(
    model: GPT2LMHeadModel, vocabulary: Vocabulary, counts: IntArray
) -> EmbeddingMap:
    """Map the INST tokens that training has seen, by instrument code."""
    return _map(model, counts, vocabulary.inst, INSTRUMENT_COUNT)


def attribute_map(model: GPT2LMHeadModel, vocabulary: Vocabulary, counts: IntArray) -> EmbeddingMap:
    """Map the labels that training has seen, such as composers, by their place among them."""
    attributes = len(vocabulary.settings.attributes)
    return _map(model, counts, vocabulary.attribute, attributes)


def token_counts(windows: Iterable[TokenArray], vocabulary: Vocabulary) -> IntArray:
    """Return how often each token occurs, [vocabulary], in the first fifty million tokens."""
    counts = np.zeros(len(vocabulary), np.int64)
    left = _COUNTED_TOKENS
    for window in windows:
        counts += np.bincount(window, minlength=len(vocabulary))
        left -= len(window)
        if left <= 0:
            break
    return counts


def cosines(vectors: FloatArray) -> FloatArray:
    """Return the cosines [n, n] of vectors [n, d] after their mean is subtracted."""
    centred = vectors - vectors.mean(0)
    lengths = np.linalg.norm(centred, axis=1, keepdims=True)
    directions = centred / np.maximum(lengths, 1e-12)
    alike: FloatArray = directions @ directions.T
    return alike


def by_interval(of: EmbeddingMap) -> FloatArray:
    """Return the mean cosine of two notes by the semitones between them, [25] from 0 to 24.

    NaN where no two notes are that far apart.
    """
    apart = np.abs(of.codes[:, None] - of.codes)
    return _means(of.cosines, apart, LARGEST_INTERVAL + 1)


def by_fifths(of: EmbeddingMap) -> FloatArray:
    """Return the mean cosine of two different notes by their steps on the circle of fifths, [7].

    Step 0 is octaves, 1 fifths and fourths, 6 the tritone. Where the model has found keys the
    means fall from step to step.
    """
    around = (of.codes[:, None] - of.codes) * _FIFTH % OCTAVE
    steps = np.minimum(around, OCTAVE - around)
    # A note and itself are no pair: beyond the last step, so not counted.
    steps[np.diag_indices(len(steps))] = OCTAVE
    return _means(of.cosines, steps, OCTAVE // 2 + 1)


def _means(values: FloatArray, places: IntArray, count: int) -> FloatArray:
    kept = places < count
    sums = np.bincount(places[kept], values[kept], count)
    numbers = np.bincount(places[kept], minlength=count)
    means: FloatArray = np.where(numbers > 0, sums / np.maximum(numbers, 1), np.nan)
    return means


def _map(model: GPT2LMHeadModel, counts: IntArray, first: int, size: int) -> EmbeddingMap:
    codes = np.flatnonzero(counts[first : first + size] >= RARE)
    weights = model.transformer.wte.weight.detach()[first : first + size]
    vectors = weights.double().cpu().numpy()[codes]
    alike = cosines(vectors) if len(codes) else np.zeros((0, 0))
    if len(vectors) < 5:  # too few for a map
        return EmbeddingMap(codes, alike, np.zeros((0, 2)))
    try:
        from sklearn.manifold import TSNE
    except ModuleNotFoundError as fault:
        raise MissingError(
            f"evaluation needs {fault.name}; install it: pip install 'megatron-music[evaluate]'"
        ) from None
    # It has to be below the number of points.
    perplexity = min(15.0, (len(vectors) - 1) / 3)
    tsne = TSNE(perplexity=perplexity, metric="precomputed", init="random", random_state=0)
    plane: FloatArray = tsne.fit_transform(np.clip(1 - alike, 0, None)).astype(np.float64)
    return EmbeddingMap(codes, alike, plane)
