import pytest
from hypothesis import given
from hypothesis import strategies as st

from simenv.datasets.titles import Title, key, parse, spoken


@pytest.mark.parametrize(
    ("raw", "title"),
    [
        ("Big Lebowski, The (1998)", Title("The Big Lebowski", 1998)),
        ("Walk in the Clouds, A (1995)", Title("A Walk in the Clouds", 1995)),
        ("Postino, Il (1994)", Title("Il Postino", 1994)),
        ("Enfer, L' (1994)", Title("L'Enfer", 1994)),
        ("Boot, Das (1981)", Title("Das Boot", 1981)),
        ("Norte, El (1983)", Title("El Norte", 1983)),
        (
            "Cité des enfants perdus, La (City of Lost Children, The) (1995)",
            Title("La Cité des enfants perdus", 1995, ("The City of Lost Children",)),
        ),
        (
            "Terrorist, The (a.k.a. Malli) (Theeviravaathi) (1998)",
            Title("The Terrorist", 1998, ("Malli", "Theeviravaathi")),
        ),
        ("Land Before Time III: The Great Giving (1995) (V)", Title("Land Before Time III: The Great Giving", 1995)),
        ("Cosmos: A Series (2006–2007)", Title("Cosmos: A Series", 2006)),
        ("96 Minutes (2011) ", Title("96 Minutes", 2011)),
        (
            "And God Created Woman (Et Dieu&#8230;Créa la Femme) (1956)",
            Title("And God Created Woman", 1956, ("Et Dieu…Créa la Femme",)),
        ),
        ("Outer (Inner (Nested)) (2000)", Title("Outer", 2000, ("Inner (Nested)",))),
        ("(500) Days of Summer (2009)", Title("(500) Days of Summer", 2009)),
        ("(Untitled) (2009)", Title("(Untitled)", 2009)),
        ("1984 (1984)", Title("1984", 1984)),
        ("2012", Title("2012", 0)),
        ("(1995)", Title("(1995)", 0)),
        ("unknown", Title("unknown", 0)),
        ("Monsters, Inc. (2001)", Title("Monsters, Inc.", 2001)),
        ("Bye Bye, Love (1995)", Title("Bye Bye, Love", 1995)),
        ("Unbalanced) (1995)", Title("Unbalanced)", 1995)),
    ],
)
def test_titles_as_people_say_them(raw: str, title: Title) -> None:
    assert parse(raw) == title


@given(st.text(max_size=40))
def test_no_text_breaks_it_and_a_name_is_left(raw: str) -> None:
    assert bool(parse(raw).name) == bool(raw.split())


@given(
    st.sampled_from(["The", "La", "L'", "Der"]), st.text("abcé ", min_size=1, max_size=12).map(str.strip).filter(bool)
)
def test_an_article_moves_to_the_front_once(article: str, rest: str) -> None:
    front = spoken(f"{rest}, {article}")
    assert front.replace(" ", "") == (article + rest).replace(" ", "")
    assert spoken(front) == front


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("The Postman", "postman"),
        ("Les Misérables", "Miserables"),
        ("Tom & Huck", "Tom and Huck"),
        ("L'Enfer", "enfer"),
    ],
)
def test_spellings_of_one_title_share_a_key(one: str, other: str) -> None:
    assert key(one) == key(other)


def test_titles_without_latin_letters_keep_a_key() -> None:
    assert key("七人の侍") != key("羅生門")
