"""The studio over HTTP, with the real processes behind it."""

import io
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pretty_midi
import pytest
from fastapi.testclient import TestClient

from megatron_music.cli.app import app as program
from megatron_music.studio.api import LARGEST_UPLOAD_BYTES
from megatron_music.studio.app import AccessPolicy, create_app
from megatron_music.studio.server import find_models
from megatron_music.studio.service import Studio
from tests.studio.conftest import ADDRESS, SYLLABLES, karaoke

pytestmark = pytest.mark.slow

API = "/api/v1"


def events_of(text: str) -> list[tuple[str, dict[str, object]]]:
    return [
        (name, json.loads(data)) for name, data in re.findall(r"event: (\w+)\ndata: (.*)\n\n", text)
    ]


def composed(
    client: TestClient,
    wishes: dict[str, object],
    version: str | None = None,
    model: str | None = None,
) -> dict:
    asked = {"version": version, "wishes": wishes, "model": model}
    told = client.post(f"{API}/compositions", json=asked)
    assert told.status_code == 202, told.text
    events = events_of(client.get(told.json()["events"]).text)
    assert events[-1][0] == "done", events[-1]
    return client.get(f"{API}/compositions/{told.json()['key']}").json()


def notes_in(file: str | io.BytesIO) -> list[list[Any]]:
    return [notes_of(one) for one in pretty_midi.PrettyMIDI(file).instruments]


def test_a_number_is_the_song_that_sample_makes_of_it(
    client: TestClient, model: Path, tmp_path: Path
) -> None:
    song = client.get(f"{API}/songs/123456789").json()
    assert (song["id"], song["facts"]["bars"]) == (123456789, 8)
    content = client.get(song["links"]["midi"]).content
    asked = f"sample {model} -o {tmp_path} --song-id 123456789 --bars 8 --begin --end"
    program([*asked.split(), "--no-wav", "--no-png", "--no-page"], standalone_mode=False)
    assert notes_in(str(tmp_path / "song-123456789.mid")) == notes_in(io.BytesIO(content))


def notes_of(instrument: pretty_midi.Instrument) -> list[tuple[float, float, int]]:
    return [(round(one.start, 4), round(one.end, 4), one.pitch) for one in instrument.notes]


def test_bars_stream_while_a_song_is_composed(client: TestClient) -> None:
    events = events_of(client.get(f"{API}/songs/77/events").text)
    bars = [told for name, told in events if name == "bar"]
    assert {(told["track"], told["bar"]) for told in bars} == {
        (track, bar) for track in range(4) for bar in range(1, 9)
    }
    song = client.get(f"{API}/songs/77").json()
    facts = song["facts"]
    for track, notes in zip(facts["tracks"], facts["notes_by_track"], strict=True):
        named = [told for told in bars if told["instrument"] == track["instrument"]]
        streamed = [note for told in named for note in told["notes"]]
        assert cells(streamed) == cells(notes)
    assert events_of(client.get(f"{API}/songs/77/events").text)[-1][0] == "done"


def cells(notes: list[list[int]]) -> set[tuple[int, int]]:
    """Return the steps and pitches that sound."""
    return {(step, pitch) for onset, end, pitch in notes for step in range(onset, end)}


@pytest.mark.parametrize(
    ("kind", "media", "magic"),
    [
        ("midi", "audio/midi", b"MThd"),
        ("wav", "audio/wav", b"RIFF"),
        ("picture", "image/png", b"\x89PNG"),
        ("audio", "audio/mpeg", b""),
        ("score", "application/vnd.recordare.musicxml+xml", b"<?xml"),
    ],
)
def test_a_song_is_given_as_files_that_never_change(
    client: TestClient, kind: str, media: str, magic: bytes
) -> None:
    path = f"{API}/songs/5/{kind}"
    first = client.get(path)
    assert first.status_code == 200, first.text
    assert first.headers["content-type"] == media
    assert first.content.startswith(magic)
    assert "immutable" in first.headers["cache-control"]
    known = client.get(path, headers={"if-none-match": first.headers["etag"]})
    assert (known.status_code, known.content) == (304, b"")
    odd = client.get(path, headers=[(b"range", b"bytes=\xb2-")])
    assert odd.status_code == 200
    part = client.get(path, headers={"range": "bytes=2-5"})
    assert (part.status_code, part.content) == (206, first.content[2:6])


def test_votes_count_once_a_visitor_and_make_the_list_of_the_best(client: TestClient) -> None:
    client.get(f"{API}/songs/9")
    path = f"{API}/songs/9/votes"
    assert client.post(path, json={"value": 1}).json() == {"votes": 1, "value": 1}
    assert client.post(path, json={"value": 1}).json()["votes"] == 1
    client.cookies.clear()
    assert client.post(path, json={"value": 1}).json()["votes"] == 2
    assert client.get(f"{API}/songs/best").json()[0] == {
        "id": 9,
        "title": client.get(f"{API}/songs/9").json()["title"],
        "votes": 2,
        "page": "/song/9",
    }
    assert "/song/9" in client.get("/best?period=day").text
    assert client.post(path, json={"value": 5}).status_code == 422
    assert client.post(f"{API}/songs/999999/votes", json={"value": 1}).status_code == 404


def test_a_song_is_told_anew_after_a_vote(client: TestClient) -> None:
    client.get(f"{API}/songs/10")
    for path in (f"{API}/songs/10", "/song/10"):
        first, second = client.get(path), client.get(path)
        assert (first.content, first.headers["etag"]) == (second.content, second.headers["etag"])
        assert "content-security-policy" in second.headers
        known = client.get(path, headers={"if-none-match": second.headers["etag"]})
        assert (known.status_code, known.content) == (304, b"")
    client.post(f"{API}/songs/10/votes", json={"value": -1})
    assert client.get(f"{API}/songs/10").json()["votes"] == -1
    assert 'aria-label="Sum of votes">-1<' in client.get("/song/10").text


def test_what_a_cache_may_keep_names_no_visitor(client: TestClient) -> None:
    client.get(f"{API}/songs/10")
    for path in (f"{API}/songs/10", "/song/10", f"{API}/songs/10/midi"):
        client.cookies.clear()
        assert "set-cookie" not in client.get(path).headers
    voted = client.post(f"{API}/songs/10/votes", json={"value": 0})
    assert "studio_visitor" in voted.headers["set-cookie"]


def test_a_piece_is_composed_anew_in_two_bars_and_every_version_is_kept(client: TestClient) -> None:
    begun = client.post(f"{API}/projects/from-song", json={"song": 11}).json()
    first = begun["versions"][0]
    done = composed(client, {"fill_bars": [5, 6], "count": 4}, first["key"])
    assert len(done["versions"]) == 4
    for version in done["versions"]:
        assert version["parent"] == first["key"]
        steps = version["facts"]["steps_per_bar"]
        for old, new in zip(
            first["facts"]["notes_by_track"], version["facts"]["notes_by_track"], strict=True
        ):
            assert outside(new, 4 * steps, 6 * steps) == outside(old, 4 * steps, 6 * steps)
    chosen = done["versions"][1]["key"]
    head = f"{API}/projects/{begun['key']}/head"
    kept = client.put(head, json={"version": chosen}).json()
    assert (kept["head"], len(kept["versions"])) == (chosen, 2)
    undone = client.put(head, json={"version": first["key"]}).json()
    assert (undone["head"], len(undone["versions"])) == (first["key"], 2)
    assert client.get(f"/work/{begun['key']}").status_code == 200


def outside(notes: list[list[int]], begin: int, end: int) -> list[list[int]]:
    """Return the notes that do not touch some steps."""
    return [one for one in notes if one[1] <= begin or one[0] >= end]


def test_a_file_is_opened_and_continued(client: TestClient) -> None:
    content = client.get(f"{API}/songs/12/midi").content
    begun = client.post(f"{API}/projects?name=my%20tune.mid", content=content).json()
    assert begun["versions"][0]["title"] == "my tune.mid"
    longer = composed(client, {"bars": 10, "count": 1}, begun["head"])["versions"][0]
    assert longer["facts"]["bars"] == 10


def test_a_score_comes_back_as_it_was_given(client: TestClient) -> None:
    score = client.get(f"{API}/songs/13/score").content
    begun = client.post(f"{API}/projects?name=hymn.musicxml", content=score).json()
    song, facts = client.get(f"{API}/songs/13").json(), begun["versions"][0]["facts"]
    finer = facts["steps_per_bar"] // song["facts"]["steps_per_bar"]
    assert facts["notes_by_track"] == [
        [[onset * finer, end * finer, pitch] for onset, end, pitch in notes]
        for notes in song["facts"]["notes_by_track"]
    ]
    tune = b"X:1\nT:a tune\nM:4/4\nL:1/4\nK:C\nCDEF|GABc|\n"
    begun = client.post(f"{API}/projects?name=tune.abc", content=tune)
    assert begun.json()["versions"][0]["facts"]["notes"] == 8
    refused = client.post(f"{API}/projects?name=tune.musicxml", content=tune)
    assert refused.status_code == 422
    assert "tmp" not in refused.json()["detail"]


def test_a_waltz_has_bars_of_three_quarters_on_the_page_and_in_its_score(
    client: TestClient,
) -> None:
    waltz = b"X:1\nT:a waltz\nM:3/4\nL:1/4\nK:C\nCDE|FGA|c3|\n"
    begun = client.post(f"{API}/projects?name=waltz.abc", content=waltz).json()["versions"][0]
    quarter = begun["facts"]["steps_per_bar"] // 4
    assert begun["facts"]["bar_starts"] == [0, 3 * quarter, 6 * quarter, 9 * quarter]
    score = client.get(begun["links"]["score"]).text
    assert score.count("<measure ") == 3
    assert "<beats>3</beats>" in score


def test_a_karaoke_file_keeps_its_words(client: TestClient, tmp_path: Path) -> None:
    content = karaoke(tmp_path / "star.kar").read_bytes()
    begun = client.post(f"{API}/projects?name=star.kar", content=content).json()["versions"][0]
    assert begun["facts"]["syllables_by_track"] == [SYLLABLES]
    assert begun["facts"]["bar_starts_s"] == [0, 4, 8]
    assert client.get(begun["links"]["score"]).text.count("<lyric") == len(SYLLABLES)


def test_a_track_keeps_the_name_that_its_file_gives_it(
    client: TestClient, expressive: Path, tmp_path: Path
) -> None:
    file = pretty_midi.PrettyMIDI()
    for name, pitch in (("Lead", 72), ("Backing", 48)):
        piano = pretty_midi.Instrument(0, name=name)
        piano.notes = [pretty_midi.Note(80, pitch, beat / 2, beat / 2 + 0.5) for beat in range(8)]
        file.instruments.append(piano)
    file.write(str(tmp_path / "two.mid"))
    content = (tmp_path / "two.mid").read_bytes()
    query = f"name=two.mid&model={expressive.name}"
    begun = client.post(f"{API}/projects?{query}", content=content).json()["versions"][0]
    assert [track["name"] for track in begun["facts"]["tracks"]] == ["Lead", "Backing"]
    lead, _ = begun["facts"]["tracks"]
    wished = {"count": 1, "fill_bars": [2], "fill_tracks": [lead["wish"]]}
    done = composed(client, wished, begun["key"], expressive.name)["versions"][0]["facts"]
    assert [track["name"] for track in done["tracks"]] == ["Lead", "Backing"]
    assert [one["bars"] for one in done["new_bars"]] == [[2], []]


def test_songs_from_nothing_become_pieces_of_their_own(client: TestClient) -> None:
    made = composed(client, {"bars": 2, "count": 2, "seed": 3})["versions"]
    assert len({version["project"] for version in made}) == 2
    assert client.get(made[0]["links"]["midi"]).content.startswith(b"MThd")


WISHES = {"attributes", "metre", "dynamics", "tempo_bpm"}


def test_a_form_asks_for_what_the_model_knows(
    client: TestClient, model: Path, expressive: Path
) -> None:
    for name, known in ((model.name, set()), (expressive.name, WISHES)):
        page = client.get(f"/compose?model={name}").text
        shown = set(re.findall(r'data-wish="(\w+)"', page))
        assert shown & WISHES == known
        assert {"temperature", "density", "key"} <= shown


def test_dynamics_tempo_and_metre_are_composed_by_a_model_that_knows_them(
    client: TestClient, expressive: Path
) -> None:
    wishes = {"bars": 2, "count": 1, "dynamics": "pp", "tempo_bpm": 72, "metre": "3/4"}
    made = composed(client, wishes | {"density": ["5"]}, model=expressive.name)["versions"][0]
    facts = made["facts"]
    assert facts["tempo_bpm"] == pytest.approx(72, abs=3)
    assert facts["bar_starts"][1] * 4 == facts["steps_per_bar"] * 3
    played = pretty_midi.PrettyMIDI(io.BytesIO(client.get(made["links"]["midi"]).content))
    velocities = [note.velocity for one in played.instruments for note in one.notes]
    assert velocities
    assert max(velocities) <= 60


@pytest.mark.parametrize(
    ("path", "content", "status"),
    [
        ("/projects", b"no MIDI", 422),
        ("/projects", b"", 422),
        ("/projects", b"MThd\x00\x00\x00\x06\x00\x01\x00\x01\x01\xe0MTrk\xff\xff\xff\xff", 422),
        ("/projects", bytes(LARGEST_UPLOAD_BYTES + 1), 413),
        ("/compositions", b"{" + bytes(LARGEST_UPLOAD_BYTES), 413),
        ("/compositions", b'{"wishes": {"bars": 0}}', 422),
        ("/compositions", b'{"wishes": {"unknown": 1}}', 422),
        ("/compositions", b'{"model": "none"}', 404),
        ("/compositions", b'{"version": "../../etc/passwd"}', 404),
        ("/projects/from-song", b'{"song": -1}', 422),
        ("/projects/from-song", b'{"song": 9223372036854775808}', 422),
    ],
)
def test_bad_input_is_refused_with_a_sentence(
    client: TestClient, path: str, content: bytes, status: int
) -> None:
    kind = {"content-type": "application/json"} if content.startswith(b"{") else {}
    refused = client.post(API + path, content=content, headers=kind)
    assert refused.status_code == status
    assert len(refused.json()["detail"]) > 5


@pytest.mark.parametrize("path", ["/projects", "/compositions", "/songs/9/votes"])
def test_a_body_of_unknown_length_is_bounded_too(client: TestClient, path: str) -> None:
    parts = (bytes(1 << 16) for _ in range((LARGEST_UPLOAD_BYTES >> 16) + 1))
    assert client.post(API + path, content=parts).status_code == 413


@pytest.mark.parametrize(
    "path",
    ["/song/-1", "/song/4611686018427387905", "/song/1e9", "/work/none", "/static/../app.py"],
)
def test_a_page_that_is_none_is_not_found(client: TestClient, path: str) -> None:
    assert client.get(path).status_code in (404, 422)


def test_a_wish_that_the_model_cannot_meet_is_told_as_the_reason(client: TestClient) -> None:
    told = client.post(f"{API}/compositions", json={"wishes": {"dynamics": "pp"}}).json()
    name, reason = events_of(client.get(told["events"]).text)[-1]
    assert name == "failed"
    assert "dynamics" in str(reason["reason"])


@pytest.mark.parametrize(
    ("on_a_piece", "wishes"),
    [
        (True, {"fill_bars": [2, 9]}),
        (True, {"vary": 0.5, "fill_bars": [2]}),
        (True, {"tracks": 2}),
        (False, {"vary": 0.5}),
        (False, {"fill_bars": [2]}),
    ],
)
def test_wishes_that_no_model_can_meet_are_refused_before_they_wait(
    client: TestClient, on_a_piece: bool, wishes: dict[str, object]
) -> None:
    asked: dict[str, object] = {"wishes": wishes}
    if on_a_piece:  # of eight bars
        begun = client.post(f"{API}/projects/from-song", json={"song": 14}).json()
        asked["version"] = begun["head"]
    refused = client.post(f"{API}/compositions", json=asked)
    assert refused.status_code == 422
    assert next(iter(wishes)) in refused.json()["detail"]


def test_other_sites_and_other_names_are_kept_out(client: TestClient) -> None:
    path = f"{API}/songs/9/votes"
    foreign = client.post(path, json={"value": 1}, headers={"origin": "http://evil.example"})
    assert foreign.status_code == 403
    renamed = client.get(f"{API}/songs/9", headers={"host": "evil.example"})
    assert renamed.status_code == 421


def test_every_page_shows(client: TestClient) -> None:
    for path in ("/", "/song/9", "/best", "/compose", "/docs", "/healthz"):
        shown = client.get(path)
        assert shown.status_code == 200, path
        policy = shown.headers["content-security-policy"]
        assert "unsafe" not in policy
    assert not re.findall(r'(?:src|href)="https?://', client.get("/song/9").text)


@pytest.fixture
def shared(model: Path, tmp_path: Path) -> Iterator[TestClient]:
    studio = Studio(find_models([model]), tmp_path)
    guard = AccessPolicy("a long token", any_host=True)
    # Not entered: what is refused needs no processes.
    yield TestClient(create_app(studio, guard), base_url=ADDRESS, follow_redirects=False)
    studio.database.close()


def test_a_shared_studio_lets_in_who_has_the_token(shared: TestClient) -> None:
    assert shared.get("/best").status_code == 401
    assert shared.get("/best?token=wrong").status_code == 401
    assert shared.get("/healthz").status_code == 200
    let_in = shared.get("/best?token=a%20long%20token")
    assert (let_in.status_code, let_in.headers["location"]) == (303, "/best")
    assert shared.get("/best").status_code == 200
    shared.cookies.clear()
    told = {"authorization": "Bearer a long token"}
    assert shared.get("/best", headers=told).status_code == 200
