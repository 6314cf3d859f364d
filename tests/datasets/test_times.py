import pandas as pd
import pytest

from simenv.datasets.tables import from_frame
from simenv.datasets.times import seconds
from simenv.errors import DataError

JAN_2 = 946_771_200
"""2 January 2000, 00:00 UTC."""


@pytest.mark.parametrize(
    ("column", "expected", "note"),
    [
        ([JAN_2, 0], [JAN_2, 0], "Unix seconds"),
        ([JAN_2 + 0.7], [JAN_2], "Unix seconds"),
        ([-1, -86_400], [-1, -86_400], "Unix seconds"),
        ([JAN_2 * 1000 + 999, JAN_2 * 1000 + 1000], [JAN_2, JAN_2 + 1], "Unix milliseconds"),
        ([JAN_2 * 10**6], [JAN_2], "Unix microseconds"),
        ([JAN_2 * 10**9 + 7], [JAN_2], "Unix nanoseconds"),
        ([20000102, 20000103], [JAN_2, JAN_2 + 86_400], "YYYYMMDD"),
        (["2000-01-02", "2000-01-03"], [JAN_2, JAN_2 + 86_400], "ISO 8601"),
        (["2000-01-02T01:00:00+01:00"], [JAN_2], "ISO 8601"),
        (["2000-01-02 00:00:05.9"], [JAN_2 + 5], "ISO 8601"),
        (["01 2, 2000", "01 13, 2000"], [JAN_2, JAN_2 + 11 * 86_400], "%m %d, %Y"),
        (["02.01.2000"], [JAN_2], "%d.%m.%Y"),
        (["1/2/2000", "1/13/2000"], [JAN_2, JAN_2 + 11 * 86_400], "%m/%d/%Y"),
        (["13/1/2000 00:00"], [JAN_2 + 11 * 86_400], "%d/%m/%Y %H:%M"),
        (["2 Jan 2000"], [JAN_2], "%d %b %Y"),
        (pd.to_datetime(["2000-01-02"]), [JAN_2], "ISO 8601"),
        (pd.to_datetime(["2000-01-02"]).tz_localize("Europe/Paris"), [JAN_2 - 3600], "ISO 8601"),
        (pd.to_datetime(["2000-01-02"]).date, [JAN_2], "ISO 8601"),
    ],
)
def test_times_as_people_write_them(column: object, expected: list[int], note: str) -> None:
    found, said = seconds(from_frame(pd.DataFrame({"when": column})), "when")
    assert found.tolist() == expected
    assert note in said
    assert "'when'" in said


def test_the_note_names_the_span_so_that_a_wrong_guess_is_seen() -> None:
    _, said = seconds(from_frame(pd.DataFrame({"t": [1, 2, 3]})), "t")
    assert said.endswith("1970-01-01 to 1970-01-01.")


@pytest.mark.parametrize(
    ("column", "options", "words"),
    [
        ([JAN_2, JAN_2 * 1000], {}, "row label 1, column 'when': .* would be milliseconds where others are seconds"),
        ([JAN_2, float("nan")], {}, "row label 1, column 'when': the cell is empty"),
        ([1.0, float("inf")], {}, "row label 1"),
        (["2000-01-02", "soon"], {}, "row label 1, column 'when': 'soon' is no time simenv can read. Give time_format"),
        (["2000-01-02", "2000-02-30"], {}, "row label 1.*'2000-02-30' is no time"),
        (["3/4/2000", "1/2/2000"], {}, "'3/4/2000' may be %m/%d/%Y or %d/%m/%Y. Say which: time_format="),
        (
            ["3/4/2000", "13/4/2000"],
            {"time_format": "%m/%d/%Y"},
            "row label 1.*'13/4/2000' is no time of the form %m/%d/%Y",
        ),
    ],
)
def test_bad_times(column: list[object], options: dict[str, str], words: str) -> None:
    with pytest.raises(DataError, match=words):
        seconds(from_frame(pd.DataFrame({"when": column})), "when", **options)


def test_dates_that_both_orders_read_alike_are_no_conflict() -> None:
    found, _ = seconds(from_frame(pd.DataFrame({"when": ["1/1/2000", "2/2/2000"]})), "when")
    assert found[0] == JAN_2 - 86_400


def test_a_given_format_settles_an_ambiguity() -> None:
    found, _ = seconds(from_frame(pd.DataFrame({"when": ["2/1/2000"]})), "when", "%d/%m/%Y")
    assert found.tolist() == [JAN_2]
