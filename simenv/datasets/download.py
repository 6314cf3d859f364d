"""The official MovieLens archives: where they are, what their checksum is, and fetching one of them.

MovieLens is free for research with acknowledgement and may not be passed on; the terms stand in each archive's README.
Knows nothing of what is inside.
"""

from __future__ import annotations

import hashlib
import http.client
import os
import shutil
import urllib.error
import urllib.request
from pathlib import Path

from simenv.errors import DataError

URL = "https://files.grouplens.org/datasets/movielens/{name}.zip"
MD5 = {
    "ml-100k": "0e33842e24a9c977be4e0107933c0723",
    "ml-1m": "c4d9eecfca2ab87c1945afe126590906",
    "ml-latest-small": "31a303aabbc519bd33d025e44d6c2570",
}
"""As published by GroupLens beside each archive; ml-latest-small is the one of 26 September 2018."""
_TIMEOUT = 60
"""Seconds without a byte before giving up."""


def cache() -> Path:
    """Return the folder for downloads: ~/.cache/simenv."""
    return Path.home() / ".cache" / "simenv"


def download(name: str, folder: str | os.PathLike[str] | None = None) -> Path:
    """Return the path of an official archive, fetched if it is not in the folder yet; its checksum is always verified.

    name: "ml-100k", "ml-1m" or "ml-latest-small".
    folder: where it is kept; None: `cache()`.

    Raises:
        DataError: unknown name, no network, or a file that is not the published one; says how to do it by hand.

    """
    if name not in MD5:
        raise DataError(f"no MovieLens archive {name!r} is known; known are {', '.join(MD5)}. Give a path instead.")
    target = Path(folder).expanduser() / f"{name}.zip" if folder is not None else cache() / f"{name}.zip"
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        part = target.with_suffix(".part")
        try:
            _fetch(URL.format(name=name), part)
            _verify(part, name)
            part.replace(target)
        finally:
            part.unlink(missing_ok=True)
    _verify(target, name)
    return target


def _fetch(url: str, target: Path) -> None:
    try:
        with urllib.request.urlopen(url, timeout=_TIMEOUT) as answer, target.open("wb") as file:
            shutil.copyfileobj(answer, file)
    except (urllib.error.URLError, http.client.HTTPException, TimeoutError, ConnectionError) as error:
        raise DataError(
            f"{url} could not be fetched ({error}). Without network: download it on another machine and give its path "
            'as the source, such as load("downloads/ml-100k.zip").'
        ) from error


def _verify(file: Path, name: str) -> None:
    with file.open("rb") as stream:
        found = hashlib.file_digest(stream, "md5").hexdigest()
    if found != MD5[name]:
        raise DataError(
            f"{file}: checksum {found} where GroupLens publishes {MD5[name]} for {name}: incomplete, altered or of "
            "another release. Delete it and fetch it again; to use it as it is, give its path as the source."
        )
