"""What a user gives comes back as it was, event by event as mido reads it, but for what is new."""

from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import mido
import pytest

from megatron_music.errors import UsageError
from megatron_music.generate.composer import Composer
from megatron_music.generate.prompt import read_prompt
from megatron_music.generate.session import Session
from megatron_music.generate.song import Song

QUARTER = 330
BAR = 4 * QUARTER
BARS = 6

Events = list[tuple[int, mido.Message]]
Note = tuple[int, int, int, int, int]


def part(name: str, channel: int, program: int, rows: Iterable[Note]) -> mido.MidiTrack:
    """Make a track of (onset, end, pitch, velocity, release) with controllers and a bend."""
    events: Events = [
        (0, mido.MetaMessage("track_name", name=name)),
        (0, mido.Message("program_change", channel=channel, program=program)),
        (0, mido.Message("control_change", channel=channel, control=7, value=101)),
    ]
    for onset, end, pitch, velocity, release in rows:
        on = mido.Message("note_on", channel=channel, note=pitch, velocity=velocity)
        off = mido.Message("note_off", channel=channel, note=pitch, velocity=release)
        events += [(onset, on), (end, off)]
    for tick in range(7, BARS * BAR, 211):
        value = tick % 128
        events.append(
            (tick, mido.Message("control_change", channel=channel, control=1, value=value))
        )
        events.append((tick + 3, mido.Message("pitchwheel", channel=channel, pitch=value * 9)))
    return in_deltas(events)


def in_deltas(events: Events) -> mido.MidiTrack:
    track, before = mido.MidiTrack(), 0
    for tick, message in sorted(events, key=lambda event: event[0]):
        track.append(message.copy(time=tick - before))
        before = tick
    return track


def rows(channel: int, *, low: int) -> list[Note]:
    """Give notes off the grid, each of another loudness: two a bar."""
    found = []
    for half in range(2 * BARS):
        onset = half * BAR // 2 + 11 + 3 * channel
        end = onset + BAR // 2 - 30
        found.append((onset, end, low + half % 5, 40 + 3 * half + channel, 64))
    return found


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file as a sequencer writes it: six bars of two strings and drums."""
    tempos = [(0, 500_000), (BAR, 480_000), (2 * BAR + 100, 510_000), (5 * BAR, 700_000)]
    conductor: Events = [
        (0, mido.MetaMessage("track_name", name="My song")),
        (0, mido.MetaMessage("copyright", text="me")),
        (0, mido.MetaMessage("time_signature", numerator=4, denominator=4)),
        (0, mido.MetaMessage("key_signature", key="D")),
        (0, mido.Message("sysex", data=(0x7E, 0x7F, 0x09, 0x01))),
        *((tick, mido.MetaMessage("set_tempo", tempo=tempo)) for tick, tempo in tempos),
        *((bar * BAR, mido.MetaMessage("marker", text=f"M{bar}")) for bar in range(BARS)),
        *((bar * BAR + 40, mido.MetaMessage("lyrics", text="la")) for bar in range(BARS)),
        (3 * BAR, mido.MetaMessage("cue_marker", text="now")),
    ]
    strokes = [
        (tick + 5, tick + 60, 36, 100 + tick // BAR, 0) for tick in range(0, BARS * BAR, BAR)
    ]
    strokes += [(tick + 7, tick + 50, 42, 30, 0) for tick in range(0, BARS * BAR, QUARTER)]
    file = mido.MidiFile(type=1, ticks_per_beat=QUARTER)
    file.tracks += [
        in_deltas(conductor),
        part("Violin I", 0, 40, rows(0, low=70)),
        part("Violin II", 3, 40, rows(3, low=60)),
        part("Kit", 9, 0, strokes),
    ]
    path = tmp_path_factory.mktemp("given") / "mine.mid"
    file.save(path)
    return path


@pytest.fixture(scope="module")
def composer(open_model: Path) -> Composer:
    return Composer.load(open_model)


def events_of(path: Path) -> list[Events]:
    file = mido.MidiFile(path)
    assert file.ticks_per_beat == QUARTER
    tracks = []
    for track in file.tracks:
        tick, events = 0, []
        for message in track:
            tick += message.time
            events.append((tick, message.copy(time=0)))
        tracks.append(events)
    return tracks


def is_note(message: mido.Message) -> bool:
    return message.type in ("note_on", "note_off")


def notes_of(events: Events) -> Counter[Note]:
    """Pair the events of notes: onset, end, pitch, velocity, channel."""
    begun: dict[int, list[tuple[int, int]]] = {}
    found: Counter[Note] = Counter()
    for tick, message in events:
        if message.type == "note_on" and message.velocity:
            begun.setdefault(message.note, []).append((tick, message.velocity))
        elif is_note(message):
            onset, velocity = begun[message.note].pop(0)
            found[onset, tick, message.note, velocity, message.channel] += 1
    return found


def hold(before: Path, after: Path, is_new: Callable[[int, int], bool], tracks: int = 4) -> None:
    """Hold a file to the one before: `is_new` tells, of track and bar, where notes may differ."""
    old, new = events_of(before), events_of(after)
    assert len(new) == tracks
    for index, (mine, theirs) in enumerate(zip(old, new, strict=False)):
        others = [
            [event for event in events if not is_note(event[1])][:-1] for events in (mine, theirs)
        ]
        assert others[0] == others[1]
        kept, found = notes_of(mine), notes_of(theirs)
        for onset, *_ in kept - found:
            assert is_new(index, onset // BAR)
        for onset, end, _, velocity, _ in found - kept:
            assert is_new(index, onset // BAR)
            assert end > onset
            assert 25 <= velocity <= 110
        assert {note[4] for note in found} <= {note[4] for note in kept}


def work(composer: Composer, given: Path, way: str, to: Path, **wishes: Any) -> Song:
    session = Session(composer).keep(given)
    (song,) = getattr(session, way)(temperature=3.0, **wishes)
    session.write(song, to)
    return song


def test_bars_that_are_filled_are_all_that_changes(
    composer: Composer, given: Path, tmp_path: Path
) -> None:
    after = tmp_path / "filled.mid"
    work(composer, given, "fill", after, fill_bars=(3, 4), fill_tracks=("Violin II", "Kit"))
    hold(given, after, lambda track, bar: track in (2, 3) and bar in (2, 3))
    assert notes_of(events_of(after)[2]) != notes_of(events_of(given)[2])
    # New drums are as loud as the strokes of their pitch are.
    soft = {velocity for _, _, pitch, velocity, _ in notes_of(events_of(after)[3]) if pitch == 42}
    assert soft == {30}


def test_cells_that_vary_are_all_that_changes(
    composer: Composer, given: Path, tmp_path: Path
) -> None:
    song = work(composer, given, "vary", tmp_path / "varied.mid", share=0.3)
    assert song.new.any()
    assert not song.new.all()
    hold(
        given,
        tmp_path / "varied.mid",
        lambda track, bar: track > 0 and bool(song.new[track - 1, bar]),
    )


def test_a_piece_is_continued_after_its_own_events(
    composer: Composer, given: Path, tmp_path: Path
) -> None:
    work(composer, given, "continue_piece", tmp_path / "longer.mid", bars=8)
    hold(given, tmp_path / "longer.mid", lambda _, bar: bar in (6, 7))
    work(composer, given, "continue_piece", tmp_path / "other.mid", prompt_bars=4)
    hold(given, tmp_path / "other.mid", lambda _, bar: bar in (4, 5))


def test_an_added_track_plays_on_a_free_channel(
    composer: Composer, given: Path, tmp_path: Path
) -> None:
    wish = {"instruments": ("acoustic bass",), "bars": 6}
    work(composer, given, "continue_piece", tmp_path / "more.mid", **wish)
    hold(given, tmp_path / "more.mid", lambda *_: False, tracks=5)
    bass = events_of(tmp_path / "more.mid")[4]
    assert bass[0][1].name == "Acoustic Bass"
    assert bass[1][1] == mido.Message("program_change", channel=1, program=32)
    assert {channel for *_, channel in notes_of(bass)} == {1}


def test_a_track_that_is_dropped_goes_with_all_that_plays_it(
    composer: Composer, given: Path, tmp_path: Path
) -> None:
    wish = {"drop": ("Violin I",), "bars": 7}
    work(composer, given, "continue_piece", tmp_path / "less.mid", **wish)
    old, new = events_of(given), events_of(tmp_path / "less.mid")
    assert [events[0][1].name for events in new] == ["My song", "Violin II", "Kit"]
    assert [event for event in new[0] if not event[1].is_meta] == [old[0][4]]
    assert not notes_of(old[2]) - notes_of(new[1])


def test_a_voice_is_kept_as_it_was_and_the_others_are_new_tracks(
    chorale_model: Path, given: Path, tmp_path: Path
) -> None:
    session = Session.load(chorale_model, given)
    (song,) = session.harmonise("Violin I")
    session.write(song, tmp_path / "choir.mid")
    old, new = events_of(given), events_of(tmp_path / "choir.mid")
    assert new[:2] == old[:2]
    assert [events[0][1].name for events in new[2:]] == ["ALTO", "TENOR", "BASS"]
    assert [events[1][1].program for events in new[2:]] == [40, 40, 40]
    channels = [{channel for *_, channel in notes_of(events)} for events in new[2:]]
    assert len(set(map(frozenset, channels))) == 3
    assert not channels[0] & {0, 9}


def test_tracks_are_taken_as_voices_and_stay_what_they_are(
    chorale_model: Path, given: Path, tmp_path: Path
) -> None:
    session = Session.load(chorale_model, given)
    wish = {"fill_bars": (2,), "fill_tracks": ("Violin I",)}
    (song,) = session.fill(roles=("Violin I=SOPRANO", "Violin II=ALTO"), **wish)
    session.write(song, tmp_path / "taken.mid")
    hold(given, tmp_path / "taken.mid", lambda track, bar: (track, bar) == (1, 1))
    with pytest.raises(UsageError, match=r"3 tracks \(Violin I \(Violin\), Violin II \(Violin\)"):
        session.fill(roles=("SOPRANO,ALTO",), **wish)
    with pytest.raises(UsageError, match="are both ALTO; a choir has each voice once"):
        session.fill(roles=("violin I=ALTO,violin II=ALTO",), **wish)
    with pytest.raises(UsageError, match="did you mean 'Violin I'"):
        session.fill(roles=("violin 3=ALTO",), **wish)


def test_a_tempo_that_is_asked_for_replaces_the_files_own(
    composer: Composer, given: Path, tmp_path: Path
) -> None:
    from megatron_music.generate.midi_patch import write_song

    prompt = read_prompt(given, 12)
    song = work(composer, given, "fill", tmp_path / "a.mid", fill_bars=(2,))
    write_song(song, tmp_path / "b.mid", prompt, tempo_bpm=90)
    changed = [one for one in events_of(tmp_path / "b.mid")[0] if one[1].type == "set_tempo"]
    assert [(tick, round(mido.tempo2bpm(one.tempo))) for tick, one in changed] == [(0, 90)]


def test_channels_that_change_their_programme_get_notes_where_they_play(
    composer: Composer, tmp_path: Path
) -> None:
    track = mido.MidiTrack()
    for bar in range(4):
        if bar in (0, 2):
            track.append(mido.Message("program_change", program=bar * 10))
        track.append(mido.Message("note_on", note=60 + bar, velocity=80))
        track.append(mido.Message("note_off", note=60 + bar, time=BAR))
    file = mido.MidiFile(type=0, ticks_per_beat=QUARTER)
    file.tracks.append(track)
    file.save(tmp_path / "two-sounds.mid")
    song = work(composer, tmp_path / "two-sounds.mid", "fill", tmp_path / "x.mid", fill_bars=(2, 3))
    assert song.new.tolist() == [[False, True, False, False], [False, False, True, False]]
    hold(tmp_path / "two-sounds.mid", tmp_path / "x.mid", lambda _, bar: bar in (1, 2), tracks=1)
