"""Pictures name configurations by what differs between them."""

from dataclasses import replace

from megatron_music.profiling.report.render import short_labels
from tests.profiling.test_report import RAN


def test_values_that_are_the_same_in_all_rows_are_left_out() -> None:
    rows = [RAN, replace(RAN, micro_batch_size=2), replace(RAN, recompute="none")]
    assert short_labels(rows) == [
        "micro 1, recompute full",
        "micro 2, recompute full",
        "micro 1, recompute none",
    ]


def test_a_row_alone_or_one_like_the_others_is_named_in_full() -> None:
    assert short_labels([RAN]) == [RAN.label]
    assert short_labels([RAN, replace(RAN, key="again")]) == [RAN.label] * 2
