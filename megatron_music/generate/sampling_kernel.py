"""Choose tokens by temperature, top-k, top-p, min-p, and random numbers of each song; compiled.

Everything is reckoned in fp64 from a random word that depends on the song and the step alone, so
that a song knows neither its batch nor the machine. Within a kind of token the filters do what
those of `transformers` do.
"""

import numpy as np
import numpy.typing as npt

from megatron_music.generate.sampling_params import SamplingParams
from megatron_music.score.grid_kernel import scramble_word
from megatron_music.score.hashing import WORD, Words, scramble
from megatron_music.score.jit import kernel

Scores = npt.NDArray[np.float32] | npt.NDArray[np.float64]
Floats = npt.NDArray[np.float64]
Kinds = npt.NDArray[np.int64]
"""The kind of each token of a vocabulary, from 0."""

_FRACTION_BITS = 53


def song_seeds(seeds: list[int], stage: int) -> Words:
    """Return the word that each song's random words begin from in a stage of its making."""
    words = scramble(np.array([seed & WORD for seed in seeds], np.uint64))
    return scramble(words ^ scramble(np.array([stage], np.uint64)))


@kernel
def sample_tokens(
    scores: Scores,
    words: Words,
    step: int,
    sampling: SamplingParams,
    kinds: Kinds,
    durations: int,
    chosen: npt.NDArray[np.int64],
) -> None:
    """Choose a token for each row of scores [songs, vocabulary]; -inf is never chosen.

    A row without a finite score chooses token 0. The kind of the token is drawn as a whole before
    the token within its kind, see `_weigh`; `durations` is the kind of TIME_DELTA.
    """
    size = scores.shape[1]
    found, tokens = np.empty(size, np.float64), np.empty(size, np.int64)
    for song in range(scores.shape[0]):
        best = -np.inf
        for token in range(size):
            if best < scores[song, token] < np.inf:
                best = scores[song, token]
        count = 0
        for token in range(size):
            if -np.inf < scores[song, token] <= best:
                # Relative to the best: the exponentials of the scores could overflow.
                found[count] = scores[song, token] - best
                tokens[count] = token
                count += 1
        if not count:
            chosen[song] = 0
            continue
        weights = _weigh(found[:count], kinds[tokens[:count]], durations, sampling)
        word = scramble_word(words[song] + np.uint64(step))
        chosen[song] = tokens[_draw(weights, word)]


@kernel
def _weigh(scores: Floats, kinds: Kinds, durations: int, sampling: SamplingParams) -> Floats:
    """Return the weights of tokens in the draw, by their scores [tokens] and kinds [tokens].

    A kind weighs what all its tokens weigh together, before any is left out. Filters over all
    tokens would favour kinds of few tokens: a note may have a hundred pitches, the end of a bar is
    one token. Kinds are few, so that no long tail of them is to be cut: min-p leaves them alone,
    and durations too, where what it cut would be dotted and short notes.
    """
    most = kinds.max() + 1
    masses, bests = np.zeros(most, np.float64), np.full(most, -np.inf)
    for place in range(len(scores)):
        masses[kinds[place]] += np.exp(scores[place])
        bests[kinds[place]] = max(bests[kinds[place]], scores[place])
    masses = (masses / masses.max()) ** (1 / sampling.temperature)
    without_min_p = SamplingParams(sampling.temperature, sampling.top_k, sampling.top_p, 0.0)
    _filter(masses, without_min_p)
    weights = np.zeros(len(scores), np.float64)
    for kind in range(most):
        if masses[kind] > 0:
            places = np.flatnonzero(kinds == kind)
            within = np.exp((scores[places] - bests[kind]) / sampling.temperature)
            _filter(within, without_min_p if kind == durations else sampling)
            weights[places] = within * (masses[kind] / within.sum())
    return weights


@kernel
def _filter(weights: Floats, sampling: SamplingParams) -> None:
    """Set weights to 0 by top-k, top-p and min-p; the largest always stays, as 1."""
    least = 0.0
    count = len(weights)
    if 0 < sampling.top_k < count or sampling.top_p < 1:
        # Stable, so that equal weights keep their order and the song is the same on every machine.
        order = np.argsort(-weights, kind="mergesort")
        if 0 < sampling.top_k < count:
            least = weights[order[sampling.top_k - 1]]
            while count > sampling.top_k and weights[order[count - 1]] < least:
                count -= 1
        if sampling.top_p < 1:
            wanted = sampling.top_p * weights[order[:count]].sum()
            mass = 0.0
            for place in range(count):
                mass += weights[order[place]]
                if mass >= wanted:
                    weights[order[place + 1 :]] = 0.0
                    break
    least = max(least, sampling.min_p)
    for place in range(len(weights)):
        if weights[place] < least:
            weights[place] = 0.0


@kernel
def _draw(weights: Floats, word: np.uint64) -> int:
    """Draw a place in proportion to the weights."""
    fraction = np.float64(word >> np.uint64(64 - _FRACTION_BITS)) / (1 << _FRACTION_BITS)
    left = fraction * weights.sum()
    # Rounding can leave a little of the sum over; then the last candidate is taken.
    last = 0
    for place in range(len(weights)):
        if weights[place] > 0:
            last = place
            left -= weights[place]
            if left < 0:
                break
    return last
