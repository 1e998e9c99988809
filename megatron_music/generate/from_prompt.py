"""Begin songs from a prompt: which of its bars and tracks stay, and which are written."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from megatron_music.errors import UsageError
from megatron_music.generate.harmonise import around_voice, to_be_sung
from megatron_music.generate.infill import (
    BoolArray,
    InfillState,
    density_levels,
    empty_track,
    extended,
    open_bars,
    select_bars,
    until_step,
)
from megatron_music.generate.prompt import Prompt
from megatron_music.generate.sampling_kernel import song_seeds
from megatron_music.generate.song_request import Request
from megatron_music.score.general_midi import find_instrument
from megatron_music.score.hashing import scramble
from megatron_music.score.instruments import VOICES, instrument_name, parse_instrument
from megatron_music.score.notes import Piece
from megatron_music.tokenizer.vocabulary import Vocabulary

_VARYING = 1 << 32
"""The random stage in which `vary` chooses bars; no window has this number."""


def start_from_prompt(
    prompt: Prompt, request: Request, vocabulary: Vocabulary, seed: int
) -> InfillState:
    """Return a prompt as the state to compose from; raises UsageError for an impossible request.

    Bars are those of the grid.
    """
    if request.sing:
        return to_be_sung(prompt, request, vocabulary)[0]
    if request.voice is not None:
        return mask_accompaniment(prompt, request, vocabulary)
    if request.fills:
        return mask_bars(prompt, request, vocabulary, seed)
    return extend_piece(prompt, request, vocabulary)


def extend_piece(prompt: Prompt, request: Request, vocabulary: Vocabulary) -> InfillState:
    """Return a piece to be continued to `request.bars`, with the tracks that it drops and adds.

    Without `bars` it keeps its length.
    """
    piece = prompt.piece
    first = piece.bars if request.prompt_bars is None else request.prompt_bars
    if first > piece.bars:
        raise UsageError(
            f"`prompt_bars` is {request.prompt_bars}, but the piece has {piece.bars} bars; keep "
            "fewer"
        )
    bars = request.bars or piece.bars
    if bars < first:
        raise UsageError(
            f"`bars` is {bars}, but {first} are kept of the piece; ask for more, or keep fewer "
            "with `prompt_bars`"
        )
    kept, sources = _kept(prompt, request, vocabulary, first, bars)
    state = extended(kept, bars, request, vocabulary)
    state = replace(state, holes=state.holes & _composable(prompt, sources, bars))
    if state.is_done and not request.drop:
        raise UsageError(
            f"nothing to compose: the piece has {piece.bars} bars and no track is added; give "
            f"`bars` above {piece.bars} to continue it, `prompt_bars` to keep fewer, or say "
            "what to fill"
        )
    dropped = {track for name in request.drop for track in prompt.find(name)}.difference(sources)
    return replace(state, sources=sources, dropped=tuple(sorted(dropped)))


def mask_bars(prompt: Prompt, request: Request, vocabulary: Vocabulary, seed: int) -> InfillState:
    """Return a piece whose holes are the bars to fill, or those that `seed` chooses to vary."""
    piece = prompt.piece
    of_all_bars = {request.bars, request.prompt_bars} <= {None, piece.bars}
    if not of_all_bars or request.instruments or request.drop:
        raise UsageError(
            f"filling keeps the {piece.bars} bars and the tracks of the piece; leave out `bars`, "
            "`prompt_bars`, `instruments` and `drop`"
        )
    sources = tuple(range(len(piece.tracks)))
    tracks = [track for name in request.fill_tracks for track in prompt.find(name)]
    able = _composable(prompt, sources)
    if not tracks:
        able &= _playing(piece, vocabulary.settings.bars)
    if request.vary is None:
        holes = select_bars(piece, request.fill_bars, tracks) & able
    else:
        # By hashes of seed and bar, not by a generator: the same on every machine and version.
        count = max(1, round(request.vary * int(able.sum())))
        numbers = np.arange(able.size, dtype=np.uint64)
        order = np.argsort(scramble(song_seeds([seed], _VARYING) + numbers), kind="stable")
        holes = np.zeros(able.shape, np.bool_)
        holes.ravel()[order[able.ravel()[order]][:count]] = True
    if not holes.any():
        raise UsageError("no track to fill plays in these bars; choose others")
    levels = density_levels(piece, request, vocabulary)
    return replace(open_bars(piece, holes), levels=levels, sources=sources)


def _composable(
    prompt: Prompt, sources: Sequence[int | None], bars: int | None = None
) -> BoolArray:
    """Return the bars [tracks, bars] that can get notes: of new tracks all."""
    count = bars or prompt.piece.bars
    everywhere = np.ones(count, np.bool_)
    rows = [everywhere if i is None else prompt.composable(i, count) for i in sources]
    return np.stack(rows)


def _playing(piece: Piece, window_bars: int) -> BoolArray:
    """Return the bars [tracks, bars] that have notes of their track at most a window away.

    Bars around which no track has notes count for all tracks.
    """
    plays = np.zeros((len(piece.tracks), piece.bars), np.bool_)
    for row, track in zip(plays, piece.tracks, strict=True):
        for bar in np.unique(piece.bar_at(track.onset)).tolist():
            row[max(0, bar - window_bars) : bar + window_bars + 1] = True
    plays[:, ~plays.any(axis=0)] = True
    return plays


def mask_accompaniment(prompt: Prompt, request: Request, vocabulary: Vocabulary) -> InfillState:
    """Return a piece of which one voice is kept; all bars of the other tracks are holes."""
    kept, sources = around_voice(prompt, request, vocabulary)
    state = extended(kept, kept.bars, request, vocabulary)
    others = set(range(len(prompt.piece.tracks))).difference(sources)
    return replace(state, sources=sources, dropped=tuple(sorted(others)))


def _kept(
    prompt: Prompt, request: Request, vocabulary: Vocabulary, first_bars: int, bars: int
) -> tuple[Piece, tuple[int | None, ...]]:
    """Return the kept part of a piece, followed by empty tracks to add, and all tracks' sources.

    Notes that sound beyond the kept bars keep their lengths.
    """
    piece = prompt.piece
    dropped = {track for name in request.drop for track in prompt.find(name)}
    longer = replace(piece, bars=max(bars, piece.bars))
    last, end = longer.bar_starts[[first_bars, bars]].tolist()
    all_kept = [(i, until_step(track, last, end)) for i, track in enumerate(piece.tracks)]
    kept = [(i, track) for i, track in all_kept if i not in dropped and len(track)]
    codes = [track.instrument for _, track in kept]
    if request.instruments is not None:
        added = [find_instrument(name) for name in request.instruments]
        for code in set(VOICES).intersection(added, codes):
            name = instrument_name(code)
            raise UsageError(f"{name} is to be added, but is kept of the piece; give --drop {name}")
    else:
        ensemble = [parse_instrument(name) for name in vocabulary.settings.ensemble]
        is_alike = any(track.instrument in ensemble for track in piece.tracks)
        added = [code for code in ensemble if code not in codes] if is_alike else []
    if not kept and not added:
        raise UsageError("nothing of the piece is kept; keep a track or more bars of it")
    tracks = (
        *(track for _, track in kept),
        *(empty_track(code) for code in added),
    )
    sources: list[int | None] = [i for i, _ in kept]
    for code in added:
        # A new track takes the place of the only dropped one of its instrument.
        alike = [i for i in sorted(dropped) if piece.tracks[i].instrument == code]
        sources.append(alike[0] if len(alike) == 1 else None)
    return replace(piece, bars=first_bars, tracks=tracks), tuple(sources)
