"""Persona quality on claims whose truth is known, and on small files in the forms others publish."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from simenv.agents.profile import Profiles
from simenv.catalogue import Catalogue
from simenv.cli import app
from simenv.errors import DataError
from simenv.evaluation.interval import Interval
from simenv.log import InteractionLog
from simenv.study.persona_quality import TRUTH, Arena, opinions, traits, weighted_kappa
from simenv.study.persona_quality_claim import Claims, said, texts
from simenv.study.persona_quality_report import NO_MODEL, report, values
from simenv.study.persona_quality_source import agent4rec, lusifer, own
from simenv.testing.logs import tiny_catalogue, tiny_log
from simenv.training.llm.folder import FolderDistiller

GENRE = ("Comedy", "Drama", "Film-Noir", "Horror", "Romance", "Sci-Fi")
LOG = tiny_log(12, 80)
CATALOGUE = tiny_catalogue(LOG.items)
"""Vocabulary: Comedy, Horror, Romance, Thriller; users of even number like items of even number: comedy and romance."""
USER = np.arange(12)
KNOWN = np.arange(len(LOG)) % 2 == 0


def arena(claims: dict[str, Claims] | None = None, log: InteractionLog = LOG, **how: Any) -> Arena:
    return Arena.of("tiny", log, CATALOGUE, USER, KNOWN, claims or {}, **({"activity": True} | how))


def opinion(right: bool) -> Claims:
    """Comedy and romance liked by users of even number, horror and thrillers by the others; or the other way round."""
    even = (np.arange(12) % 2 == 0) == right
    sign = np.where(even[:, None], [1, -1, 1, -1], [-1, 1, -1, 1]).astype(np.int8)
    return Claims("published", sign, np.full((12, 3), -1, np.int8))


class TestReading:
    @pytest.mark.parametrize(
        ("text", "found"),
        [
            ("I love comedies and a good film noir.", "+ 0 + 0 0 0"),
            ("I enjoy dramatic stories.", "0 0 0 0 0 0"),  # dramatic is no drama
            ("Humorous or romantic, but horror has poorly matched my taste.", "+ 0 0 - + 0"),
            ("I dislike science fiction. I like drama, while sci-fi bores me and I avoid it.", "0 + 0 0 0 -"),
            ("I like comedy. I do not like comedy.", "0 0 0 0 0 0"),
            ("A scary start; romance below what is expected of me.", "0 0 0 + - 0"),
            ("", "0 0 0 0 0 0"),
        ],
    )
    def test_genres_by_clause(self, text: str, found: str) -> None:
        assert said(text, GENRE) == [{"+": 1, "0": 0, "-": -1}[s] for s in found.split()]

    def test_a_counted_profile_reads_as_its_numbers(self) -> None:
        """The reader of texts is right on the one writer whose numbers are known."""
        a = arena()
        counted, read = a.claims["statistical"].opinion, a.claims["statistical, its text read"].opinion
        assert (counted != 0).sum() > 20
        np.testing.assert_array_equal(counted, read)


class TestMeasures:
    def test_kappa_is_that_of_scikit_learn(self) -> None:
        from sklearn.metrics import cohen_kappa_score

        rng = np.random.default_rng(0)
        a, b = rng.integers(0, 3, (2, 200))
        table = np.zeros((200, 9))
        table[np.arange(200), 3 * a + b] = 1
        assert weighted_kappa(table.sum(axis=0)) == pytest.approx(cohen_kappa_score(a, b, weights="quadratic"))
        assert weighted_kappa(np.eye(3).ravel()) == 1

    def test_right_wrong_and_equal_for_all(self) -> None:
        a = arena({"right": opinion(True), "wrong": opinion(False)})
        right, wrong = (opinions(a, name, TRUTH[1]) for name in ("right", "wrong"))
        everybody = opinions(a, "all alike: best rated", TRUTH[1])
        mean = {k: {n: v.mean for n, v in d.items() if v} for k, d in (("+", right), ("-", wrong), ("=", everybody))}
        assert mean["+"]["precision"] > 0.95
        assert mean["+"]["recall"] > 0.95
        assert mean["+"]["against"] > 0.95
        assert mean["-"]["precision"] == pytest.approx(1 - mean["+"]["against"], abs=1e-12)
        assert mean["="]["precision"] == pytest.approx(mean["="]["base"])  # four genres, and all are claimed
        assert mean["="]["lift"] == pytest.approx(1)
        assert mean["+"]["lift"] == pytest.approx(mean["+"]["precision"] / mean["+"]["base"])

    def test_by_hand(self) -> None:
        """One user: comedy 5 5 5, horror 1 1 1 2 held out; comedy often chosen, horror never."""
        items = LOG.items
        rows = [(0, 1, 3), *((0, i, 5) for i in (2, 4, 6)), *((0, i, 1) for i in (3, 5, 7)), (0, 9, 2),
                (1, 1, 3), (1, 2, 1), (1, 4, 1), (1, 6, 1), (1, 3, 4)]  # fmt: skip
        u, i, r = zip(*rows, strict=True)
        log = InteractionLog.of(LOG.users, items, u, i, r, None, LOG.scale)
        known = np.isin(log.item, [1])
        claim = Claims("published", np.array([[1, 1, 0, -1], [0, -1, 0, 0]], np.int8), np.full((2, 3), -1, np.int8))
        a = Arena.of("hand", log, CATALOGUE, np.array([0, 1]), known, {"x": claim}, activity=False)
        true, able = a.liked[TRUTH[1]]
        assert true.tolist() == [[True, False, True, False], [False, True, False, True]]
        assert able.tolist() == [[True] * 4, [True, False, True, False]]  # horror of the second: one rating
        found = opinions(a, "x", TRUTH[1])
        assert {n: v.mean for n, v in found.items() if v} == {
            "precision": 0.5, "recall": 0.5, "base": pytest.approx(2 / 6), "lift": pytest.approx(1.5), "against": 1.0,
        }  # fmt: skip
        often, _ = a.liked[TRUTH[2]]
        assert often.tolist() == [[True, False, True, False], [False, True, False, True]]

    def test_what_is_personal_is_what_the_crowd_does_not_say(self) -> None:
        """Everybody rates comedies one point higher: own means say all like them, and nobody does more than others."""
        even = (LOG.item % 2 == 0).astype(np.float32)
        calm = replace(LOG, rating=np.float32(3) + even)
        a = arena(log=calm)
        comedy = [a.liked[truth][0][:, 0].mean() for truth in TRUTH[:2]]
        assert comedy[1] == 1
        gap = calm.rating[~KNOWN] - a.crowd.item_offset[calm.item[~KNOWN]] - a.crowd.mean
        assert np.abs(gap).max() < 0.5  # only shrinkage is left of it
        a = arena({"right": opinion(True)})
        own, alike = (opinions(a, n, TRUTH[0]) for n in ("right", "all alike: best rated"))
        assert own["precision"].mean > 0.95  # type: ignore[union-attr]
        assert alike["lift"].mean == pytest.approx(1)  # type: ignore[union-attr]

    def test_levels(self) -> None:
        a = arena()
        for trait in range(3):
            same = replace(a, claims={"echo": Claims("published", opinion(True).opinion, a.level)})
            found = traits(same, "echo", trait)
            assert found["accuracy"] == Interval(1.0, 1.0, 1.0)
        own_cuts = Profiles.of_log(a.held, USER, a.crowd, CATALOGUE).level
        np.testing.assert_array_equal(a.level, own_cuts)
        quiet = arena(activity=False)
        assert traits(quiet, "statistical", 0) == {"accuracy": None, "kappa": None}
        assert traits(quiet, "statistical", 1)["kappa"] is not None
        assert traits(a, "all alike: best rated", 1)["accuracy"] is None

    def test_held_out_rows_make_the_truth_and_no_claim(self) -> None:
        other = replace(LOG, rating=np.where(KNOWN, LOG.rating, 6 - LOG.rating).astype(np.float32))
        a, b = arena(), arena(log=other)
        for name, claims in a.claims.items():
            np.testing.assert_array_equal(claims.opinion, b.claims[name].opinion)
            np.testing.assert_array_equal(claims.level, b.claims[name].level)
        assert (a.liked[TRUTH[0]][0] != b.liked[TRUTH[0]][0]).mean() > 0.5

    def test_the_order_of_users_does_not_matter(self) -> None:
        order = np.random.default_rng(1).permutation(12)
        one = opinion(True)
        two = replace(one, opinion=one.opinion[order], level=one.level[order])
        a = arena({"x": one})
        b = Arena.of("tiny", LOG, CATALOGUE, USER[order], KNOWN, {"x": two}, activity=True)
        for name in a.claims:
            found = [{n: v and v.mean for n, v in opinions(z, name, TRUTH[0]).items()} for z in (a, b)]
            assert found[0] == pytest.approx(found[1], nan_ok=True)

    def test_refused(self) -> None:
        with pytest.raises(DataError, match="spoken of twice"):
            Arena.of("x", LOG, CATALOGUE, np.array([1, 1]), KNOWN, {}, activity=True)
        with pytest.raises(DataError, match="fewer than two users have known and held-out ratings"):
            Arena.of("x", LOG, CATALOGUE, USER, np.ones(len(LOG), bool), {}, activity=True)


def lines(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("\n".join(json.dumps(r) for r in rows))
    return path


class TestSources:
    def test_agent4rec(self, tmp_path: Path) -> None:
        catalogue = replace(CATALOGUE, title=tuple(f"The Story {n}" for n in range(80)))
        named = {u: LOG.history(u)[0][:4].tolist() for u in (2, 5)}
        personas = [
            {"ml1m_user_id": 101 + u, "taste": ["I enjoy comedies.", "I don't mind romance."],
             "low_rating": "The user tends to give low ratings to horror.",
             "movies": [f"Story {items[0]}, The (1990); The Story {items[1]}", f"The Story {items[2]} (1994);Nonsense"]}
            for u, items in named.items()
        ]  # fmt: skip
        run = [{"run": "lightgcn_1000", "ml1m_user_id": 103, "activity": "An Occasional Viewer, seldom attracted",
                "conformity": "A Maverick Critic", "diversity": "A Cinematic Trailblazer"}]  # fmt: skip
        a = agent4rec(lines(tmp_path / "p", personas), lines(tmp_path / "r", run), LOG, catalogue)
        claims = a.claims["Agent4Rec"]
        assert a.user.tolist() == [2, 5]
        assert claims.opinion.tolist() == [[1, -1, 1, 0]] * 2
        assert claims.level.tolist() == [[1, 0, 2], [-1, -1, -1]]
        for u, items in named.items():
            assert set(a.log.take(a.known).history(u)[0].tolist()) == set(items[:3])
        with pytest.raises(DataError, match="line 1: 'taste' is missing"):
            agent4rec(lines(tmp_path / "x", [{"ml1m_user_id": 1}]), tmp_path / "r", LOG, catalogue)

    def test_lusifer(self, tmp_path: Path) -> None:
        late = LOG.to_frame()[~KNOWN].rename(columns={"user": "user_id", "item": "movie_id"})
        number = {raw: n for n, raw in enumerate(LOG.items.ids)}
        log = InteractionLog.from_frame(LOG.to_frame().assign(item=lambda f: f["item"].map(number)))
        late["movie_id"] = late["movie_id"].map(number)
        late[late["user_id"] < 110].to_csv(tmp_path / "test.csv", index=False)
        text = ["I like comedy."] * 9 + ["", None, "I like horror."]
        pd.DataFrame({"user_id": LOG.users.ids, "user_profile": text}).to_csv(tmp_path / "p.csv", index=False)
        catalogue = tiny_catalogue(log.items)
        a = lusifer(tmp_path / "p.csv", tmp_path / "test.csv", log, catalogue)
        assert a.user.tolist() == list(range(9))  # the last one has a text and nothing held out
        assert len(a.held) == (late["user_id"] < 110).sum()
        assert (a.claims["Lusifer"].opinion == [1, 0, 0, 0]).all()
        pd.DataFrame({"user_id": [101], "movie_id": [79_000]}).to_csv(tmp_path / "other.csv", index=False)
        with pytest.raises(DataError, match="1 of its pairs are not in the log"):
            lusifer(tmp_path / "p.csv", tmp_path / "other.csv", log, catalogue)

    def test_own_users_with_and_without_a_language_model(self) -> None:
        split = LOG.split("user_time", 0.5)
        member = np.array([1, 4, 7])
        told = _told(split.past, member)
        a = own("mine", split.past, split.future, member, CATALOGUE, told)
        assert a.claims["reader"].opinion[:, 0].tolist() == [1, 1, 1]
        assert a.claims["reader"].level.tolist() == [[0, 1, 2]] * 3
        assert len(a.held) == len(split.future.of_users(member))
        assert len(a.log.take(a.known)) == len(split.past)
        with pytest.raises(DataError, match="distilled from other rows"):
            own("mine", LOG, split.future, member, CATALOGUE, told)
        found = values([own("mine", split.past, split.future, member, CATALOGUE)])
        assert NO_MODEL in report(found, {}).verdict
        assert NO_MODEL not in report(values([a]), {}).verdict
        page = report(values([a]), {})
        rows = {r["writer"]: r for r in page.sections[0].rows}
        assert rows["reader"]["kind"] == "written"
        assert rows["statistical"]["precision"] == opinions(a, "statistical", TRUTH[0])["precision"]
        assert "reader" in page.to_markdown()


def _told(past: InteractionLog, member: np.ndarray[Any, Any]) -> FolderDistiller:
    rows = [
        {"user": past.users.ids[u], "stages": [[5, [0, 0, 0], "x"], [9, [0, 1, 2], "I like comedy."]]} for u in member
    ]
    account = {"model": "reader", "past": past.of_users(member).fingerprint, "about": {}}
    return FolderDistiller(Path("told"), account, tuple(rows))


def test_the_command(tmp_path: Path) -> None:
    words = [
        "reproduce",
        "personas",
        "synthetic:150x120",
        "--min-ratings",
        "20",
        "--max-ratings",
        "400",
        "--json",
        tmp_path / "v.json",
    ]
    done = CliRunner().invoke(app, [str(w) for w in words], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    (found,) = json.loads((tmp_path / "v.json").read_text()).values()
    lift = {n: w["genres"][TRUTH[0]]["lift"] for n, w in found["writers"].items()}
    assert lift["statistical"]["low"] > 1  # tastes are real there
    assert abs(lift["all alike: most chosen"]["mean"] - 1) < 0.1
    half = CliRunner().invoke(app, ["reproduce", "personas", "synthetic:60x60", "--lusifer", "x"])
    assert half.exit_code == 2
    assert "--lusifer and --lusifer-test go together" in half.output


def test_a_catalogue_without_genres_claims_nothing() -> None:
    a = Arena.of("bare", LOG, Catalogue.bare(LOG.items), USER, KNOWN, {}, activity=True)
    assert opinions(a, "statistical", TRUTH[0])["precision"] is None
    assert texts(["x"], (), "written").opinion.shape == (1, 0)
