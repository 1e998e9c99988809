"""Write the open bars of pieces window by window, all songs of a batch at the same time."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from megatron_music.errors import UsageError
from megatron_music.generate.melody_to_words import SungTrack, WordsConstraint, tokens_of_words
from megatron_music.generate.sampler import Constraint, InfillConstraint, TokenSampler
from megatron_music.generate.song_request import Request
from megatron_music.score.notes import IntArray, Piece, Track
from megatron_music.score.quantize import canonical_track, joined
from megatron_music.tokenizer.infill_template import (
    InfillTemplate,
    Part,
    lay_out,
    read_slots,
)
from megatron_music.tokenizer.places_in_piece import UNKNOWN
from megatron_music.tokenizer.vocabulary import Vocabulary

BoolArray = npt.NDArray[np.bool_]

BAR_TOKENS = 8
"""The least number of tokens left for a bar of a track: two or three notes."""


@dataclass(frozen=True)
class InfillState:
    """A piece and its holes [tracks, bars]: the bars that are still to be written.

    No note begins in a hole. `levels` are requested density levels, by track; `sources` is the
    prompt's track of each track, None for one that is added, `dropped` are the prompt's tracks
    that are left out. `written` are the bars that the model wrote, None for none yet.
    """

    piece: Piece
    holes: BoolArray
    levels: Mapping[int, int | None] = field(default_factory=dict)
    sources: tuple[int | None, ...] = ()
    dropped: tuple[int, ...] = ()
    written: BoolArray | None = None

    @property
    def is_done(self) -> bool:
        """True where nothing is left to write."""
        return not self.holes.any()

    def filled(
        self, template: InfillTemplate, tokens: Sequence[int], vocabulary: Vocabulary
    ) -> "InfillState":
        """Return the state after a window was written; its last bars reopen if bars follow."""
        tracks, holes = list(self.piece.tracks), self.holes.copy()
        written = np.zeros_like(holes) if self.written is None else self.written.copy()
        for index, notes in read_slots(template, tokens, vocabulary).items():
            track = tracks[index]
            columns = np.array([note[:4] for note in notes], np.int64).reshape(-1, 4)
            onset, end, pitch, velocity = columns.T
            sung = [note.syllable for note in notes]
            syllables = np.array(sung, np.str_) if any(sung) else None
            new = Track(track.instrument, onset, end, pitch, velocity, syllables)
            # Sorted again: notes that were kept may begin between the new ones.
            both = joined(track.instrument, [track, new])
            tracks[index] = canonical_track(
                both.instrument, both.onset, both.end, both.pitch, both.velocity, both.syllables
            )
        for slot in template.slots:
            holes[slot.track, slot.bar] = False
            written[slot.track, slot.bar] = True
        piece = replace(self.piece, tracks=tuple(tracks))
        done = replace(self, piece=piece, holes=holes, written=written)
        first = int(np.flatnonzero(self.holes.any(axis=0))[0])
        return done.open_at(max(slot.bar for slot in template.slots) + 1, template.bars, first + 1)

    def open_at(self, edge: int, window_bars: int, first: int = 1) -> "InfillState":
        """Reopen the bars with notes that the edge of a window has cut.

        A window ends before bar `edge`, and all its notes with it. Where a track continues after
        that, the notes that end there are written again together with what follows, from bar
        `first` at the earliest; without it no note would ever sound across that barline.
        """
        # The next window begins half its length before the first hole; it must reach past `edge`.
        first = max(first, edge - (window_bars + 1) // 2 + 1)
        if edge >= self.piece.bars or self.written is None or self.holes[:, :edge].any():
            return self
        opened = np.zeros_like(self.holes)
        start_of_edge = int(self.piece.bar_starts[edge])
        for index in np.flatnonzero(self.holes[:, edge]).tolist():
            track = self.piece.tracks[index]
            begun = self.piece.bar_at(track.onset[track.end == start_of_edge])
            start = int(begun[begun >= first].min(initial=edge))
            if self.written[index, start:edge].all():
                opened[index, start:edge] = True
        held = open_bars(self.piece, opened).piece
        return replace(self, piece=held, holes=self.holes | opened, written=self.written & ~opened)


def extended(piece: Piece, bars: int, request: Request, vocabulary: Vocabulary) -> InfillState:
    """Return the state of a piece with more bars; new bars and empty tracks are holes."""
    holes = np.zeros((len(piece.tracks), bars), np.bool_)
    holes[:, piece.bars :] = True
    holes[[not len(track) for track in piece.tracks]] = True
    return InfillState(replace(piece, bars=bars), holes, density_levels(piece, request, vocabulary))


def density_levels(piece: Piece, request: Request, vocabulary: Vocabulary) -> dict[int, int | None]:
    """Return the density level that a request has for each track of a piece."""
    return {
        index: request.density_of(track.instrument, vocabulary)
        for index, track in enumerate(piece.tracks)
    }


def empty_track(instrument: int) -> Track:
    """Return a track that has no note yet."""
    nothing: IntArray = np.zeros(0, np.int64)
    return Track(instrument, nothing, nothing, nothing)


def open_bars(piece: Piece, holes: BoolArray) -> InfillState:
    """Return the state of a piece without the notes that begin in its holes."""
    tracks = tuple(
        track.some(~row[piece.bar_at(track.onset)])
        for track, row in zip(piece.tracks, holes, strict=True)
    )
    return InfillState(replace(piece, tracks=tracks), holes)


def until_step(track: Track, last: int, end: int | None = None) -> Track:
    """Return the notes of a track that begin before a step, cut at that step, or at `end`."""
    kept = track.onset < last
    ends = np.minimum(track.end[kept], last if end is None else end)
    return track.some(kept, end=ends)


def write(
    sampler: TokenSampler,
    states: Sequence[InfillState],
    seeds: Sequence[int],
    request: Request,
    vocabulary: Vocabulary,
    sung: Sequence[SungTrack] = (),
) -> list[Piece]:
    """Write all open bars of states; return the pieces.

    `sung` are the words of each song, if words are given.
    """
    now = list(states)
    velocities = request.levels_of_velocity(vocabulary)
    # Stage 0 draws songs from nothing; each window has random numbers of its own.
    stage = 1
    while True:
        left = [song for song, state in enumerate(now) if not state.is_done]
        if not left:
            return [state.piece for state in now]
        words = [sung[song] if sung else None for song in left]
        templates = [
            requested_template(now[song], request, vocabulary, sampler.max_tokens, of)
            for song, of in zip(left, words, strict=True)
        ]
        given = [of for of in words if of is not None]
        constraint: Constraint = (
            WordsConstraint(vocabulary, templates, sampler.max_tokens, given, velocities)
            if given
            else InfillConstraint(vocabulary, templates, sampler.max_tokens, velocities)
        )
        places = np.array(
            [
                place_of(request, template.first_bar, now[song].piece.bars, vocabulary)
                for song, template in zip(left, templates, strict=True)
            ]
        )
        rows = sampler.draw(
            constraint, [seeds[song] for song in left], stage, places, templates[0].first_bar
        )
        for song, template, tokens in zip(left, templates, rows, strict=True):
            now[song] = now[song].filled(template, tokens, vocabulary)
        stage += 1


def requested_template(
    state: InfillState,
    request: Request,
    vocabulary: Vocabulary,
    max_tokens: int,
    sung: SungTrack | None,
) -> InfillTemplate:
    """Return the template of the next bars to write, with room for their words."""
    attributes = request.attribute_ids(vocabulary) or ()
    return next_template(
        state,
        vocabulary,
        max_tokens,
        attributes,
        full_bars=request.has_full_bars,
        as_whole=sung is not None,
        reserved=lambda of: tokens_of_words(of, sung, vocabulary) if sung else 0,
    )


def place_of(
    request: Request, first_bar: int, bars: int, vocabulary: Vocabulary
) -> tuple[int, int]:
    """Return where a window stands in a song of `bars` bars, as `structural.model_inputs` takes it.

    A song that only begins like a piece, or only ends like one, is taken for part of a piece that
    is a training window longer; where neither is asked the place is unknown.
    """
    if not (request.begin or request.end):
        return UNKNOWN, UNKNOWN
    before = 0 if request.begin else vocabulary.settings.bars
    after = 0 if request.end else vocabulary.settings.bars
    return before + first_bar, before + bars + after


def next_template(
    state: InfillState,
    vocabulary: Vocabulary,
    max_tokens: int,
    attributes: tuple[int, ...] = (),
    *,
    full_bars: bool = True,
    as_whole: bool = False,
    reserved: Callable[[InfillTemplate], int] = lambda _: 0,
) -> InfillTemplate:
    """Return the template of the next bars to write, with as much context as the model can hold.

    Windows are as long as in training where they fit into `max_tokens`, else shorter; if not even
    one bar of all tracks fits, some of the tracks are written first. With `as_whole` bars are
    written in place as long as no track has a note. `reserved` are the tokens that a template
    takes in addition to its fewest notes. Raises UsageError if no track fits.
    """
    template = None
    least = 0
    for window, indices in _windows(state, vocabulary.settings.bars):
        first, bars = window
        parts = [
            Part(
                index,
                state.piece.tracks[index],
                tuple(np.flatnonzero(state.holes[index]).tolist()),
                state.levels.get(index),
            )
            for index in indices
        ]
        is_empty = not any(len(part.kept) for part in parts)
        template = lay_out(
            parts,
            state.piece,
            first,
            bars,
            vocabulary,
            fill=vocabulary.settings.fill and not (as_whole and is_empty),
            full_bars=full_bars,
            attributes=attributes,
        )
        least = template.min_tokens + reserved(template)
        if least + BAR_TOKENS * len(template.slots) <= max_tokens:
            return template
    if template is None or least > max_tokens:
        raise UsageError(
            f"not even a bar of one track fits into the {max_tokens} tokens that this model holds"
        )
    return template


def _windows(state: InfillState, longest: int) -> Iterator[tuple[tuple[int, int], list[int]]]:
    """Give windows (first bar, bars) and their tracks, from the best to the smallest.

    Tracks that are only kept come first, so that what is written in place knows them.
    """
    open_bars_at = np.flatnonzero(state.holes.any(axis=0))
    first_hole, last_hole = int(open_bars_at[0]), int(open_bars_at[-1])
    total = state.piece.bars
    bars = longest
    while bars:
        length = min(bars, total)
        spare = length - (last_hole - first_hole + 1)
        # Half of the window is context before the holes, or more where little follows them.
        if spare <= 0:
            start = first_hole - length // 2
        else:
            after = total - last_hole - 1
            start = first_hole - max(spare - after, spare - spare // 2)
        first = min(max(0, start), total - length)
        begins, ends = state.piece.bar_starts[[first, first + length]].tolist()
        writing, kept = [], []
        for index, track in enumerate(state.piece.tracks):
            if state.holes[index, first : first + length].any():
                writing.append(index)
            elif ((track.onset >= begins) & (track.onset < ends)).any():
                kept.append(index)
        yield (first, length), [*kept, *writing]
        # Fewer tracks at once only in the shortest windows: tracks should know one another.
        if bars <= 2:
            for count in range(len(writing), 0, -1):
                yield (first, length), writing[:count]
        bars //= 2


def select_bars(piece: Piece, bars: Sequence[int], tracks: Sequence[int]) -> BoolArray:
    """Mark bars (from 1; () for all) of tracks (() for all); raises UsageError for other bars."""
    if bars and not 1 <= min(bars) <= max(bars) <= piece.bars:
        asked = f"{min(bars)} to {max(bars)}" if len(bars) > 1 else str(bars[0])
        raise UsageError(f"the piece has bars 1..{piece.bars} (got {asked}); choose among them")
    in_bars = np.array([not bars or bar + 1 in bars for bar in range(piece.bars)])
    in_tracks = np.array([not tracks or track in tracks for track in range(len(piece.tracks))])
    named: BoolArray = np.logical_and.outer(in_tracks, in_bars)
    return named
