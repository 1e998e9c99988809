"""Infill templates: documents in which some bars are still to be written and the rest is given.

Notes that begin in a given bar are kept, with their lengths. A bar to be written is a `BarSlot`:
kept notes that sound into it end where they did, and new notes end within the run of bars to be
written, so that the bars after it need no change.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from megatron_music.score.instruments import VOICES
from megatron_music.score.notes import UNTOLD, IntArray, Piece, Track
from megatron_music.tokenizer.codec import density_levels, encode
from megatron_music.tokenizer.vocabulary import PITCHES, Kind, Vocabulary


@dataclass(frozen=True)
class BarSlot:
    """A bar to be written: `track` is the place of its track in the piece, bars count from 0.

    The bar begins at the step `start` of the piece and has `steps` steps. `begins` and `ends` are
    true at the two ends of a run of such bars; `opens_track` at the first one of its track.
    `needs_note`: without a note here the track would be silent. `dues` are the ends of kept notes,
    as (step, pitch) in order; `locked` the kept pitches that sound at its beginning; before step
    `blocked[pitch]` no note of that pitch may begin. `is_full`: new notes must sound up to the
    barline. The shortest note takes `note_tokens`.
    """

    track: int
    bar: int
    start: int
    steps: int
    is_voice: bool
    begins: bool
    ends: bool
    opens_track: bool
    needs_note: bool
    dues: tuple[tuple[int, int], ...]
    locked: tuple[int, ...]
    blocked: npt.NDArray[np.int64]
    is_full: bool = False
    note_tokens: int = 3

    @property
    def min_tokens(self) -> int:
        """The least number of tokens that the bar takes.

        Full bars take one note, held until the end of their run, where its tokens are counted.
        """
        steps = {step for step, _ in self.dues}
        least = len(self.dues) + len(steps) + self.note_tokens * self.needs_note
        waits = int(self.blocked.max()) > max(steps, default=0)
        return least + (waits + self.note_tokens * self.ends if self.is_full else 0)


@dataclass(frozen=True)
class OpenDensity:
    """A DENSITY token that the model chooses."""


Item = int | BarSlot | OpenDensity


@dataclass(frozen=True)
class InfillTemplate:
    """A document from PIECE_START to PIECE_END: its tokens, and what is open between them.

    Kept music after the last slot is left out: PIECE_END follows. The window has `bars` bars and
    begins with the bar `first_bar` of the piece, from 0.
    """

    items: tuple[Item, ...]
    first_bar: int
    bars: int

    @property
    def slots(self) -> list[BarSlot]:
        """The bars to be written, in the order of writing."""
        return [item for item in self.items if isinstance(item, BarSlot)]

    @property
    def given(self) -> list[int]:
        """The tokens before the first item that is open."""
        tokens: list[int] = []
        for item in self.items:
            if not isinstance(item, int):
                break
            tokens.append(item)
        return tokens

    @property
    def min_tokens(self) -> int:
        """The number of tokens of the shortest document that fits."""
        return sum(i.min_tokens if isinstance(i, BarSlot) else 1 for i in self.items)


@dataclass(frozen=True)
class Part:
    """A track of a template: its kept notes, and `holes`, the bars that are to be written.

    `index` is its place in the piece, `kept` has notes in steps of the whole piece; `density` is a
    level, None for that of the kept bars.
    """

    index: int
    kept: Track
    holes: tuple[int, ...]
    density: int | None = None


def lay_out(
    parts: Sequence[Part],
    frame: Piece,
    first_bar: int,
    bars: int,
    vocabulary: Vocabulary,
    *,
    fill: bool = False,
    full_bars: bool = True,
    attributes: tuple[int, ...] = (),
) -> InfillTemplate:
    """Return the template of `bars` bars of a piece from `first_bar`, its tracks in this order.

    `frame` gives the bars of the piece; its tracks are ignored. With `fill` the bars to be written
    follow the tracks, as in `tokenizer.hidden_bars`; else they are written in place. With
    `full_bars` voices must sing up to the barlines of these bars.
    """
    first, last = frame.bar_starts[[first_bar, first_bar + bars]].tolist()
    clipped = []
    for track in (part.kept for part in parts):
        inside = (track.onset >= first) & (track.onset < last)
        end = np.minimum(track.end[inside], last) - first
        clipped.append(track.some(inside, track.onset[inside] - first, end))
    window = Piece(
        frame.steps_per_quarter,
        bars,
        tuple(clipped),
        frame.metres[first_bar : first_bar + bars],
        frame.tempos_us[first_bar : first_bar + bars],
    )
    tokens = encode(window, vocabulary).tolist()
    # The tracks are encoded as if they were complete; then slots take the place of their bars.
    bars_of_tracks, before = _by_bar(tokens, vocabulary)
    head = tokens[1 : tokens.index(vocabulary.track_start)]
    items: list[Item] = [vocabulary.piece_start, *attributes, *head]
    later: list[Item] = []
    for part, contents in zip(parts, bars_of_tracks, strict=True):
        slots = _slots(part, contents, frame, first_bar, vocabulary, full_bars)
        items += [vocabulary.track_start, vocabulary.inst + part.kept.instrument]
        items += _density(part, window, frame, first_bar, vocabulary)
        for bar, content in enumerate(contents):
            slot = slots.get(first_bar + bar)
            items += before[bar]
            if fill and slot is not None:
                items.append(vocabulary.ids["FILL_IN"])
                later += [vocabulary.ids["FILL_START"], slot, vocabulary.ids["FILL_END"]]
            else:
                middle = content if slot is None else [slot]
                items += [vocabulary.bar_start, *middle, vocabulary.bar_end]
        items.append(vocabulary.track_end)
    items += later
    last = max(place for place, item in enumerate(items) if isinstance(item, BarSlot))
    # The slot and the token that ends it: a model need not repeat what follows.
    return InfillTemplate((*items[: last + 2], vocabulary.piece_end), first_bar, bars)


def _by_bar(
    tokens: list[int], vocabulary: Vocabulary
) -> tuple[list[list[list[int]]], list[list[int]]]:
    """Return the contents of the bars of each track, and the METRE and TEMPO tokens before each.

    The latter are the same in all tracks.
    """
    tracks: list[list[list[int]]] = []
    before: list[list[int]] = []
    changes: list[int] = []
    in_bar = False
    for token in tokens:
        if token == vocabulary.track_start:
            tracks.append([])
            changes = []
        elif token == vocabulary.bar_start:
            if len(tracks) == 1:
                before.append(changes)
            tracks[-1].append([])
            changes, in_bar = [], True
        elif token == vocabulary.bar_end:
            in_bar = False
        elif in_bar:
            tracks[-1][-1].append(token)
        elif vocabulary.meanings[token][0] in (Kind.METRE, Kind.TEMPO):
            changes.append(token)
    return tracks, before


def _density(
    part: Part, window: Piece, frame: Piece, first_bar: int, vocabulary: Vocabulary
) -> list[Item]:
    """Return the DENSITY token: the level given, else that of the bars that are kept."""
    if not vocabulary.settings.density:
        return []
    if part.density is not None:
        return [vocabulary.density + part.density]
    last_bar = first_bar + window.bars
    kept_bars = window.bars - len({bar for bar in part.holes if first_bar <= bar < last_bar})
    onset = frame.bar_at(part.kept.onset)
    notes = int(((onset >= first_bar) & (onset < last_bar)).sum())
    if not kept_bars or not notes:
        return [OpenDensity()]
    return [vocabulary.density + int(density_levels(np.array([notes / kept_bars]), vocabulary)[0])]


def _slots(
    part: Part,
    contents: list[list[int]],
    frame: Piece,
    first_bar: int,
    vocabulary: Vocabulary,
    full_bars: bool,
) -> dict[int, BarSlot]:
    """Return the slots of a track, by bar."""
    starts = frame.bar_starts.tolist()
    holes = sorted(bar for bar in part.holes if first_bar <= bar < first_bar + len(contents))
    kept_ends = dict(enumerate(_kept_ends(contents, vocabulary), first_bar))
    blocked_at = {bar: _blocked(part, starts, bar, first_bar) for bar in holes}
    full = set()
    for bar in holes if full_bars and part.kept.instrument in VOICES else ():
        steps = starts[bar + 1] - starts[bar]
        locked, dues = kept_ends[bar]
        is_held = bool(set(locked).difference(pitch for step, pitch in dues if step < steps))
        # A kept note that sounds up to the barline fills the bar by itself.
        if not is_held and int(blocked_at[bar].max()) < steps:
            full.add(bar)
    # No kept note sounds in the window: then a bar that is written has to have one.
    silent = not any(contents) and not any(blocked.any() for blocked in blocked_at.values())
    return {
        bar: BarSlot(
            part.index,
            bar,
            starts[bar],
            starts[bar + 1] - starts[bar],
            part.kept.instrument in VOICES,
            begins=bar - 1 not in holes,
            ends=bar + 1 not in holes,
            opens_track=bar == holes[0],
            needs_note=silent and bar == holes[-1] and bar not in full,
            dues=kept_ends[bar][1],
            locked=kept_ends[bar][0],
            blocked=blocked_at[bar],
            is_full=bar in full,
            note_tokens=vocabulary.note_tokens,
        )
        for bar in holes
    }


def _kept_ends(
    contents: list[list[int]], vocabulary: Vocabulary
) -> list[tuple[tuple[int, ...], tuple[tuple[int, int], ...]]]:
    """Return of each bar the pitches that sound at its beginning, and the ends in it.

    These are the step and the pitch of each, in order.
    """
    sounding: set[int] = set()
    found = []
    for content in contents:
        locked, step, dues = tuple(sorted(sounding)), 0, []
        for kind, value in (vocabulary.meanings[token] for token in content):
            if kind is Kind.TIME_DELTA:
                step += value
            elif kind is Kind.NOTE_ON:
                sounding.add(value)
            elif kind is Kind.NOTE_OFF:
                sounding.discard(value)
                dues.append((step, value))
        found.append((locked, tuple(dues)))
    return found


def _blocked(part: Part, starts: list[int], bar: int, first_bar: int) -> IntArray:
    """Return for each pitch up to which step of the bar a note from before the window sounds."""
    track, start, steps = part.kept, starts[bar], starts[bar + 1] - starts[bar]
    over = (track.onset < starts[first_bar]) & (track.end > start)
    blocked = np.zeros(PITCHES, np.int64)
    blocked[track.pitch[over]] = np.minimum(track.end[over] - start, steps)
    # A voice sings one note at a time: while one sounds, no other pitch may begin.
    if track.instrument in VOICES:
        blocked[:] = blocked.max()
    return blocked


class SlotNote(NamedTuple):
    """A note written into a slot, in steps of the piece."""

    onset: int
    end: int
    pitch: int
    velocity: int
    syllable: str


def read_slots(
    template: InfillTemplate, tokens: Sequence[int], vocabulary: Vocabulary
) -> dict[int, list[SlotNote]]:
    """Return the notes written into a template, by track."""
    notes: dict[int, list[SlotNote]] = {}
    sounding: dict[int, tuple[int, int, list[int]]] = {}
    for slot, content in _contents(template, tokens):
        now, locked, velocity = slot.start, set(slot.locked), UNTOLD
        parts: list[int] = []
        rows = notes.setdefault(slot.track, [])
        for kind, value in (vocabulary.meanings[token] for token in content):
            if kind is Kind.TIME_DELTA:
                now += value
            elif kind is Kind.VELOCITY:
                velocity = vocabulary.velocity_of(value)
            elif kind is Kind.NOTE_ON:
                parts = []
                sounding[value] = now, velocity, parts
            elif kind is Kind.SYLLABLE:
                parts.append(value)
            elif value in locked:
                locked.discard(value)
            else:
                onset, loud, sung = sounding.pop(value)
                rows.append(SlotNote(onset, now, value, loud, vocabulary.spelling.spelled(sung)))
    return notes


def _contents(
    template: InfillTemplate, tokens: Sequence[int]
) -> Iterator[tuple[BarSlot, Sequence[int]]]:
    """Walk through template and tokens together; give each slot with the tokens written into it."""
    place = 0
    for item, closing in zip(template.items, [*template.items[1:], None], strict=True):
        if not isinstance(item, BarSlot):
            place += 1
            continue
        start = place
        # BAR_END and FILL_END never come inside a bar, so the first one ends the slot.
        while tokens[place] != closing:
            place += 1
        yield item, tokens[start:place]
