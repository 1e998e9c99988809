"""Layouts that cannot work are refused, and those named instead can."""

import re

import pytest

from megatron_music.config import Recipe, load_recipe
from megatron_music.costs.layout import check_layout, nearest_layouts
from megatron_music.errors import LayoutError

TP, PP = "parallel.tensor_model_parallel_size", "parallel.pipeline_model_parallel_size"
MICRO, BATCH = "train.micro_batch_size", "train.global_batch_size"


def article(**changes: int) -> Recipe:
    names = {"tensor": TP, "pipeline": PP, "micro": MICRO, "batch": BATCH}
    return load_recipe("article", [f"{names[name]}={value}" for name, value in changes.items()])


@pytest.mark.parametrize(
    ("recipe", "processes", "data"),
    [
        (article(), 1, 1),
        (article(), 8, 8),
        (article(tensor=2), 8, 4),
        (article(tensor=2, pipeline=2), 16, 4),
        (article(tensor=8, pipeline=6), 48, 1),
    ],
)
def test_data_parallelism_takes_what_is_left_over(
    recipe: Recipe, processes: int, data: int
) -> None:
    assert check_layout(recipe, processes) == data


@pytest.mark.parametrize(
    ("recipe", "processes", "wrong"),
    [
        (article(tensor=3), 3, f"{TP}=3 does not divide model.num_attention_heads=8"),
        (article(pipeline=4), 4, f"{PP}=4 does not divide model.num_layers=6"),
        (article(tensor=4), 6, r"6 process\(es\) cannot hold TP=4 x PP=1"),
        (article(), 16, f"{BATCH}=64 is not a multiple of {MICRO}=8 x DP=16"),
        (article(micro=3), 1, f"{BATCH}=64 is not a multiple of {MICRO}=3 x DP=1"),
    ],
)
def test_a_layout_that_cannot_work_is_refused_and_those_named_can(
    recipe: Recipe, processes: int, wrong: str
) -> None:
    with pytest.raises(LayoutError, match=wrong) as refused:
        check_layout(recipe, processes)
    named = re.findall(
        r"(\d+) process\(es\) with TP=(\d+) PP=(\d+) micro batch (\d+)", str(refused)
    )
    assert named
    for count, tensor, pipeline, micro in (map(int, one) for one in named):
        changed = article(tensor=tensor, pipeline=pipeline, micro=micro)
        assert check_layout(changed, count) >= 1


def test_the_nearest_layout_changes_least() -> None:
    (first, *_) = nearest_layouts(article(tensor=3), 8)
    assert (first.tensor, first.pipeline, first.processes) in {(2, 1, 8), (4, 1, 8)}
    (first, *_) = nearest_layouts(article(), 16)
    assert (first.tensor, first.pipeline, first.micro_batch_size, first.data) == (1, 1, 4, 16)


def test_fewer_processes_are_suggested_where_these_cannot_work() -> None:
    layouts = nearest_layouts(
        load_recipe("tiny", ["model.num_layers=3", f"{MICRO}=1", f"{BATCH}=4"]), 7
    )
    assert {layout.processes for layout in layouts} == {6}


@pytest.mark.parametrize(
    ("overrides", "processes", "wrong"),
    [
        ([], 1, "needs parallel.tensor_model_parallel_size above 1"),
        ([f"{TP}=2", "model.seq_length=639"], 2, "model.seq_length=639 to be a multiple"),
    ],
)
def test_sequence_parallel_needs_tensor_parallel_and_an_even_sequence(
    overrides: list[str], processes: int, wrong: str
) -> None:
    recipe = load_recipe("tiny", ["parallel.sequence_parallel=true", *overrides])
    with pytest.raises(LayoutError, match=wrong):
        check_layout(recipe, processes)
