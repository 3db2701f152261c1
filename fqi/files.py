"""Files that are never half-written: write beside, flush, rename."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from fqi.errors import UserError


@contextlib.contextmanager
def replacing(path: Path, *, settle: bool = True) -> Iterator[Path]:
    """A path beside the target to write to; the target is replaced when the block ends without an error.

    Without `settle` the caller syncs the folder, once for all that it writes there.
    """
    draft = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            yield draft
            sync(draft)
            draft.replace(path)
        except OSError as error:
            raise UserError(f"{path}: cannot be written ({error.strerror or error})") from error
        if settle:
            sync(path.parent)
    finally:
        with contextlib.suppress(OSError):  # where nothing can be written, there is nothing to remove
            draft.unlink(missing_ok=True)


@contextlib.contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """A folder beside `path` to fill; it appears there, with all that is in it, when the block ends well."""
    refuse_existing(path)
    place = path.resolve()
    draft = place.with_name(f".{place.name}.{os.getpid()}.part")
    try:
        draft.mkdir(parents=True)
        yield draft
        draft.replace(place)
    except OSError as error:
        raise UserError(f"{path}: cannot be made: {error.strerror}") from None
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def refuse_existing(path: Path) -> None:
    """Only a folder that holds nothing may become a new one."""
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise UserError(f"{path} exists already; give another --out, or go on with it by --resume")


def sync(path: Path) -> None:
    """Make what was written to the file or folder outlast a power failure."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_bytes(path: Path, content: bytes, *, settle: bool = True) -> None:
    """Replace the file's content at once; `settle` as in `replacing`."""
    with replacing(path, settle=settle) as draft:
        draft.write_bytes(content)


def write_json(path: Path, content: Any, *, settle: bool = True) -> None:
    """Replace the file by this content as JSON; numbers that are not finite are written as null."""
    write_bytes(path, (json.dumps(finite(content), indent=1, ensure_ascii=False) + "\n").encode(), settle=settle)


def json_line(content: Any) -> str:
    """One line of JSON; numbers that are not finite are written as null."""
    return json.dumps(finite(content), ensure_ascii=False) + "\n"


def read_json_lines(path: Path) -> list[Any]:
    """The whole lines of the file; a last line that was cut short is left out."""
    if not path.exists():
        return []
    try:
        lines = path.read_bytes().split(b"\n")
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from None
    found = []
    for number, line in enumerate(lines[:-1], start=1):
        try:
            found.append(json.loads(line))
        except ValueError as error:
            raise UserError(f"{path}: line {number}: expected JSON, found {line[:40]!r} ({error})") from None
    return found


def finite(content: Any) -> Any:
    """The same content with None for every number that JSON does not know."""
    if isinstance(content, dict):
        return {str(k): finite(v) for k, v in content.items()}
    if isinstance(content, list | tuple):
        return [finite(v) for v in content]
    if isinstance(content, float) and (content != content or content in (float("inf"), float("-inf"))):
        return None
    return content


def point(link: Path, target: Path) -> None:
    """Make `link` a relative symbolic link to `target`, at once."""
    temporary = link.with_name(f".{link.name}.{os.getpid()}.part")
    try:
        link.parent.mkdir(parents=True, exist_ok=True)
        temporary.unlink(missing_ok=True)
        temporary.symlink_to(os.path.relpath(target, link.parent))
        temporary.replace(link)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise UserError(f"{link}: cannot be made a link to {target} ({error.strerror}); move what is there") from error


def lock(file: IO[Any] | int, sentence: str) -> None:
    """Keep the open file or folder for this process until it is closed; if another has it, say this sentence."""
    try:
        import fcntl
    except ImportError:  # no such locks on this system
        return
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        raise UserError(sentence) from error
