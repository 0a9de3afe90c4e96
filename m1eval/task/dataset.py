"""Rows of files, read on demand: jsonl, json, csv or parquet, gzipped too.

Files without random access (gzip, csv, parquet) are written once to a temporary file of JSON lines, so that
memory holds one row and eight bytes of position for each of the others.
"""

import codecs
import csv
import gzip
import hashlib
import itertools
import re
import tempfile
import weakref
import zlib
from array import array
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any, Protocol, TypeVar, cast

import msgspec

from m1eval.errors import UsageError
from m1eval.text import display_path

Row = Mapping[str, Any]
LONGEST_LINE = 256 * 2**20
"""Maximum bytes of one row; a prompt of ten million tokens has a fifth of this."""
LARGEST_JSON = 2 * 2**30
"""Maximum bytes of a `.json` file, which is read as a whole."""
MAX_EXPANSION = 2**30, 500
"""Limits of decompression, bytes and factor: a file that exceeds both is refused."""
SUFFIXES = (".jsonl", ".json", ".parquet", ".csv")


T = TypeVar("T")
_OBJECT = msgspec.json.Decoder(dict[str, Any])


class Rows(Protocol):
    """A table with random access to its rows."""

    def __len__(self) -> int: ...
    def __getitem__(self, index: int, /) -> Row: ...


class JsonLines:
    """A file of JSON objects, one per line, of which only the positions are in memory."""

    def __init__(self, file: IO[bytes], name: str, *, spooled: bool = False) -> None:
        self._file = file
        self._name = name
        self._spooled = spooled
        weakref.finalize(self, file.close)
        self._starts = array("Q")
        self._lines = array("Q")
        start = 0
        for number, line in enumerate(_lines(file, name), 1):
            if line.strip(_WHITESPACE):
                self._starts.append(start)
                self._lines.append(number)
            start += len(line)

    def __len__(self) -> int:
        return len(self._starts)

    def __getitem__(self, index: int) -> Row:
        return self._decoded(index, _OBJECT)

    def where(self, index: int) -> str:
        """The place of a row in the file: its line, or its number where the file has no lines."""
        if self._spooled:
            return f"{self._name}, row {index + 1}"
        return f"{self._name}:{self._lines[index]}"

    def columns(self, names: Iterable[str]) -> dict[str, list[Any]]:
        """The values of those columns that the first row has, without the other columns; None where a row lacks one."""
        present = [name for name in names if len(self) and name in self[0]]
        if not present:
            return {}
        fields = {f"c{i}": name for i, name in enumerate(present)}
        part = msgspec.defstruct("Part", [(field, Any, None) for field in fields], rename=fields)
        decoder = msgspec.json.Decoder(part)
        parts = [self._decoded(index, decoder) for index in range(len(self))]
        return {name: [getattr(each, field) for each in parts] for field, name in fields.items()}

    def _decoded(self, index: int, decoder: msgspec.json.Decoder[T]) -> T:
        self._file.seek(self._starts[index])
        line = self._file.readline().removeprefix(codecs.BOM_UTF8)
        try:
            return decoder.decode(line)
        except RecursionError:
            raise UsageError(f"{self.where(index)}: nested too deeply to be read") from None
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            hint = _hint(line, error)
            raise UsageError(f"{self.where(index)}: not a JSON object: {error}{hint}") from None


def _hint(data: bytes, error: Exception) -> str:
    """The remedy for a file that is nearly JSON."""
    if isinstance(error, UnicodeDecodeError):
        return "; save the file as UTF-8"
    if number := re.search(rb"[:\[,]\s*(-?(?:NaN|Infinity))", data):
        return f"; {number[1].decode()} is not JSON, write null or leave the row out"
    if data.lstrip().startswith(b"["):
        return "; a file of one list is .json, not .jsonl"
    return ""


def read_rows(paths: Iterable[Path]) -> Rows:
    """The rows of one or several files of one format; UsageError with the file's name for unreadable ones."""
    files = list(paths)
    if len(files) == 1 and files[0].suffix == ".jsonl":
        return JsonLines(_open(files[0]), display_path(files[0]))
    encode = msgspec.json.Encoder(enc_hook=str).encode
    spool = _temporary(encode(row) + b"\n" for path in files for row in _stream(path))
    return JsonLines(spool, display_path(files[0]), spooled=True)


def location(rows: Rows, index: int) -> str:
    """The place of a row in its file, `rows.jsonl:3`; empty for rows without a file."""
    return rows.where(index) if isinstance(rows, JsonLines) else ""


def columns(rows: Rows, names: Iterable[str]) -> dict[str, list[Any]]:
    """The values of the columns that exist, read without building the rows."""
    if isinstance(rows, JsonLines):
        return rows.columns(names)
    table: Any = rows
    return {name: list(table[name]) for name in names if name in getattr(table, "column_names", ())}


def find_data_file(folder: Path, name: str) -> Path:
    """`folder/NAME.jsonl`, or the same in another format, gzipped or not."""
    names = [f"{name}{suffix}{zipped}" for suffix in SUFFIXES for zipped in ("", ".gz")]
    for candidate in names:
        if (folder / candidate).is_file():
            return folder / candidate
    if not folder.is_dir():
        raise UsageError(f"no folder {display_path(folder)} with the data of {name}")
    raise UsageError(
        f"no data for {name} in {display_path(folder)}: put {name}.jsonl there (or {', '.join(names[1:4])} …)"
    )


def has_data_file(folder: Path, name: str) -> bool:
    """Whether a folder has data of this name."""
    return any((folder / f"{name}{suffix}{zipped}").is_file() for suffix in SUFFIXES for zipped in ("", ".gz"))


def file_digest(path: Path) -> str:
    """The shortened SHA-256 of a file's size and its first GiB."""
    sha = hashlib.sha256(str(path.stat().st_size).encode())
    with path.open("rb") as file:
        for _, block in zip(range(1024), iter(lambda: file.read(2**20), b""), strict=False):
            sha.update(block)
    return sha.hexdigest()[:16]


def _stream(path: Path) -> Iterator[Row]:
    suffix = Path(path.name.removesuffix(".gz")).suffix
    try:
        if suffix == ".jsonl":
            rows = JsonLines(_spool(path), display_path(path))
            yield from (rows[i] for i in range(len(rows)))
        elif suffix == ".json":
            with _open(path) as file:
                data = file.read(LARGEST_JSON + 1)
                if len(data) > LARGEST_JSON:
                    raise UsageError(
                        f"{display_path(path)}: more than {LARGEST_JSON >> 30} GiB of JSON; write it as .jsonl"
                    )
                items = msgspec.json.decode(data.removeprefix(codecs.BOM_UTF8), type=list[msgspec.Raw])
                for number, item in enumerate(items, 1):
                    try:
                        yield _OBJECT.decode(item)
                    except (msgspec.DecodeError, UnicodeDecodeError) as error:
                        raise UsageError(f"{display_path(path)}, row {number}: not a JSON object: {error}") from None
        elif suffix == ".csv":
            yield from _csv(path)
        elif suffix == ".parquet":
            yield from _parquet(path)
        else:
            raise UsageError(f"{display_path(path)}: not one of {', '.join(SUFFIXES)} (or one of them with .gz)")
    except RecursionError:
        raise UsageError(f"{display_path(path)}: nested too deeply to be read") from None
    except (msgspec.DecodeError, UnicodeDecodeError, gzip.BadGzipFile, zlib.error, EOFError, csv.Error) as error:
        hint = "; NaN and Infinity are not JSON, write null" if "invalid character" in str(error) else ""
        raise UsageError(f"{display_path(path)}: cannot be read as {suffix[1:]}: {error}{hint}") from None


def _csv(path: Path) -> Iterator[Row]:
    with _open(path) as raw:
        lines = (
            line.decode("utf-8-sig" if i == 0 else "utf-8") for i, line in enumerate(_lines(raw, display_path(path)))
        )
        reader = csv.DictReader(lines, strict=True)
        try:
            names = list(reader.fieldnames or ())
            if twice := next((name for name in names if names.count(name) > 1), None):
                raise csv.Error(f"two columns have the name '{twice}'")
            for row in reader:
                if None in row or None in row.values():
                    raise csv.Error("a row has more or fewer cells than the header")
                yield row
        except (csv.Error, UnicodeDecodeError) as error:
            line = reader.line_num + 1 if isinstance(error, UnicodeDecodeError) else reader.line_num or 1
            hint = _hint(b"", error)
            raise UsageError(f"{display_path(path)}: cannot be read as csv: {error} (line {line}){hint}") from None


def _parquet(path: Path) -> Iterator[Row]:
    import pyarrow
    from pyarrow import parquet

    try:
        with _open(path) as raw, parquet.ParquetFile(raw) as file:
            # One row group is held at a time; a batch is small because a row may be a prompt of a million tokens.
            batches = file.iter_batches(batch_size=8)
            yield from itertools.chain.from_iterable(batch.to_pylist() for batch in batches)
    except (pyarrow.ArrowException, OSError) as error:
        raise UsageError(f"{display_path(path)}: cannot be read as parquet: {error}") from None


def _open(path: Path) -> IO[bytes]:
    try:
        if path.suffix == ".gz":
            return cast("IO[bytes]", gzip.open(path))
        file = path.open("rb")
    except OSError as error:
        raise UsageError(f"{display_path(path)}: cannot be read: {error.strerror}") from None
    if file.read(2) in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
        file.close()
        raise UsageError(f"{display_path(path)}:1: the file is UTF-16; save it as UTF-8")
    file.seek(0)
    return file


def _spool(path: Path) -> IO[bytes]:
    """A file with random access."""
    if path.suffix != ".gz":
        return _open(path)
    with _open(path) as file:
        return _temporary(_decompress(file, path))


def _decompress(file: IO[bytes], path: Path) -> Iterator[bytes]:
    """The content of a compressed file; UsageError for a decompression bomb."""
    size, total, row = path.stat().st_size, 0, 0
    while block := file.read(2**20):
        total += len(block)
        last = block.rfind(b"\n")
        row = len(block) - last - 1 if last >= 0 else row + len(block)
        if row > LONGEST_LINE or (total > MAX_EXPANSION[0] and total > MAX_EXPANSION[1] * size):
            raise UsageError(f"{display_path(path)}: {size:,} bytes become more than {total:,}; unpack it to use it")
        yield block


_WHITESPACE = b" \t\r\n\v\f" + codecs.BOM_UTF8


def _lines(file: IO[bytes], name: str) -> Iterator[bytes]:
    """The lines of a file; UsageError for one that is too long."""
    number = 0
    while line := file.readline(LONGEST_LINE + 1):
        number += 1
        if len(line) > LONGEST_LINE:
            raise UsageError(f"{name}:{number}: a line of more than {LONGEST_LINE >> 20} MiB")
        yield line


def _temporary(parts: Iterable[bytes]) -> IO[bytes]:
    """An unnamed temporary file with the parts."""
    spool = tempfile.TemporaryFile()  # noqa: SIM115 - it lives as long as the rows read from it
    try:
        spool.writelines(parts)
        spool.seek(0)
    except BaseException:
        spool.close()
        raise
    return spool
