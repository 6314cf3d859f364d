"""The arms by name."""

from __future__ import annotations

import pytest

from simenv.errors import ConfigError
from simenv.training.personal.arm import ARMS, arms


def test_a_twin_differs_only_in_knowing_nobody() -> None:
    for arm in ARMS.values():
        if arm.twin is None:
            assert arm.person == "nobody"
        else:
            twin = ARMS[arm.twin]
            assert (twin.how, twin.person, arm.person != "nobody") == (arm.how, "nobody", True)


def test_arms_come_in_one_order() -> None:
    assert [arm.name for arm in arms(["CLS", "Q-0S"])] == ["Q-0S", "CLS"]


@pytest.mark.parametrize(("names", "words"), [(["CLS", "cls-p"], "got cls-p"), ([], "got none")])
def test_other_names_are_refused(names: list[str], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        arms(names)
