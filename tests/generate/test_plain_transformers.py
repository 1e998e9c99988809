"""What a person does with an exported folder who has `transformers` alone."""

from pathlib import Path
from typing import Any

import pytest
from transformers import AutoModelForCausalLM, AutoTokenizer, pipeline

SHORT = "PIECE_START TRACK_START INST=SOPRANO DENSITY=3 BAR_START NOTE_ON=67"
LONG = f"{SHORT} TIME_DELTA=4 NOTE_OFF=67 NOTE_ON=69 TIME_DELTA=4 NOTE_OFF=69 NOTE_ON=71"
GREEDY = {"max_new_tokens": 12, "do_sample": False}


@pytest.fixture(scope="module")
def model(chorale_model: Path) -> Any:
    return AutoModelForCausalLM.from_pretrained(chorale_model).eval()


@pytest.fixture(scope="module")
def tokenizer(chorale_model: Path) -> Any:
    return AutoTokenizer.from_pretrained(chorale_model, trust_remote_code=False)


def test_a_prompt_continues_in_a_batch_as_it_does_alone(model: Any, tokenizer: Any) -> None:
    batch = tokenizer([SHORT, LONG], return_tensors="pt", padding=True)
    rows = tokenizer.batch_decode(model.generate(**batch, **GREEDY))
    for prompt, row in zip((SHORT, LONG), rows, strict=True):
        alone = model.generate(**tokenizer(prompt, return_tensors="pt"), **GREEDY)
        words = row[row.index("PIECE_START") :].split()
        assert words == tokenizer.decode(alone[0]).split()


def test_a_text_is_cut_to_what_the_model_takes(model: Any, tokenizer: Any) -> None:
    assert tokenizer.model_max_length == model.config.n_positions
    endless = " ".join(["PIECE_START"] + ["NOTE_ON=60 TIME_DELTA=1 NOTE_OFF=60"] * 400)
    tokens = tokenizer(endless, truncation=True, return_tensors="pt")
    assert model(**tokens).logits.shape[1] == model.config.n_positions


@pytest.mark.parametrize("prompt", ["PIECE_START", SHORT])
def test_a_pipeline_continues_with_whole_words(model: Any, tokenizer: Any, prompt: str) -> None:
    compose = pipeline("text-generation", model=model, tokenizer=tokenizer)
    text = compose(prompt, **GREEDY)[0]["generated_text"]
    assert text.startswith(f"{prompt} ")
    assert set(text.split()) <= tokenizer.get_vocab().keys()
    assert len(text.split()) > len(prompt.split())
