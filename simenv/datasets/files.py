"""Files wherever they stand: alone, in a folder, in a zip, gzipped; and their bytes as text.

Knows nothing of tables; every failure names the file and the remedy.
"""

from __future__ import annotations

import gzip
import os
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import final

from simenv.errors import DataError


@final
@dataclass(frozen=True)
class Member:
    """One file, in a folder or in a zip."""

    label: str
    """Name for messages, with the zip it stands in."""
    path: Path
    inside: str | None = None
    """Path within the zip; None: `path` is the file itself."""

    @property
    def name(self) -> str:
        """The file's own name."""
        return Path(self.inside or self.path).name

    @property
    def folder(self) -> str:
        """Name of the folder that holds the file, "" at the top of a zip."""
        return Path(self.inside).parent.name if self.inside else self.path.parent.name

    def read(self) -> bytes:
        """Return the bytes, unpacked where the name ends in .gz.

        Raises:
            DataError: the zip or gzip is damaged, or the file is empty.

        """
        try:
            data = _zipped(self.path, self.inside) if self.inside else self.path.read_bytes()
            data = gzip.decompress(data) if self.name.endswith(".gz") else data
        except (zipfile.BadZipFile, EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise DataError(f"{self.label}: damaged or incomplete ({error}). Fetch or copy the file again.") from error
        if not data.strip():
            raise DataError(f"{self.label}: the file is empty. Give a file with a header line and at least one row.")
        return data


def _zipped(path: Path, inside: str) -> bytes:
    with zipfile.ZipFile(path) as archive:
        return archive.read(inside)


def members(source: str | os.PathLike[str]) -> tuple[Member, ...]:
    """Return the files of a zip, or of a folder, its direct subfolders and the zips in it; a plain file alone.

    Raises:
        DataError: nothing stands at this path, or a zip is damaged.

    """
    path = Path(source).expanduser()
    if path.is_dir():
        found: list[Member] = []
        for file in sorted([*path.glob("*"), *path.glob("*/*")], key=lambda f: (len(f.parts), f)):
            if file.suffix == ".zip":
                found += _listed(file)
            elif file.is_file():
                found.append(Member(str(file.relative_to(path)), file))
        return tuple(found)
    if not path.exists():
        raise DataError(f"{path}: no such file or folder (looked in {path.absolute().parent}). Check the path.")
    return tuple(_listed(path)) if path.suffix == ".zip" else (Member(path.name, path),)


def _listed(path: Path) -> list[Member]:
    try:
        with zipfile.ZipFile(path) as archive:
            names = [i.filename for i in archive.infolist() if not i.is_dir() and "__MACOSX" not in i.filename]
    except zipfile.BadZipFile as error:
        raise DataError(f"{path.name}: not a whole zip file ({error}). Fetch or copy it again.") from error
    return [Member(f"{path.name}/{name}", path, name) for name in names]


def text_of(member: Member, encoding: str) -> str:
    """Return the decoded text, without a byte order mark and with plain line ends."""
    data = member.read()
    try:
        text = data.decode("utf-8-sig" if encoding == "utf-8" else encoding)
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        other = "utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "latin-1"
        raise DataError(
            f"{member.label}, line {line}: byte 0x{data[error.start]:02x} is not {encoding}. "
            f'Give encoding="{other}" (or what the file was written in).'
        ) from error
    return text.replace("\r\n", "\n").replace("\r", "\n")
