"""Results as JSON and back: the same to the last bit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from simenv.evaluation.fidelity.plain import from_text, to_text
from simenv.evaluation.interval import Interval


@dataclass(frozen=True, eq=False)
class Found:
    curve: NDArray[Any]
    by: dict[str, Interval]
    why: str | None


@given(st.lists(st.floats(width=64)), st.floats(), st.integers())
def test_numbers_come_back_to_the_last_bit(values: list[float], mean: float, n: int) -> None:
    back = from_text(to_text([np.array(values), Interval(mean, 0.1, 1 / 3), n]), [Interval])
    assert np.array_equal(back[0], np.array(values), equal_nan=True)
    assert repr(back[1]) == repr(Interval(mean, 0.1, 1 / 3))
    assert back[2] == n


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.int64, np.bool_])
def test_nested_results_and_kinds_of_arrays(dtype: type) -> None:
    made = Found(np.arange(6).reshape(2, 3).astype(dtype), {"a": Interval(1.0, 0.0, 2.0)}, None)
    back = from_text(to_text((made, "words")), [Found, Interval])
    assert isinstance(back[0], Found)
    assert back[0].curve.dtype == dtype
    assert np.array_equal(back[0].curve, made.curve)
    assert (back[0].by, back[0].why, back[1]) == (made.by, None, "words")


def test_a_class_nobody_named_does_not_come_back() -> None:
    with pytest.raises(KeyError, match="Interval"):
        from_text(to_text(Interval(1.0, 0.0, 2.0)), [Found])
