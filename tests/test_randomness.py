"""Hashes are those of SplitMix64; what hashes have in common can be mixed once without changing a bit."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simenv.randomness import Purpose, absorb, counter_hash, pair, quantile, uniform, word

counters = st.lists(st.integers(-1, 2**40), min_size=1, max_size=4)


def test_the_first_words_of_splitmix64() -> None:
    golden = 0x9E3779B97F4A7C15
    states = np.array([0, golden, 2 * golden % 2**64], np.uint64)
    wanted = [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F]  # seed 0, as other implementations give them
    assert word(states).tolist() == wanted


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**64 - 1), counters)
def test_a_hash_absorbs_one_counter_after_the_other(key: int, counter: list[int]) -> None:
    state = word(np.array([key], np.uint64))
    for c in counter:
        state = absorb(state, word([c]))
    assert state.tolist() == counter_hash(np.array([key], np.uint64), *counter).tolist()
    number = int(counter_hash(np.uint64(key), *counter))
    assert number == int(state[0]), "numbers and arrays give one hash"


def test_uniforms_are_the_upper_bits_of_the_hash_and_never_0_or_1() -> None:
    key = np.arange(5, dtype=np.uint64)
    drawn = uniform(key, 3, purpose=Purpose.EXIT)
    assert drawn.tolist() == quantile(counter_hash(key, 3, int(Purpose.EXIT))).tolist()
    low, high = quantile(np.array([0, 2**64 - 2**11], np.uint64))
    assert low == 2.0**-54
    assert high == pytest.approx(1, abs=1e-15)
    assert low > 0


@pytest.mark.parametrize("n", [0, 1, 3])
def test_a_pair_is_hashed_alike_alone_and_among_others(n: int) -> None:
    draw = np.random.default_rng(n)
    key, counter = draw.integers(2**64, size=n, dtype=np.uint64), draw.integers(-1, 2**40, n)
    assert pair(key, counter).tolist() == counter_hash(key, counter).tolist()
