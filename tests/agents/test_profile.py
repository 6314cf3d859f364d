"""Profiles: numbers against hand-made cases, words that carry them, batches and ids that do not matter."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from simenv.agents.crowd import Crowd
from simenv.agents.cues import Taste
from simenv.agents.description import Liking, people
from simenv.agents.profile import Profiles, TraitCuts
from simenv.catalogue import Catalogue
from simenv.errors import DataError, StoreError
from simenv.index import Index
from simenv.log import InteractionLog
from simenv.scale import RatingScale
from simenv.testing.logs import tiny_catalogue, tiny_log

NAN = float("nan")
CUTS = TraitCuts((2, 4), (0.5, 1.0), (1, 2))


def five_items() -> Catalogue:
    frame = pd.DataFrame(
        {
            "item": [10, 20, 30, 40, 50],
            "title": ["Alpha", "Beta", "Gamma", "Delta", "Epsilon"],
            "genres": ["Drama", "Drama|War", "War", "Comedy", "Comedy"],
            "cast": ["Ann", "Ann|Bob", "Bob", "Cid", "Cid"],
            "director": ["Dee", "Dee", "Eve", "Eve", "Flo"],
        }
    )
    return Catalogue.from_frame(frame, Index((10, 20, 30, 40, 50), "item"), noun="film")


def flat_crowd(catalogue: Catalogue) -> Crowd:
    """A crowd that gives everything 3, so that every number can be had with a pencil."""
    items = catalogue.items
    log = InteractionLog.of(Index((1,)), items, [0] * 5, range(5), [3.0] * 5, None, RatingScale())
    return replace(Crowd.fit(log, catalogue), item_mean=np.full(5, 3, np.float32), item_offset=np.zeros(5, np.float32))


def profiles(item: list[list[int]], rating: list[list[float]], cuts: TraitCuts | None = CUTS) -> Profiles:
    catalogue = five_items()
    crowd = flat_crowd(catalogue)
    return Profiles.of(crowd, catalogue, RatingScale(), np.array(item), np.array(rating, np.float32), cuts=cuts)


def example() -> Profiles:
    """Three users: five ratings, one rating, none."""
    return profiles(
        [[0, 1, 2, 3, 4], [3, -1, -1, -1, -1], [-1] * 5],
        [[5, 5, 3, 1, 1], [2, NAN, NAN, NAN, NAN], [NAN] * 5],
    )


def test_moments_and_shares_by_hand() -> None:
    made = example()
    assert made.count.tolist() == [5, 1, 0]
    np.testing.assert_allclose(made.mean, [3.0, 2.0, NAN])
    np.testing.assert_allclose(made.spread, [np.sqrt(16 / 5), NAN, NAN], rtol=1e-6)
    np.testing.assert_allclose(made.share[0], [0.4, 0, 0.2, 0, 0.4])
    np.testing.assert_allclose(made.share[1], [0, 1, 0, 0, 0])
    assert not made.share[2].any()


def test_traits_by_hand() -> None:
    made = example()
    np.testing.assert_allclose(made.trait[0], [5, 16 / 5, 3], rtol=1e-6)  # mass 1.5, 1.5, 2 of 5: two hold 3.5 < 4
    np.testing.assert_allclose(made.trait[1], [1, 1, 1])
    np.testing.assert_allclose(made.trait[2], [0, NAN, NAN])
    assert made.level.tolist() == [[2, 0, 2], [0, 1, 0], [0, -1, -1]]


def test_genres_by_hand() -> None:
    made = example()
    assert made.genre_name == ("Comedy", "Drama", "War")
    assert made.genre_count[0].tolist() == [2, 2, 2]
    # mean 3, so the severity is 0 and the residuals are 2, 2, 0, -2, -2; shares of genres count, damped by 3
    np.testing.assert_allclose(made.genre[0], [-4 / 5, 3 / 4.5, 1 / 4.5], rtol=1e-6)
    assert made.liked[0].tolist() == [1, 2, -1, -1, -1]
    assert made.disliked[0].tolist() == [0, -1, -1, -1, -1]
    assert (made.liked[1:] == -1).all()
    assert (made.disliked[1:] == -1).all()  # one rating is not a taste


def test_people_by_hand() -> None:
    liked, disliked = people(five_items(), np.arange(5), np.array([2, 2, 0, -2, -2], np.float32))
    assert liked == (Liking("Ann", 0.8, 2), Liking("Dee", 0.8, 2), Liking("Bob", 0.4, 2))
    assert disliked == (Liking("Cid", -0.8, 2), Liking("Eve", -0.4, 2))


def test_severity_and_recency_are_those_of_taste() -> None:
    log = tiny_log()
    crowd = Crowd.fit(log, catalogue := tiny_catalogue(log.items))
    context = log.padded(np.arange(12))
    taste = Taste.of(crowd, *context)
    made = Profiles.of(crowd, catalogue, log.scale, *context, cuts=CUTS)
    again = Profiles.of(crowd, catalogue, log.scale, *context, cuts=CUTS, taste=taste)
    for name, own in (("severity", taste.offset), ("recent", taste.recent), ("obscure", taste.obscure)):
        np.testing.assert_array_equal(getattr(made, name), own)
        np.testing.assert_array_equal(getattr(again, name), own)


def test_words_hold_the_right_genres_people_and_numbers() -> None:
    text = example()[0].text
    for words in (
        "I have rated 5 films, on average 3.0 out of 5 (40% 5, 20% 3, 40% 1).",
        "standard deviation 1.8",
        "Kinds of film I rate above what is expected of me: Drama (+0.7 over 2 films), War (+0.2 over 2 films).",
        "Kinds of film I rate below what is expected of me: Comedy (-0.8 over 2 films).",
        "above what is expected of me: Ann (+0.8 over 2 films), Dee",
        "below what is expected of me: Cid (-0.8 over 2 films), Eve",
        "Activity: devoted.",
        "Conformity: independent.",
        "Diversity: wide-ranging.",
    ):
        assert words in text
    assert len(text.split()) < 2000


@pytest.mark.parametrize(
    ("rating", "words"), [(5.0, "I am milder than others: 0.8 above"), (1.0, "harsher than others: 0.8 below")]
)
def test_severity_has_the_right_sign_in_words(rating: float, words: str) -> None:
    assert words in profiles([[0, 1, 2, 3, 4]], [[rating] * 5])[0].text  # 2 * 5 / (5 + 8)


def test_recent_and_obscure_have_the_right_sign_in_words() -> None:
    one = replace(example()[0], count=20, recent=-0.3, obscure=0.6)
    assert "harsher: my last ten scores ran 0.3 below" in one.description
    assert "I favour well-known films over obscure ones (by 0.6" in one.description
    other = replace(one, recent=0.3, obscure=-0.6)
    assert "milder: my last ten scores ran 0.3 above" in other.description
    assert "I favour obscure films over well-known ones" in other.description


def test_one_and_no_rating_are_said_plainly() -> None:
    made = example()
    assert "I have rated 1 film, on average 2.0" in made[1].text
    assert "very little to know me by" in made[1].text
    assert "not rated any film yet" in made[2].text
    assert [t.level for t in made[2].traits] == ["occasional", "unknown", "unknown"]
    assert made[2].to_dict()["mean"] is None
    assert not any("nan" in p.text for p in made)
    assert not any("nan" in line for line in made.compact())


def test_things_without_genres_read_well() -> None:
    log = tiny_log()
    bare = Catalogue.bare(log.items, noun="coat")
    made = Profiles.of_log(log, np.arange(12), Crowd.fit(log, bare), bare)
    assert "coats" in made[0].text
    assert "film" not in made[0].text
    assert "Kinds" not in made[0].text
    assert made[0].traits[2].level == "unknown"
    assert made.compact()[0].endswith("likes - dislikes -")


def test_compact_line_holds_the_numbers() -> None:
    assert example().compact()[0] == (
        "ratings 5 mean 3.0 spread 1.8 severity +0.0 recent +0.0 popular -1.8 activity high conformity low "
        "diversity high shares 40 0 20 0 40 likes Drama +0.7, War +0.2 dislikes Comedy -0.8"
    )


def test_half_stars() -> None:
    catalogue = five_items()
    scale = RatingScale(tuple(np.arange(1, 11) / 2))
    made = Profiles.of(flat_crowd(catalogue), catalogue, scale, np.array([[0, 1]]), np.array([[0.5, 4.5]]), cuts=CUTS)
    assert made.share[0].tolist() == [0.5, 0, 0, 0, 0, 0, 0, 0, 0.5, 0]
    assert "(50% 4.5, 50% 0.5)" in made[0].text


def test_cuts_are_the_percentiles_and_ignore_the_unknown() -> None:
    trait = np.array([[n, 11 - n, 2 * n] for n in range(1, 11)] + [[0, NAN, NAN]])
    cuts = TraitCuts.of(trait)
    assert cuts.activity == pytest.approx((6.4, 9.1))
    assert cuts.conformity == pytest.approx((3.25, 8.2))
    assert cuts.diversity == pytest.approx((7.94, 13.88))
    level = cuts.level(trait)
    assert np.bincount(level[:10, 0]).tolist() == [6, 3, 1]
    assert level[9].tolist() == [2, 2, 2]  # the smallest gap follows the crowd most
    assert level[10].tolist() == [0, -1, -1]
    assert TraitCuts.from_dict(cuts.to_dict()) == cuts


def test_padding_and_batch_do_not_matter() -> None:
    log = tiny_log()
    crowd = Crowd.fit(log, catalogue := tiny_catalogue(log.items))
    user = np.array([7, 2, 9, 0])
    whole = Profiles.of_log(log, np.arange(12), crowd, catalogue)
    some = Profiles.of_log(log, user, crowd, catalogue, cuts=whole.cuts)
    alone = Profiles.stack([Profiles.of_log(log, user[[n]], crowd, catalogue, cuts=whole.cuts) for n in range(4)])
    for other in (some, alone):
        assert [p.text for p in other] == [whole[int(u)].text for u in user]
        assert other.compact() == [whole.compact()[u] for u in user]
        np.testing.assert_allclose(other.genre, whole.genre[user], atol=1e-6)


def test_renamed_ids_change_nothing() -> None:
    log = tiny_log()
    catalogue = tiny_catalogue(log.items)
    items = Index(tuple(f"other {n}" for n in range(log.n_items)), "item")
    users = Index(tuple(f"someone {n}" for n in range(log.n_users)), "user")
    named = replace(log, items=items, users=users)
    texts = []
    for own_log, own_items in ((log, catalogue), (named, replace(catalogue, items=items))):
        crowd = Crowd.fit(own_log, own_items)
        texts.append([p.text for p in Profiles.of_log(own_log, np.arange(12), crowd, own_items)])
    assert texts[0] == texts[1]


def test_take_and_save_keep_everything(tmp_path: Path) -> None:
    log = tiny_log()
    crowd = Crowd.fit(log, catalogue := tiny_catalogue(log.items))
    whole = Profiles.of_log(log, np.arange(12), crowd, catalogue)
    part = whole.take(np.array([5, 1]))
    assert [p.text for p in part] == [whole[5].text, whole[1].text]
    assert len(whole.take(whole.count > 1000)) == 0
    part.save(tmp_path / "profiles")
    again = Profiles.load(tmp_path / "profiles", catalogue)
    assert [p.text for p in again] == [p.text for p in part]
    assert (again.cuts, again.scale) == (part.cuts, part.scale)
    with pytest.raises(StoreError, match="other items"):
        Profiles.load(tmp_path / "profiles", five_items())
    np.savez(tmp_path / "foreign.npz", x=np.zeros(1))
    with pytest.raises(StoreError, match="holds no profiles"):
        Profiles.load(tmp_path / "foreign.npz", catalogue)


@pytest.mark.parametrize(
    ("item", "rating", "words"),
    [
        ([[0, 1]], [[3.0]], "one shape"),
        ([[0, 1]], [[3.0, 3.3]], "3.3 is not on the scale"),
        ([[-1]], [[NAN]], "at least one user with a known rating"),
    ],
)
def test_bad_contexts(item: list[list[int]], rating: list[list[float]], words: str) -> None:
    with pytest.raises(DataError, match=words):
        profiles(item, rating, cuts=None)


def test_a_row_that_does_not_exist() -> None:
    with pytest.raises(IndexError, match="row 3 of 3"):
        example()[3]
    assert example()[-1].count == 0


def test_batches_without_ratings_or_users() -> None:
    log = tiny_log()
    catalogue = tiny_catalogue(log.items)
    crowd = Crowd.fit(log, catalogue)
    nobody = log.take(log.user != 1)
    made = Profiles.of_log(nobody, np.array([1]), crowd, catalogue, cuts=CUTS)
    assert made.count.tolist() == [0]
    assert "not rated any film" in made[0].text
    assert len(Profiles.of_log(log, np.empty(0, np.int64), crowd, catalogue, cuts=CUTS)) == 0


def test_compact_form_is_fast() -> None:
    many = example().take(np.tile(np.arange(3), 2000))
    begin = time.process_time()
    many.compact()
    assert len(many) / (time.process_time() - begin) > 5000
