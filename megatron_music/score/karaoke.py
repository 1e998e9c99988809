"""The words of MIDI files: lyric events, and the text events of karaoke files (.kar).

Conventions differ. Where any syllable has a blank before or after it, words end at blanks; else
each event but those with a hyphen ends a word. Slash and CR end a line; backslash, `<` and LF a
verse; texts that begin with `@` are not sung. Text events are words where a file has such a line,
or a track called Words or Lyrics.

A syllable is that of the nearest note that begins within a sixteenth note, in the track that it
fits: one in its own chunk if that has notes, else the one whose notes and syllables match best.
"""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from megatron_music.score.instruments import DRUMS
from megatron_music.score.midi_events import (
    LYRIC,
    META,
    NAME,
    TEXT,
    Chunk,
    Event,
    EventFile,
    meta,
    parse_events,
)
from megatron_music.score.notes import IntArray, Score, Track
from megatron_music.score.words import (
    LINE_END,
    MARKS,
    VERSE_END,
    WORD_END,
    clean_text,
    split_mark,
    stronger,
    syllable,
)

KARAOKE_SUFFIX = ".kar"

_HEADERS = (b"@KMIDI KARAOKE FILE", b"@V0100")
_WORDS_TRACKS = ("words", "lyrics", "lyric", "text", "karaoke")
_ENDS = {"/": LINE_END, "\r": LINE_END, "\\": VERSE_END, "<": VERSE_END, "\n": VERSE_END}
_WRITTEN_ENDS = {WORD_END: " ", LINE_END: " \r", VERSE_END: " \n"}
_ADVERTS = re.compile(
    r"www\.|http|\w\.(com|net|org|de|it)\b|@|copyright|\(c\)|karaoke|sequenced", re.IGNORECASE
)
_NOT_SUNG = ("@", "%")
_SIGNS = "/\\<\r\n "
_MAC = ("mac_cyrillic", "mac_greek", "mac_iceland", "mac_latin2", "mac_roman", "mac_turkish")
_FEWEST = 4
_LEAST_MATCHED = 0.5
_LEAST_LETTERS = 0.5


class Sung(NamedTuple):
    """A score with its words, and how many syllables were left out, by reason."""

    score: Score
    left_out: Counter[str]


class Convention(NamedTuple):
    """How a file writes its words: in events of `kind`, words ending at blanks or at each event."""

    kind: int = LYRIC
    by_blanks: bool = True
    encoding: str = "utf-8"


LYRICS, KARAOKE = Convention(), Convention(TEXT)
"""How new files write words: as lyric events, and as .kar files have them."""


def may_have_words(raw: bytes) -> bool:
    """Tell whether a MIDI file may have words: a quick look at its bytes."""
    lower = raw.lower()
    return bytes((META, LYRIC)) in raw or any(
        name in lower for name in (b"@k", *(name.encode() for name in _WORDS_TRACKS))
    )


def with_words(score: Score, events: EventFile, chunks: Sequence[int]) -> Sung:
    """Return the score of a file with the words that its events have.

    `chunks` is the chunk of each track of the score. What is left out is counted by
    reason: `advert`, `numbers`, `unmatched` (no note begins there), `few` (under four in all).
    """
    left = Counter[str]()
    sung: dict[int, list[str]] = {}
    words = word_events(events)
    # One guess for the whole file: the more text, the better it is.
    encoding = _encoding(event for of in words.values() for event in of)
    for number, of in words.items():
        texts = [
            (event.tick, event.text.strip(b"\0").decode(encoding, errors="replace")) for event in of
        ]
        ticks, syllables = _syllables(texts, left)
        signs = [one for text in syllables for one in text if one.isalnum()]
        # Words in a chunk with notes are sung by these; a chunk of words alone, by any track.
        own = [place for place, chunk in enumerate(chunks) if chunk == number]
        places = [p for p in own or range(len(score.tracks)) if p not in sung]
        if not syllables:
            continue
        if len(syllables) < _FEWEST:
            left["few"] += len(syllables)
        elif sum(one.isalpha() for one in signs) < _LEAST_LETTERS * len(signs):
            left["numbers"] += len(syllables)
        elif (singer := _singer(ticks, score, places)) is None:
            left["unmatched"] += len(syllables)
        else:
            place, onsets = singer
            sung[place] = _laid(syllables, onsets, score.tracks[place], left)
    tracks = tuple(
        replace(track, syllables=np.array(sung[place], np.str_)) if place in sung else track
        for place, track in enumerate(score.tracks)
    )
    counts = [f"{count} {reason}" for reason, count in sorted(left.items()) if count]
    remark = f"syllables left out: {', '.join(counts)}" if counts else ""
    return Sung(replace(score, tracks=tracks, words_left_out=remark), left)


def word_events(events: EventFile) -> dict[int, list[Event]]:
    """Return the events of words by chunk: lyric events, else text events of karaoke."""
    for kind in (LYRIC, TEXT):
        found: dict[int, list[Event]] = {}
        # Other files have text events, too: remarks of whoever made them.
        is_words = kind == LYRIC
        for number, chunk in enumerate(events.tracks):
            of_kind = [event for event in chunk.events if event.is_meta_of(kind)]
            if of_kind:
                found[number] = of_kind
                is_words |= chunk.name.strip().lower() in _WORDS_TRACKS
                is_words |= any(event.text.startswith(b"@K") for event in of_kind)
        if found and is_words:
            return found
    return {}


def _encoding(words: Iterable[Event]) -> str:
    """Return the encoding of a file's words: UTF-8, or what they look like."""
    raw = b"".join(event.text for event in words)
    try:
        raw.decode("utf-8")
    except UnicodeDecodeError:
        from charset_normalizer import from_bytes

        # Short texts of Windows look like Mac's to the guess; karaoke programs ran on Windows.
        best = from_bytes(raw, cp_exclusion=list(_MAC)).best()
        return "latin-1" if best is None else best.encoding
    return "utf-8"


def _syllables(texts: Sequence[tuple[int, str]], left: Counter[str]) -> tuple[IntArray, list[str]]:
    """Return the ticks and syllables of a chunk by its own convention; count adverts in `left`."""
    lines = [(tick, text) for tick, text in texts if not text.startswith(_NOT_SUNG)]
    sung = [(tick, text) for tick, text in lines if not _ADVERTS.search(text)]
    left["advert"] += len(lines) - len(sung)
    by_blanks = _end_at_blanks(text for _, text in sung)
    ticks: list[int] = []
    syllables: list[str] = []
    for tick, text in sung:
        middle = text.strip(_SIGNS)
        before, after = text.split(middle, 1) if middle else (text, "")
        is_word = clean_text(middle) != ""
        if syllables:
            # A slash before a syllable ends the line of the one before it, and so does one alone.
            ends = _strongest(before if is_word else before + after)
            syllables[-1] = stronger(syllables[-1], ends)
        if not is_word:
            continue
        goes_on = by_blanks or middle.rstrip().endswith("-")
        now = stronger(syllable(middle, "" if goes_on else WORD_END), _strongest(after))
        if ticks and ticks[-1] == tick:  # some files give a note the words of several events
            syllables[-1] = syllable(*split_mark(syllables[-1] + now))
        else:
            ticks.append(tick)
            syllables.append(now)
    return np.array(ticks, np.int64), syllables


def _end_at_blanks(texts: Iterable[str]) -> bool:
    """Tell whether the words of a file end at blanks, not at each event."""
    return any(
        clean_text(text) != "" and (text.startswith(" ") or text.rstrip("\r\n").endswith(" "))
        for text in texts
    )


def _strongest(signs: str) -> str:
    """Return the strongest mark among the signs before or after a text, "" for no sign."""
    return max((_ENDS.get(one, WORD_END) for one in signs), key=MARKS.index, default="")


def _singer(ticks: IntArray, score: Score, places: Sequence[int]) -> tuple[int, IntArray] | None:
    """Return which track sings at these ticks, and of each the onset that it is nearest to.

    The onset is -1 for a syllable without a note. None where no track sings.
    """
    best, singer = 0.0, None
    for place in places:
        track = score.tracks[place]
        if track.instrument == DRUMS or not len(track):
            continue
        onsets = np.unique(track.onset)
        closest = nearest_onsets(ticks, onsets)
        is_near = np.abs(closest - ticks) <= score.ticks_per_quarter // 4
        matched = len(np.unique(closest[is_near]))
        # The Dice coefficient: a track's notes without a syllable count against it, too; else the
        # track with the most notes would sing.
        share = 2 * matched / (len(ticks) + len(onsets))
        if matched >= _LEAST_MATCHED * len(ticks) and share > best:
            best, singer = share, (place, np.where(is_near, closest, -1))
    return singer


def nearest_onsets(ticks: IntArray, onsets: IntArray) -> IntArray:
    """Return of ascending onsets the nearest to each tick."""
    right = np.minimum(np.searchsorted(onsets, ticks), len(onsets) - 1)
    left = np.maximum(right - 1, 0)
    is_left = np.abs(ticks - onsets[left]) <= np.abs(onsets[right] - ticks)
    nearest: IntArray = np.where(is_left, onsets[left], onsets[right])
    return nearest


def _laid(
    syllables: Sequence[str], onsets: IntArray, track: Track, left: Counter[str]
) -> list[str]:
    """Return the syllables of a track's notes; in a chord the highest note has the syllable."""
    of_onset: dict[int, str] = {}
    before = -1
    for onset, text in zip(onsets.tolist(), syllables, strict=True):
        if onset >= 0 and onset not in of_onset:
            of_onset[onset] = text
            before = onset
            continue
        left["unmatched"] += 1
        if before >= 0:  # the word that is left out ends all the same
            of_onset[before] = stronger(of_onset[before], split_mark(text)[1])
    pitches, sung = track.pitch.tolist(), [""] * len(track)
    # Of equal notes the first: the last of an onset stays in the dictionary.
    upwards = sorted(range(len(track)), key=lambda place: (pitches[place], -place))
    highest = {int(track.onset[place]): place for place in upwards}
    for onset, text in of_onset.items():
        sung[highest[onset]] = text
    return sung


def convention_of(events: EventFile) -> Convention:
    """Return how a file writes its words; without words, how new files are written."""
    words = [event for of in word_events(events).values() for event in of]
    if not words:
        return LYRICS
    encoding = _encoding(words)
    texts = [event.text.decode(encoding, errors="replace") for event in words]
    sung = [text for text in texts if not text.startswith(_NOT_SUNG)]
    kind = LYRIC if words[0].is_meta_of(LYRIC) else TEXT
    return Convention(kind, _end_at_blanks(sung), encoding)


def is_sung(event: Event) -> bool:
    """Tell whether an event of words is sung, not a title or another note of a karaoke file."""
    return not event.text.decode("latin-1").startswith(_NOT_SUNG)


def lyric_events(track: Track, convention: Convention = LYRICS) -> list[Event]:
    """Return the events of a track's words, in its own times.

    In lyric events a blank ends a word, CR a line, LF a verse. In text events, as karaoke files
    have them, backslash begins a verse and slash a line.
    """
    sung = zip(track.onset.tolist(), track.sung.tolist(), strict=True)
    rows = sorted({onset: split_mark(text) for onset, text in sung if text}.items())
    # Where no word ends there is no blank, and each event would be read as a word.
    ends_words = any(mark for _, (_, mark) in rows)
    hyphen = "" if convention.by_blanks and ends_words else "-"
    events, opens = [], "\\"
    for onset, (text, mark) in rows:
        if convention.kind == LYRIC:
            end = _WRITTEN_ENDS[mark] if mark else hyphen
            written = text + (end if convention.by_blanks else end.strip(" "))
        else:
            written = opens + text + (" " * convention.by_blanks if mark else hyphen)
            opens = {LINE_END: "/", VERSE_END: "\\"}.get(mark, "")
        raw = written.encode(convention.encoding, errors="replace")
        events.append(Event(onset, meta(convention.kind, raw)))
    return events


def karaoke_chunk(track: Track, title: str) -> Chunk:
    """Return a chunk of the words of a track, as .kar files have them."""
    heads = [*_HEADERS, f"@T{title}".encode()] if title else _HEADERS
    return Chunk(
        [
            Event(0, meta(NAME, b"Words")),
            *(Event(0, meta(TEXT, head)) for head in heads),
            *lyric_events(track, KARAOKE),
        ]
    )


def as_karaoke(raw: bytes, singer: Track | None, title: str) -> bytes:
    """Return a MIDI file with a track's words, in the file's ticks, as .kar files have them.

    Other words go. Without a singer it is the file as it is.
    """
    if singer is None:
        return raw
    file = parse_events(raw)
    for number, words in word_events(file).items():
        chunk = file.tracks[number]
        chunk.events = [event for event in chunk.events if event not in words]
    chunk = karaoke_chunk(singer, title)
    # After the chunk that has the tempos, as in files that karaoke programs write.
    file.chunks.insert(1, chunk)
    return file.to_bytes()
