"""Every example runs, with tiny numbers. A new file in examples/ without a row here fails."""

import importlib.util
import sys
from pathlib import Path
from typing import Any

import pytest

FOLDER = Path(__file__).parents[1] / "examples"
TINY: dict[str, dict[str, Any]] = {
    "quickstart": {"size": (120, 60), "members": 12, "steps": 20, "pages": 1},
    "own_data": {"size": (80, 60), "steps": 2, "min_ratings": 20},
    "plug_in_a_recommender": {"n_users": 20, "n_items": 40, "pages": 1},
    "reproduce_table1": {"rows": (0, 6), "size": (80, 60), "users": 10, "steps": 2, "train_rows": (30, 12)},
    "train_an_rl_agent": {"steps": 64, "users": 4, "pages": 2},
    "train_loop": {"steps": 3, "num_envs": 4, "slate_size": 3},
}


def run(name: str, **numbers: Any) -> Any:
    path, name = FOLDER / f"{name}.py", f"example_{name}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module.main(**numbers)


def test_every_example_is_tested() -> None:
    assert {p.stem for p in FOLDER.glob("*.py")} == set(TINY)


@pytest.mark.parametrize("name", sorted(TINY))
def test_example(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    run(name, **TINY[name])
    assert capsys.readouterr().out.strip()


def test_quickstart_on_a_file_of_ones_own(tmp_path: Path) -> None:
    from simenv.datasets.synthetic import generate

    generate(3, n_users=100, n_items=60).log.to_frame().to_csv(tmp_path / "ratings.csv", index=False)
    outcome = run("quickstart", data=str(tmp_path / "ratings.csv"), folder=str(tmp_path), **TINY["quickstart"])
    assert set(outcome.headline) == {"random", "popular", "item-knn", "als", "content"}
    assert (tmp_path / "report.html").is_file()
