"""The shape of the project: light imports, kept layers, complete wheels, and no trace of the machine it was made on.

Each check is shown to fail on a bad example first: a check that cannot fail guards nothing.
"""

import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from collections.abc import Iterable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
HEAVY = ("torch", "transformers", "peft", "accelerate", "gymnasium", "implicit", "faiss", "sklearn", "rich", "typer")
CODE = {"simenv": "simenv", "agents": "simenv/agents", "recommenders": "simenv/recommenders"}
CODE |= {"training": "simenv/training"}
"""Folder of the repository -> folder in a wheel."""


def loaded_by(statement: str, names: Iterable[str] = HEAVY) -> set[str]:
    """Return which of the modules a statement loads in a fresh interpreter."""
    code = f"{statement}\nimport sys\nprint(*[n for n in {tuple(names)!r} if n in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    return set(done.stdout.split())


class TestLightImport:
    def test_the_check_sees_a_heavy_import(self) -> None:
        assert loaded_by("import gymnasium, simenv") == {"gymnasium"}

    def test_simenv_is_light(self) -> None:
        assert loaded_by("import simenv") == set()

    def test_help_is_light(self) -> None:
        assert loaded_by("import simenv.cli", [n for n in HEAVY if n != "typer"]) <= {"rich"}

    def test_contestants_load_no_weights(self) -> None:
        assert not loaded_by("import simenv.recommenders", HEAVY) & {"torch", "transformers", "peft", "gymnasium"}


class TestLayers:
    """import-linter's contracts stand in pyproject.toml; here they are run, and one is seen to break."""

    def test_contracts_are_kept(self) -> None:
        done = lint(ROOT / "pyproject.toml")
        assert done.returncode == 0, done.stdout
        assert re.search(r"Contracts: \d+ kept, 0 broken", done.stdout)

    def test_a_broken_contract_is_seen(self, tmp_path: Path) -> None:
        rule = '[tool.importlinter]\nroot_package = "simenv"\n\n[[tool.importlinter.contracts]]\nname = "upside down"\n'
        rule += 'type = "layers"\nlayers = ["simenv.errors", "simenv.log"]\n'
        (tmp_path / "pyproject.toml").write_text(rule)
        assert lint(tmp_path / "pyproject.toml").returncode != 0


def lint(config: Path) -> "subprocess.CompletedProcess[str]":
    pytest.importorskip("importlinter", reason="the contracts are checked where the dev extra is installed")
    code = "import sys; from importlinter.cli import lint_imports_command as run; run(sys.argv[1:])"
    command = [sys.executable, "-c", code, "--config", str(config), "--no-cache"]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)


class TestPackaging:
    def test_every_package_is_named(self) -> None:
        named = set(tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"])
        assert packages() == named

    def test_links_lead_to_the_folders(self) -> None:
        for name in ("agents", "recommenders", "training"):
            assert (ROOT / "simenv" / name).resolve() == ROOT / name

    def test_wheel_and_sdist_hold_all_modules_and_nothing_else(self, tmp_path: Path) -> None:
        built = build(tmp_path)
        modules = {f"{CODE[top]}{path}" for top, path in sources()}
        wheel = {n for n in zipfile.ZipFile(built[".whl"]).namelist() if not n.split("/")[0].endswith(".dist-info")}
        assert wheel == modules | {"simenv/py.typed"}
        with tarfile.open(built[".gz"]) as archive:
            names = {n.partition("/")[2] for n in archive.getnames()}
        assert {f"{top}{path}" for top, path in sources()} | {"LICENSE", "README.md", "pyproject.toml"} <= names


def packages() -> set[str]:
    """Return the dotted names of all packages there are."""
    found = {path.parent for top in CODE for path in (ROOT / top).rglob("__init__.py") if not _linked(path)}
    dotted = [".".join(p.relative_to(ROOT).parts) for p in found]
    return {d if d.startswith("simenv") else f"simenv.{d}" for d in dotted}


def sources() -> list[tuple[str, str]]:
    """Return (top folder, path below it) of every module."""
    found = [(top, path) for top in CODE for path in (ROOT / top).rglob("*.py") if not _linked(path)]
    return [(top, "/" + path.relative_to(ROOT / top).as_posix()) for top, path in found]


def _linked(path: Path) -> bool:
    return any(parent.is_symlink() for parent in path.parents)


def build(folder: Path) -> dict[str, Path]:
    """Build wheel and sdist of the tracked files in a copy, with the setuptools at hand, and return them by suffix."""
    pytest.importorskip("setuptools", reason="building needs setuptools")
    copy = folder / "copy"
    listed = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], capture_output=True, text=True, cwd=ROOT)
    if listed.returncode:
        pytest.skip("not a git checkout")
    for name in listed.stdout.splitlines():
        source, target = ROOT / name, copy / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_symlink():
            target.symlink_to(source.readlink())
        elif source.is_file():
            target.write_bytes(source.read_bytes())
    code = "import sys; from setuptools import build_meta as b; f = sys.argv[1]; b.build_wheel(f); b.build_sdist(f)"
    subprocess.run([sys.executable, "-c", code, str(folder)], check=True, capture_output=True, cwd=copy)
    return {path.suffix: path for path in folder.iterdir() if path.is_file()}


class TestNoTraces:
    """The project speaks of itself alone: no folder of a machine, no host of packages."""

    PATTERN = re.compile(
        r"(?:^|[\s\"'(=:])/(?:home|root|work|Users|mnt|opt|farm)/[\w.-]|[A-Z]:\\\\Users|https?://\S*(?:pypi|simple/|whl)"
    )

    def test_the_check_sees_them(self) -> None:
        bad = ['open("/' + 'home/me/x")', "see /" + "root/data", "-i https" + "://download.example.org/whl/cpu"]
        assert all(self.PATTERN.search(line) for line in bad)

    def test_no_tracked_file_has_any(self) -> None:
        listed = subprocess.run(["git", "ls-files"], capture_output=True, text=True, cwd=ROOT)
        if listed.returncode:
            pytest.skip("not a git checkout")
        hits = [
            f"{name}:{number}: {line.strip()[:100]}"
            for name in listed.stdout.splitlines()
            if (ROOT / name).is_file()
            for number, line in enumerate((ROOT / name).read_text("utf-8", errors="ignore").splitlines(), 1)
            if self.PATTERN.search(line)
        ]
        assert hits == []


class TestDocuments:
    def test_the_readme_commands_exist(self) -> None:
        text = (ROOT / "README.md").read_text("utf-8")
        install = "python3 -m venv .venv && .venv/bin/pip install -q -c .ci/constraints.txt -e "
        assert f"{install}. && .venv/bin/simenv demo" in text
        assert f'{install}".[test]" && .venv/bin/pytest' in text

    @pytest.mark.parametrize("document", ["README.md", "docs/architecture.md", "CHANGELOG.md"])
    def test_files_that_are_named_exist(self, document: str) -> None:
        named = re.findall(r"`((?:simenv|agents|recommenders|training|examples|benchmarks|docs|tests)/[\w./-]+)`",
                           (ROOT / document).read_text("utf-8"))  # fmt: skip
        assert [name for name in named if not (ROOT / name).exists() and name != "simenv/Slate-v0"] == []
