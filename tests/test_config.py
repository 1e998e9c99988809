"""Recipes: what they may say, what a wrong word is answered with, and how depth scales them."""

import math
import os
from itertools import pairwise
from pathlib import Path

import pytest

from megatron_music.config import dump_recipe, load_recipe, recipe_names, scale_to_depth
from megatron_music.errors import RecipeError


@pytest.mark.parametrize("name", recipe_names())
def test_a_recipe_survives_being_written_and_read(name: str, tmp_path: Path) -> None:
    recipe = load_recipe(name)
    (tmp_path / "copy.yaml").write_text(dump_recipe(recipe))
    assert load_recipe(str(tmp_path / "copy.yaml")) == recipe


def test_depth_scales_width_and_heads_alike_and_the_rate_by_the_root_of_the_width() -> None:
    article = load_recipe("article")
    deeper = load_recipe("article", depth=24)
    shape = deeper.model
    assert (shape.num_layers, shape.num_attention_heads, shape.hidden_size) == (24, 32, 2048)
    assert shape.seq_length == article.model.seq_length
    assert deeper.train.lr == pytest.approx(article.train.lr / math.sqrt(2048 / 512), rel=1e-2)
    assert deeper.train.min_lr == pytest.approx(article.train.min_lr / 2, rel=1e-2)
    assert deeper.train.train_iters == article.train.train_iters


@pytest.mark.parametrize("name", recipe_names())
def test_the_depth_that_a_recipe_has_changes_nothing(name: str) -> None:
    recipe = load_recipe(name)
    assert scale_to_depth(recipe, recipe.model.num_layers) == recipe


def test_every_depth_makes_a_sound_model_that_tp_2_divides() -> None:
    for depth in range(1, 40):
        shape = load_recipe("tiny", depth=depth).model
        assert shape.hidden_size // shape.num_attention_heads == 64
        assert shape.num_attention_heads % 2 == 0


def test_overrides_have_the_last_word() -> None:
    assert load_recipe("article", ["train.lr=1e-3"], depth=12).train.lr == 1e-3


def test_a_depth_below_1_is_refused() -> None:
    with pytest.raises(RecipeError, match=r"--depth must be 1 or more \(got 0\)"):
        load_recipe("article", depth=0)


@pytest.mark.parametrize(
    ("name", "override", "told"),
    [
        ("artcle", "", "did you mean 'article'"),
        ("tiny", "train.learning_rate=1", "no key 'train.learning_rate'"),
        ("tiny", "lr=1", "did you mean 'train.lr'"),
        ("tiny", "train.precision=fp8", "train.precision: input should be 'auto', 'fp32'"),
        ("tiny", "train.lr=-1", "train.lr: input should be greater than 0"),
        ("tiny", "train.min_lr=1", "lower train.min_lr"),
        ("tiny", "model.hidden_size=129", "is not a multiple of"),
        ("tiny", "train.lr", "not of the form section.key=value"),
        ("tiny", "train.lr=.nan", "train.lr: input should be a finite number"),
        ("tiny", "model.num_layers=1" + "0" * 400, "less than or equal to 2147483647"),
        ("tiny", "train.seed=5000000000", "less than or equal to 2147483647"),
    ],
)
def test_an_error_names_the_value_and_what_is_allowed(name: str, override: str, told: str) -> None:
    with pytest.raises(RecipeError, match=told):
        load_recipe(name, [override] if override else [])


BOMB = "\n".join(
    ["a: &a [x]", *(f"{b}: &{b} [{', '.join([f'*{a}'] * 9)}]" for a, b in pairwise("abcdefghij"))]
)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (f"{BOMB}\nmodel: *j\n", r"model: input should be a valid dictionary.*\(got \[\[\.\.\.\]"),
        ("model: &a [*a]", "model: input should be a valid dictionary"),
        ("model: !!python/object/apply:os.mkdir [sprung]", "not valid YAML: could not determine"),
        ("[" * 100_000, "not valid YAML: it is nested too deep"),
        ("model: {num_layers: " + "9" * 5000 + "}", "not valid YAML: Exceeds the limit"),
        ("model: \0", "not valid YAML: unacceptable character"),
        ("{a: b}: {c: d}", "not valid YAML"),
        ("- model", "must hold sections"),
        ("#" * 2_000_000, "more than 1,048,576 bytes"),
    ],
)
def test_a_hostile_recipe_is_one_line_at_once(text: str, told: str, tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(text)
    with pytest.raises(RecipeError, match=told) as fault:
        load_recipe(str(path))
    assert len(str(fault.value).splitlines()) == 1
    assert len(str(fault.value)) < 500


def test_a_pipe_in_the_place_of_a_recipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "recipe.yaml")
    with pytest.raises(RecipeError, match="not a regular file"):
        load_recipe(str(tmp_path / "recipe.yaml"))
