"""What users do wrong: each is answered by one line and a code, and nothing of theirs is lost."""

import re
import shlex
import sys
from pathlib import Path

import pytest

from megatron_music.cli import main
from megatron_music.tokenizer.vocabulary import TokenizerSettings
from tests.generate.conftest import CHORALE, untrained
from tests.midi_bytes import FOUR_FOUR, midi_bytes, note, program
from tests.scores import TUNE


def voice(channel: int, name: str) -> bytes:
    """Return eight notes C4 of a voice that is known by its track's name."""
    named = b"\x00\xff\x03" + bytes([len(name)]) + name.encode() + program(channel, 52)
    return named + note(channel, 80) * 8


WALTZ = b"\x00\xff\x58\x04\x03\x02\x18\x08"
FILES = {
    "tune.mid": midi_bytes(FOUR_FOUR + b"".join(note(0, 80, 60 + i % 5) for i in range(32))),
    "duo.mid": midi_bytes(FOUR_FOUR, note(0, 80) * 8, note(1, 80, 48) * 8),
    "choir.mid": midi_bytes(
        FOUR_FOUR, *(voice(i, name) for i, name in enumerate(("SOPRANO", "ALTO", "TENOR", "BASS")))
    ),
    "late.mid": midi_bytes(b"\x00\xff\x51\x03\x7f\xff\xff" + note(0, 127) * 400),
    "tunes.abc": f"{TUNE}\n{TUNE.replace('X:1', 'X:2')}".encode(),
    "sweep.yaml": b"recipe: tiny\n",
    "drums.mid": midi_bytes(FOUR_FOUR + note(9, 80, 36) * 16),
    "waltz/waltz.mid": midi_bytes(WALTZ + note(0, 80) * 24),
    "bad/silent.mid": midi_bytes(FOUR_FOUR),
    "bad/empty.mid": b"",
    "bad/cut.mid": midi_bytes(note(0) * 40)[:60],
    "picture.mid": b"\x89PNG\r\n\x1a\n",
    "notes.txt": b"a line of text\n",
    "labels.csv": b"x,y\n",
    "empty/.kept": b"",
    "run/tune.mid": midi_bytes(FOUR_FOUR + note(0, 80) * 32),
}

LEAKED = re.compile(
    r"Traceback|Errno|Input should|codec|__|unable to parse|<\w+ |\w+Error|fault of"
)
"""Words of Python and of its libraries."""

SAMPLE = """
sampel hf                                          | 2 | did you mean 'sample'
sample                                             | 2 | HFDIR is missing
sample nothing                                     | 1 | no exported model in nothing
sample nothing                                     | 1 | make pretrain
sample empty                                       | 1 | megatron-music export
sample run                                         | 1 | first: megatron-music export run
sample run/hf                                      | 1 | first: megatron-music export run
sample tune.mid                                    | 1 | is a piece of music, not a model
sample run/hf                                      | 1 | run is a run that is not exported
sample run/tune.mid                                | 1 | is a piece of music, not a model
sample run/checkpoints                             | 1 | no exported model in run/checkpoints
sample hf tune.mid                                 | 2 | one argument too many: 'tune.mid'
sample hf --promt tune.mid                         | 2 | there is no option --promt
sample hf --harmonise                              | 2 | --harmonise requires
sample hf --bars 0                                 | 2 | --bars must be 1..1000
sample hf --bars eight                             | 2 | whole number (got 'eight')
sample hf -n 0                                     | 2 | -n must be
sample hf --instrument pianoo                      | 2 | did you mean
sample hf --instrument piano                       | 2 | never met
sample hf --instrument 129                         | 2 | count from 1
sample hf --instrument BASS --instrument BASS      | 2 | once
sample hf --key 'H major'                          | 2 | --key must be as in
sample hf --metre 3/4                              | 2 | --metre any
sample hf --metre waltz                            | 2 | choose among
sample hf --tempo 0                                | 2 | --tempo must be 10..400
sample hf --temperature 0                          | 2 | --temperature must be
sample hf --top-p 2                                | 2 | --top-p must be
sample hf --density 12                             | 2 | --density must be
sample hf --attribute COMPOSER=BACH                | 2 | its data had none
sample hf --tracks 0                               | 2 | --tracks must be
sample hf --song-id -5                             | 2 | --song-id must be
sample hf --song-id 5 --seed 7                     | 2 | give one of the two
sample hf --best 4 --of 2                          | 2 | give --of 8 or more (with make: OF=8)
sample hf --of 8                                   | 2 | needs --best
sample hf --keep 3                                 | 2 | songs of this folder: none
sample hf --data nothing                           | 1 | nothing
sample hf -o notes.txt                             | 1 | cannot write into notes.txt
sample hf --fill-bars 5                            | 2 | give --prompt
sample hf --vary 0.2                               | 2 | --vary needs a piece
sample hf --voice SOPRANO                          | 2 | give --harmonise
sample hf --prompt tun.mid                         | 1 | did you mean tune.mid?
sample hf --prompt bad                             | 1 | is a folder
sample hf --prompt bad/silent.mid                  | 1 | no notes
sample hf --prompt bad/cut.mid                     | 1 | cut short
sample hf --prompt picture.mid                     | 1 | is a picture
sample hf --prompt tune.mid --drop Violin          | 2 | no track 'Violin'
sample hf --prompt tune.mid --fill-bars 0          | 2 | bars count from 1
sample hf --prompt tune.mid --fill-bars 6-5        | 2 | as 4, 4-6 or 4-6,9
sample hf --prompt tune.mid --fill-bars 500        | 2 | the piece has bars 1..8
sample hf --prompt tune.mid --fill-bars 2 --bars 4 | 2 | leave out --bars
sample hf --prompt tune.mid --fill-bars 2          | 2 | =SOPRANO
sample hf --prompt drums.mid --fill-bars 1         | 2 | with --drop, or give --yes
sample hf --prompt duo.mid --as SOPRANO            | 2 | 1 instrument
sample hf --prompt duo.mid --as ALTO,ALTO          | 2 | a choir has each voice once
sample hf --prompt tune.mid --as Lead=SOPRANO      | 2 | no track 'Lead'
sample hf --prompt tune.mid --as BASS --vary 2     | 2 | --vary must be
sample hf --prompt tune.mid --as BASS --bars 4     | 2 | are kept of the piece
sample hf --prompt tune.mid --prompt-bars 0        | 2 | --prompt-bars must be
sample hf --prompt tune.mid --prompt-bars 50       | 2 | the piece has 8 bars
sample hf --prompt waltz/waltz.mid --fill-bars 2   | 2 | composed in 3/4
sample hf --prompt tune.mid --harmonise tune.mid   | 2 | leave out one of them
sample hf --harmonise drums.mid                    | 2 | no pitches to harmonise
sample hf --harmonise duo.mid                      | 2 | which track is to be kept?
sample hf --harmonise duo.mid --voice Nobody       | 2 | no track 'Nobody'
sample hf --harmonise tune.mid --fill-bars 3       | 2 | leave out --fill-bars
sample small --bars 1                              | 2 | ask for fewer
sample hf --end                                    | 2 | does not know the place in a piece
sample hf --song-id 5 -n 2                         | 2 | -n is 2, but --song-id names 1
sample hf --prompt choir.mid --fill-bars 1-999999  | 2 | must be given as
sample hf --prompt choir.mid --fill-bars 5-60      | 2 | bars 1..2 (got 5 to 60)
sample hf --prompt choir.mid --bars 1              | 2 | --bars is 1, but 2 are kept
sample hf --prompt choir.mid --bars 2              | 2 | nothing to compose
sample hf --prompt choir.mid --tracks 2 --bars 3   | 2 | is for songs from nothing
sample hf --prompt choir.mid --key D --fill-bars 2 | 2 | 0% of it is of D major
sample hf --prompt choir.mid --drop Altoo --bars 3 | 2 | did you mean 'ALTO'
sample hf --prompt choir.mid --as BASS             | 2 | 1 instruments for 4 tracks
sample hf --prompt choir.mid --drop ALTO --instrument BASS --bars 3 | 2 | but is kept
sample hf --prompt choir.mid --bars 3 -o hf/config.json/x | 1 | Not a directory
"""
OTHERS = """
data build                                         | 2 | source is missing
data build nothing                                 | 2 | no collection and no folder
data build tune.mid                                | 2 | one file of music
data build empty                                   | 2 | no music in empty
data build bad -o set                              | 1 | 1 damaged, 1 empty, 1 silent
data build waltz -o set                            | 1 | --metre any keeps
data build waltz -o waltz                          | 2 | holds other things
data build waltz -o tune.mid                       | 2 | is a file
data build waltz -o set --split 1                  | 2 | three weights
data build waltz -o set --attributes labels.csv    | 2 | names none of the 1 piece
data verify waltz                                  | 1 | no data set in waltz
data list-left-out waltz                           | 1 | give the folder of a data set
data fetch bahc                                    | 2 | did you mean bach
data fetch bach                                    | 2 | bach is here already
data fetch metamidi                                | 1 | ask for access on https://zenodo.org/
data build bahc -o set                             | 2 | did you mean bach
data build lakh -o set                             | 1 | must be downloaded first
data build metamidi -o set                         | 1 | make pretrain DATASET=metamidi SOURCE=PATH
data build metamidi --source nowhere -o set        | 2 | no folder and no file nowhere
data build bach -o set --hop 2                     | 2 | hop is for stored windows
data build bach -o set --split 1,x                 | 2 | --split takes three whole weights
data build bach -o set --workers 0                 | 2 | workers must be 1 or more
data build bach -o set --transpositions 2 --no-transpositions | 2 | exclude each other
data build bach -o set --like nowhere              | 1 | no mmmtrack.json in nowhere/tokenizer
data stats nowhere                                 | 1 | data build SOURCE -o nowhere
train                                              | 2 | recipe is missing
train tiny                                         | 2 | --data DIR
train tinny --data waltz                           | 2 | did you mean 'tiny'
train tiny --data waltz                            | 1 | data build
train waltz tiny                                   | 2 | is a folder, not a recipe
train tiny waltz                                   | 2 | --data waltz
train tiny --data waltz train.lr=fast              | 2 | train.lr
train nothing.yaml --data waltz                    | 2 | cannot read the recipe
train tiny --data a --device x --gpus 8 --json     | 2 | --gpus, --json only with --estimate
train tiny --data a --from b --megatron-lm-args    | 2 | cannot read our checkpoints
train article --estimate --gpus 0                  | 2 | --gpus must be 1 or more (got 0)
train article --estimate --utilisation 45          | 2 | --utilisation must be in (0, 1] (got 45
train article --estimate --utilisation 0.5         | 2 | --utilisation only with --device
train article --estimate --megatron-lm-args        | 2 | not with --estimate
train article --estimate parallel.tensor_model_parallel_size=3 | 2 | nearest that can work
train article --estimate --device H200             | 2 | no peak is known for the device 'H200'
train article --estimate --device h100             | 2 | it: 'NVIDIA H100 80GB HBM3', 'NV
train article --estimate --device 'NVIDIA A100'    | 2 | it: 'NVIDIA A100-SXM4-40GB', 'NV
train article --estimate --device Foo              | 2 | 'NVIDIA GB200'
train article --estimate --device 'Tesla T4' train.precision=bf16 | 2 | does not compute in bf16
train article --rehearse                           | 2 | --rehearse needs --device NAME
train article --rehearse --device 'Tesla T4' --gpus 0 | 2 | --gpus must be 1 or more
train article --rehearse --device 'Tesla T4' --assume x=1 | 2 | --assume knows no 'x'
train article --rehearse --estimate                | 2 | --rehearse not with --estimate
train article --rehearse --utilisation 0.5         | 2 | --utilisation only with --estimate
train article --assume x=1                         | 2 | --assume only with --rehearse; add it
export nothing                                     | 1 | no checkpoint in nothing
render nothing.mid                                 | 1 | cannot read nothing.mid
render waltz                                       | 1 | is a folder
render bad/silent.mid                              | 1 | no notes
render notes.txt                                   | 1 | notes.txt is not a MIDI file
render late.mid                                    | 1 | late.mid
render tunes.abc                                   | 1 | holds 2 tunes
render tune.mid --png tune.mid                     | 2 | is the input itself
render tune.mid --png duo.mid                      | 2 | must end in .png
encode tune.mid -o duo.mid                         | 2 | is a name of music
encode tune.mid --bars 0                           | 2 | --bars
encode tune.mid --hop 4                            | 2 | --hop 4 needs --bars
encode tune.mid --velocity 9                       | 2 | must be 8 or 32
encode tune.mid --steps-per-quarter 5              | 2 | 4 or 12
encode none.mid                                    | 1 | cannot read none.mid
encode bad/cut.mid -o out.txt                      | 1 | not a sound MIDI file
decode notes.txt -o notes.txt                      | 2 | is the input itself
decode notes.txt -o a.mxl                          | 2 | compressed MusicXML
decode nothing.txt                                 | 1 | cannot read nothing.txt
decode tune.mid                                    | 1 | is not text
decode notes.txt                                   | 1 | not in the vocabulary
evaluate hf                                        | 2 | --data is missing
evaluate hf --data waltz                           | 1 | no data set in waltz
rank tune.mid duo.mid                              | 1 | is not a critic
rank hf/config.json duo.mid                        | 1 | is not a critic
studio hf --port 0                                 | 2 | --port: it must be
studio hf --host 0.0.0.0                           | 2 | --share-token
doctor extra                                       | 2 | one argument too many
profile sweep nothing.yaml                         | 1 | cannot read the sweep
profile sweep sweep.yaml                           | 2 | grid: Field required
profile sweep sweep.yaml --budget long             | 2 | as in 90s
profile sweep sweep.yaml --rehearse --gpus 2       | 2 | belong together
profile report none                                | 1 | megatron-music profile sweep
profile nvml --interval 0                          | 2 | --interval
profile                                            | 2 | a command is missing
"""
MISTAKES = [
    tuple(part.strip() for part in line.split("|"))
    for line in (SAMPLE + OTHERS).splitlines()
    if line
]


@pytest.fixture(scope="module")
def studio_of_mistakes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A musician's folder: files of music and of other things, and models of chorales."""
    folder = tmp_path_factory.mktemp("mistakes")
    for name, content in FILES.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(content)
    (folder / "run" / "checkpoints").mkdir()
    settings = TokenizerSettings(bars=4, ensemble=CHORALE)
    untrained(folder / "hf", settings)
    untrained(folder / "small", settings, seq_length=12)
    return folder


def files_below(folder: Path) -> dict[str, bytes]:
    """Return all files of a folder."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


@pytest.mark.parametrize(("line", "code", "said"), MISTAKES)
def test_a_mistake_is_one_clear_line_and_loses_nothing(
    studio_of_mistakes: Path,
    line: str,
    code: str,
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    before = files_below(studio_of_mistakes)
    monkeypatch.chdir(studio_of_mistakes)
    monkeypatch.setattr(sys, "argv", ["megatron-music", *shlex.split(line)])
    with pytest.raises(SystemExit) as left:
        main.run()
    out, err = capsys.readouterr()
    errors = [one for one in err.splitlines() if one.startswith("error: ")]
    assert (str(left.value.code), out, len(errors)) == (code, "", 1), (out, err)
    assert err.splitlines()[-1] == errors[0]
    assert said in errors[0]
    assert not LEAKED.search(errors[0])
    assert before.items() <= files_below(studio_of_mistakes).items()
