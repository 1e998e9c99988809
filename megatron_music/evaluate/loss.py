"""What held-out music costs a model, note by note, and how well it knows the grammar by itself."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from transformers import GPT2LMHeadModel

from megatron_music.generate.structural import model_inputs, rows_of
from megatron_music.progress import Progress, silent
from megatron_music.tokenizer.grammar import Walker
from megatron_music.tokenizer.places import UNKNOWN, Places
from megatron_music.tokenizer.vocabulary import TokenArray, Vocabulary

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Reading:
    """What a model thought of one window while reading it; all columns [tokens - 1].

    Element i belongs to token i + 1. `nats` is its surprise; `illegal` the probability that the
    model gave to tokens which the grammar forbids there; `tops_illegal` marks where the likeliest
    token of all was a forbidden one. `left_out` counts tokens beyond the model's context.
    """

    targets: TokenArray
    nats: FloatArray
    illegal: FloatArray
    tops_illegal: BoolArray
    left_out: int


def read(
    model: GPT2LMHeadModel,
    vocabulary: Vocabulary,
    documents: Sequence[TokenArray],
    places: Places | None = None,
    progress: Progress = silent,
) -> list[Reading]:
    """Read windows as in training, each by itself from its PIECE_START, without any mask.

    `places` [windows, 2] tell a model that takes it where each stands in its piece, as in
    `tokenizer.places`; None: it is not told.
    """
    readings = []
    if places is None:
        places = np.full((len(documents), 2), UNKNOWN, np.int32)
    progress(0, len(documents))
    for done, (tokens, place) in enumerate(zip(documents, places, strict=True), 1):
        readings.append(_read_one(model, vocabulary, tokens, place))
        progress(done, len(documents))
    return readings


@torch.inference_mode()
def _read_one(
    model: GPT2LMHeadModel, vocabulary: Vocabulary, tokens: TokenArray, place: Places
) -> Reading:
    context = rows_of(model.config, vocabulary).seq_length + 1  # the last token is only a target
    kept = tokens[:context]
    ids = torch.from_numpy(kept.astype(np.int64)).to(model.device)
    arguments = model_inputs(model, vocabulary, ids[None, :-1], place)
    logits = model(**arguments).logits[0, :, : len(vocabulary)].double()
    logs = logits.log_softmax(-1).cpu().numpy()
    legal = legal_masks(kept, vocabulary)
    targets = kept[1:]
    top = logs.argmax(-1)
    rows = np.arange(len(targets))
    return Reading(
        targets=targets,
        nats=-logs[rows, targets],
        illegal=np.where(legal, 0.0, np.exp(logs)).sum(-1),
        tops_illegal=~legal[rows, top],
        left_out=len(tokens) - len(kept),
    )


def legal_masks(tokens: TokenArray, vocabulary: Vocabulary) -> BoolArray:
    """Return what may stand at each place after the first, [tokens - 1, vocabulary]."""
    walker = Walker(vocabulary)
    masks = []
    for token in tokens[:-1].tolist():
        walker.advance(token)
        masks.append(walker.allowed())
    return np.array(masks, np.bool_).reshape(len(masks), len(vocabulary))


def kinds_of(targets: TokenArray, vocabulary: Vocabulary) -> list[str]:
    """Return the kind of each token, such as NOTE_ON; one of form is `mark`."""
    return [vocabulary.meanings[token][0].value for token in targets.tolist()]
