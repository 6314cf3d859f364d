"""Fetching an archive, with a local stand-in for the network."""

import hashlib
import http.client
import io
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from simenv import datasets
from simenv.datasets import download as module
from simenv.datasets.download import MD5, download
from simenv.errors import DataError

BODY = b"the archive"


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str]:
    """Urls asked for; the network serves BODY, which is what ml-1m is published as here; the cache is in tmp_path."""
    urls: list[str] = []

    def urlopen(url: str, timeout: float) -> io.BytesIO:
        assert timeout > 0
        urls.append(url)
        return io.BytesIO(BODY)

    monkeypatch.setattr(urllib.request, "urlopen", urlopen)
    monkeypatch.setitem(MD5, "ml-1m", hashlib.md5(BODY).hexdigest())
    monkeypatch.setattr(module, "cache", lambda: tmp_path / "cache")
    return urls


def test_an_archive_is_fetched_once_and_verified(asked: list[str], tmp_path: Path) -> None:
    path = download("ml-1m", tmp_path / "new" / "folder")
    assert path == tmp_path / "new" / "folder" / "ml-1m.zip"
    assert path.read_bytes() == BODY
    assert download("ml-1m", tmp_path / "new" / "folder") == path
    assert asked == ["https://files.grouplens.org/datasets/movielens/ml-1m.zip"]


def test_without_a_folder_it_goes_to_the_cache(asked: list[str], tmp_path: Path) -> None:
    assert download("ml-1m") == tmp_path / "cache" / "ml-1m.zip"


def test_another_file_than_the_published_one_is_refused_and_not_kept(asked: list[str], tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"checksum \w+ where GroupLens publishes 0e33842e24a9c977be4e0107933c0723"):
        download("ml-100k", tmp_path)
    assert list(tmp_path.glob("*.zip")) + list(tmp_path.glob("*.part")) == []


def test_a_kept_file_that_was_damaged_is_refused(asked: list[str], tmp_path: Path) -> None:
    (tmp_path / "ml-1m.zip").write_bytes(BODY[:-1])
    with pytest.raises(DataError, match=r"Delete it and fetch it again"):
        download("ml-1m", tmp_path)
    assert asked == []


@pytest.mark.parametrize(
    "error",
    [
        urllib.error.URLError("no route"),
        http.client.IncompleteRead(b"x"),
        TimeoutError("slow"),
        ConnectionResetError("cut"),
    ],
)
def test_without_network_the_manual_way_is_named(
    error: Exception, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def urlopen(url: str, timeout: float) -> io.BytesIO:
        raise error

    monkeypatch.setattr(urllib.request, "urlopen", urlopen)
    with pytest.raises(DataError, match=r"could not be fetched .*Without network: download it .* give its path"):
        download("ml-100k", tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_name_lists_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"known are ml-100k, ml-1m, ml-latest-small. Give a path"):
        download("ml-2b", tmp_path)


def test_a_name_that_is_no_path_is_fetched(asked: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match=r"ml-1m.zip: not a whole zip file"):  # BODY is no zip: fetched, then read
        datasets.load("ml-1m")
    assert len(asked) == 1
