"""The model card: `README.md` of an exported model."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from megatron_music.export.checkpoints import Source
from megatron_music.tokenizer.text_vocabulary import TextVocabulary
from megatron_music.train.run_dir import RunDir, read_log

CARD_FILE = "README.md"

_PAGE = """\
---
library_name: transformers
pipeline_tag: text-generation
license: other
license_name: as-the-training-data
tags: [music, midi, symbolic-music, mmm, gpt2]
---

# A composer of MIDI music, trained on {title}

A GPT-2 of {layers} and {hidden} channels that continues mmmtrack tokens: notes bar by bar,
track by track, on a grid of {steps} steps a quarter note, in {metres}. {voices}It was trained with
[Megatron](https://github.com/NVIDIA/Megatron-LM) by megatron_music and holds {bars} bars at a
time, at most {tokens} tokens; longer songs are composed window by window.

## Compose with it

```
megatron-music sample THIS_FOLDER -o music -n 4 --bars {bars}{whole}
megatron-music sample THIS_FOLDER -o music --best 4 --of 32 --bars {bars}{whole}
megatron-music sample THIS_FOLDER -o music --prompt yours.mid --fill-bars 3-4
```

The second command composes 32 songs and keeps the four that look most like real music; it needs
`real_music.npy` in this folder, or the training data.{explained}

The weights load in plain Transformers (`GPT2LMHeadModel.from_pretrained`){inputs}.

**Without the grammar mask songs are not legal.** What `generate` draws from the bare model soon
breaks a rule: a note that never ends, a bar that is too long. `sample` leaves only the tokens by
which a song can still become legal, and so every song of it is. `megatron-music evaluate` reports
how many songs are legal without the mask.

## Data and terms

{data}

What the model composes may hold passages of its training music, above all where that is little:
`sample` reports the longest run of bars that a song shares with it. Whether you may publish the
model or its songs depends on the terms of the data; the licence of megatron_music (Apache-2.0)
covers the program alone.

## Figures

{figures}

`megatron-music evaluate THIS_FOLDER --data DATA` compares its songs with music it has never seen:
held-out loss, statistics of notes and voices, copying, a critic.

## Limits

- No metre but {metres}, {untold}no lyrics: what a prompt has of these is kept, none is composed.
- It knows the instruments and the kinds of music in its data, and nothing of others.
- It has no idea of a piece beyond its window of {bars} bars{place}.
- Figures are of one run; another seed gives others.
"""

_PLACE = """ With `--begin` a song begins like a
piece, with `--end` it closes like one."""
_INPUTS = """, but
token ids alone are not enough: it was trained with structural inputs ({names}),
and without them its predictions are wrong. For each call
`megatron_music.generate.structural.model_inputs` makes the arguments of the model from token ids"""

_WORDS_PAGE = """\
---
library_name: transformers
pipeline_tag: text-generation
license: other
license_name: as-the-training-data
tags: [lyrics, gpt2]
---

# A writer of songs' words, trained on {title}

A GPT-2 of {layers} and {hidden} channels that holds {tokens:,} tokens at a time. It was
trained with [Megatron](https://github.com/NVIDIA/Megatron-LM) by megatron_music.

## Write with it

```
megatron-music sample THIS_FOLDER -o words --prompt "Why" --temperature 0.8
```

The weights load in plain Transformers (`GPT2LMHeadModel.from_pretrained`). A song is
`<|song|><|artist|>NAME<|title|>TITLE<|words|>TEXT` and an end mark.

## Data and terms

{data}

What the model writes may hold lines of its training songs, above all where they are few:
`megatron-music evaluate` reports the longest run of words. Whether you may publish the model or
its words depends on the terms of the data; the licence of megatron_music (Apache-2.0) covers the
program alone.

## Figures

{figures}
"""


def write_card(folder: Path, source: Source, difference: float) -> None:
    """Write the card of an exported folder; `difference` is the largest of its logits."""
    if isinstance(source.vocabulary, TextVocabulary):
        (folder / CARD_FILE).write_text(_words_page(source, difference), encoding="utf-8")
        return
    shape, settings = source.recipe.model, source.vocabulary.settings
    run = RunDir(source.step.parents[1])
    data = _data(run)
    names, knows_place = ", ".join(shape.structural_inputs), "place" in shape.structural_inputs
    (folder / CARD_FILE).write_text(
        _PAGE.format(
            title=" and ".join(one["title"] for one in data) or "music that is not on record",
            layers=_count(shape.num_layers, "layer"),
            hidden=shape.hidden_size,
            steps=settings.steps_per_quarter,
            metres=", ".join(settings.metres) or "4/4",
            untold="no dynamics, " * (not settings.velocity)
            + "no tempo changes, " * (not settings.tempo),
            voices=f"Every song has {', '.join(settings.ensemble)}. " if settings.ensemble else "",
            bars=settings.bars,
            tokens=shape.seq_length,
            whole=" --begin --end" * knows_place,
            explained=_PLACE * knows_place,
            inputs=_INPUTS.format(names=names) if names else "",
            data="\n\n".join(map(_terms, data)) or "The data set is not recorded; ask its maker.",
            figures=_figures(run, source, difference),
            place=", apart from where in it the window is" * knows_place,
        ),
        encoding="utf-8",
    )


def _words_page(source: Source, difference: float) -> str:
    """Return the card of a model of words."""
    shape, run = source.recipe.model, RunDir(source.step.parents[1])
    data = _data(run)
    return _WORDS_PAGE.format(
        title=" and ".join(one["title"] for one in data) or "words that are not on record",
        layers=_count(shape.num_layers, "layer"),
        hidden=shape.hidden_size,
        tokens=shape.seq_length,
        data="\n\n".join(map(_terms, data)) or "The data set is not recorded; ask its maker.",
        figures=_figures(run, source, difference),
    )


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'s' * (number != 1)}"


def _data(run: RunDir) -> list[dict[str, str]]:
    """Return the source records of a run's data sets; none for data sets that are gone."""
    named = _read(run.environment).get("data", [])
    folders = [named] if isinstance(named, str) else list(named)
    sources = [_read(Path(str(one)) / "manifest.json").get("source") for one in folders]
    keys = ("name", "title", "licence", "citation")
    return [{key: str(one.get(key, "-")) for key in keys} for one in sources if one]


def _terms(source: Mapping[str, str]) -> str:
    return (
        f"- **Source**: {source['title']} ({source['name']})\n"
        f"- **Licence**: {source['licence']}\n"
        f"- **Citation**: {source['citation']}"
    )


def _figures(run: RunDir, source: Source, difference: float) -> str:
    rows = {"iterations of training": f"{source.iteration:,}"}
    past = [step for step in read_log(run) if step["iteration"] <= source.iteration]
    if past:
        rows["tokens seen in training"] = f"{past[-1]['consumed_tokens']:,}"
    losses = [step["validation_loss"] for step in past if step.get("validation_loss") is not None]
    if losses:
        rows["loss on held-out music, nats a token"] = f"{losses[-1]:.3f}"
    rows["largest difference of a logit from Megatron's"] = f"{difference:.1e}"
    return "\n".join(
        ["| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows.items())]
    )


def _read(path: Path) -> dict[str, Any]:
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        return record if isinstance(record, dict) else {}
    except (OSError, ValueError):
        return {}
