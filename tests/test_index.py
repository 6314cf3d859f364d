import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simenv.errors import DataError, UnknownIdError
from simenv.index import Index, RawId

ids = st.one_of(st.lists(st.integers(-(10**12), 10**12), unique=True), st.lists(st.text(max_size=6), unique=True))


@given(ids)
def test_decode_undoes_encode(raw: list[RawId]) -> None:
    index = Index(tuple(raw))
    assert index.encode(raw).tolist() == list(range(len(raw)))
    assert index.decode(index.encode(raw)) == raw
    assert all(r in index for r in raw)


@given(ids)
def test_of_sorts_and_forgets_repeats(raw: list[RawId]) -> None:
    index = Index.of([*raw, *raw])
    assert list(index.ids) == sorted(raw, key=lambda r: r)


def test_numpy_scalars_become_python_ones() -> None:
    index = Index.of(np.array([3, 1, 3]))
    assert index.ids == (1, 3)
    assert {type(i) for i in index.ids} == {int}
    assert Index.of(np.array(["b", "a"])).ids == ("a", "b")


@given(ids, ids)
def test_fingerprints_tell_indices_apart(a: list[RawId], b: list[RawId]) -> None:
    assert (Index(tuple(a)).fingerprint == Index(tuple(b)).fingerprint) == (a == b)


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        ((1, "a"), "all int or all str; got int, str"),
        ((1.0, 2.0), "got float"),
        ((True, False), "got bool"),
        ((1, 2, 1), "repeat"),
    ],
)
def test_bad_ids(raw: tuple[RawId, ...], words: str) -> None:
    with pytest.raises(DataError, match=words):
        Index(raw)


def test_an_unknown_id_is_named_with_what_is_known() -> None:
    index = Index(("a", "b"), "user")
    with pytest.raises(UnknownIdError, match=r"unknown user 'x', 'y' \(2 in all\); known are 2 such as 'a', 'b'"):
        index.encode(["a", "x", "y"])
    with pytest.raises(UnknownIdError, match="unknown id 7"):
        Index((1, 2)).encode([7])


def test_what_a_person_types_is_parsed_by_the_kind_of_ids() -> None:
    assert Index((1, -2)).parse("-2") == -2
    assert Index(("1", "2")).parse("2") == "2"
    for index, text in ((Index((1,)), "x"), (Index((1,)), "5"), (Index(("a",)), "b")):
        with pytest.raises(UnknownIdError):
            index.parse(text)


def test_an_empty_index_says_so() -> None:
    assert Index(()).kind == "none"
    assert len(Index(())) == 0
