"""All draws of a page at once are the draws made one by one."""

import numpy as np
import pytest

from simenv.agents.luck import page_luck
from simenv.randomness import Purpose, uniform
from simenv.session import UserState


@pytest.mark.parametrize("shape", [(1, 1), (1, 10), (5, 3), (4, 0), (0, 2)])
def test_the_draws_of_a_page(shape: tuple[int, int]) -> None:
    draw, (b, k) = np.random.default_rng(0), shape
    count, zero = np.zeros(b, np.int64), np.zeros(b)
    user, key, page = draw.integers(0, 50, b), draw.integers(2**64, size=b, dtype=np.uint64), draw.integers(0, 9, b)
    item = draw.integers(-1, 30, shape)
    state = UserState(user, key, page, zero, zero, zero, count, zero, np.empty((b, 0), np.int64))
    luck, who = page_luck(state, item), (key[:, None], user[:, None])
    assert luck.rating.tolist() == uniform(*who, item, purpose=Purpose.RATING).tolist()
    assert luck.take.tolist() == uniform(*who, item, purpose=Purpose.CONSUME).tolist()
    assert luck.look.tolist() == uniform(*who, page[:, None], np.arange(k), purpose=Purpose.EXAMINE).tolist()
    assert luck.mood.tolist() == uniform(key, user, purpose=Purpose.MOOD).tolist()
    assert luck.leave.tolist() == uniform(key, user, page + 1, purpose=Purpose.EXIT).tolist()
