"""Draw the instruments of a song from nothing, as often as the training data have them."""

from collections.abc import Collection

import numpy as np

from megatron_music.generate.sampling_kernel import song_seeds
from megatron_music.score.hashing import scramble
from megatron_music.score.instruments import parse_instrument
from megatron_music.tokenizer.instrumentations import candidates
from megatron_music.tokenizer.vocabulary import TokenizerSettings

_STAGE = 1 << 33
"""The stage that instruments are drawn in: no window has it, nor what chooses bars to vary."""


def draw_instruments(
    settings: TokenizerSettings,
    seed: int,
    max_tokens: int,
    tracks: int | None = None,
    labels: Collection[str] = (),
) -> tuple[int, ...] | None:
    """Return the codes of a song's instruments, by its seed; None where the data have no record.

    They are those of a training window that fits into `max_tokens`, of `tracks` tracks if that is
    given. Where no window has as many, those of several are put together, each once; None
    where the data have fewer instruments. Only the windows with most of the `labels` count.
    """
    rows = candidates(settings, labels)
    longest = max(max_tokens, min((row.tokens for row in rows), default=0))
    windows = [
        tuple(map(parse_instrument, row.names.split())) for row in rows if row.tokens <= longest
    ]
    numbers = np.arange(len(windows), dtype=np.uint64)
    # By the seed alone, so that a song is the same in any batch and on any machine.
    order = np.argsort(scramble(song_seeds([seed], _STAGE) + numbers), kind="stable").tolist()
    drawn: list[tuple[int, ...]] = [windows[i] for i in order]
    if tracks is None:
        return drawn[0] if drawn else None
    alike = [window for window in drawn if len(window) == tracks]
    if alike:
        return alike[0]
    together = tuple(dict.fromkeys(code for window in drawn for code in window))
    return together[:tracks] if len(together) >= tracks else None
