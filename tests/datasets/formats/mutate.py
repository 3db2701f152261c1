"""Files broken in ways that fit their structure, for every reader alike: `mutate(path, generator)` says what it did."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np

Generator = np.random.Generator
_HUGE = (2**31, 10**12, 2**62, 2**63 - 1)


def mutate(path: Path, generator: Generator) -> str:
    """Break a file, or one of the files in a folder, in place."""
    if path.is_dir():
        files = sorted(inner for inner in path.rglob("*") if inner.is_file())
        path = files[generator.integers(len(files))]
    content = path.read_bytes()
    kind = _kind(content, path)
    if kind is not None and generator.random() < 0.6:
        return f"{path.name}: {kind(path, generator)}"
    path.write_bytes(broken(content, generator))
    return f"{path.name}: bytes"


def broken(content: bytes, generator: Generator) -> bytes:
    """Bytes flipped, zeroed, doubled, cut, put in, or replaced by large numbers."""
    data = bytearray(content)
    if not data:
        return bytes(generator.integers(0, 256, 20, np.uint8))
    at = int(generator.integers(len(data)))
    match int(generator.integers(7)):
        case 0 | 1:
            for place in generator.integers(0, len(data), generator.integers(1, 5)):
                data[place] ^= int(generator.integers(1, 256))
        case 2:
            del data[at:]
        case 3:
            data[at : at + int(generator.integers(1, 64))] = bytes(int(generator.integers(1, 64)))
        case 4:
            data[at : at + 8] = int(generator.choice([0, 1, 255, *_HUGE])).to_bytes(8, "little")
        case 5:
            data[at:at] = generator.integers(0, 256, generator.integers(1, 100), np.uint8).tobytes()
        case _:
            other = int(generator.integers(len(data)))
            size = int(generator.integers(1, 200))
            data[at : at + size] = data[other : other + size]
    return bytes(data)


def _kind(content: bytes, path: Path) -> Callable[[Path, Generator], str] | None:
    if content[:8] == b"\x89HDF\r\n\x1a\n":
        return _hdf5
    if content[:2] == b"PK":
        return _archive
    if content[:2] == b"\x1f\x8b":
        return _gzip
    if content[:3] == b"BZh":
        return _bzip
    if content[:4] == b"PAR1":
        return _parquet
    if path.suffix == ".json":
        return _json
    return _text if path.suffix in (".toml", ".csv", ".jsonl") else None


# HDF5


def _hdf5(path: Path, generator: Generator) -> str:
    with h5py.File(path, "r+") as file:
        names: list[str] = []
        file.visititems(lambda name, thing: names.append(name) if isinstance(thing, h5py.Dataset) else None)
        if not names:
            return "nothing to change"
        name = names[generator.integers(len(names))]
        change = _HDF5[generator.integers(len(_HDF5))]
        change(file, name, generator)
        return f"{name}: {change.__name__}"


def _replace(file: h5py.File, name: str, **given: Any) -> None:
    del file[name]
    file.create_dataset(name, **given)


def removed(file: h5py.File, name: str, generator: Generator) -> None:
    del file[name]


def other_rows(file: h5py.File, name: str, generator: Generator) -> None:
    value = np.atleast_1d(file[name][()])
    rows = max(0, len(value) + int(generator.choice([-2, -1, 1, 2, 100, -len(value)])))
    _replace(file, name, data=np.resize(value, (rows, *value.shape[1:])))


def other_shape(file: h5py.File, name: str, generator: Generator) -> None:
    value = np.asarray(file[name][()])
    shapes = [(*value.shape, 1), (1, *value.shape), (value.size,), value.shape[::-1], (), (0,), (3, 0, 2)]
    shape = shapes[generator.integers(len(shapes))]
    _replace(file, name, data=np.resize(value, shape) if value.size else np.zeros(shape, np.float32))


def other_type(file: h5py.File, name: str, generator: Generator) -> None:
    value = np.asarray(file[name][()])
    types = ["f2", "f4", "f8", "i1", "i8", "u8", ">f8", ">i4", "?", "c16", "S3"]
    with np.errstate(all="ignore"):
        if value.dtype.kind in "biuf":
            _replace(file, name, data=value.astype(types[generator.integers(len(types))]))


def texts(file: h5py.File, name: str, generator: Generator) -> None:
    rows = len(np.atleast_1d(file[name][()]))
    _replace(file, name, data=["x"] * rows, dtype=h5py.string_dtype())


def uneven(file: h5py.File, name: str, generator: Generator) -> None:
    rows = max(1, len(np.atleast_1d(file[name][()])))
    _replace(file, name, shape=(rows,), dtype=h5py.vlen_dtype(np.float32))
    file[name][0] = np.ones(3, np.float32)


def strange_values(file: h5py.File, name: str, generator: Generator) -> None:
    value = np.array(file[name][()])
    if not value.size or value.dtype.kind not in "iuf":
        return
    strange = [np.nan, np.inf, -np.inf, 1e300, -1] if value.dtype.kind == "f" else [0, 1, 77]
    with np.errstate(all="ignore"):
        value.reshape(-1)[generator.integers(value.size)] = strange[generator.integers(len(strange))]
    _replace(file, name, data=value)


def huge(file: h5py.File, name: str, generator: Generator) -> None:
    rows = int(generator.choice(_HUGE[:3]))
    shape = (min(rows, 2**60), *file[name].shape[1:])
    dtype = file[name].dtype
    _replace(file, name, shape=shape, dtype=dtype, chunks=(1, *(max(1, extent) for extent in shape[1:])))


def huge_deflated(file: h5py.File, name: str, generator: Generator) -> None:
    dtype = file[name].dtype
    _replace(file, name, shape=(10**9,), dtype=dtype, chunks=(1000,), compression="gzip")


def many_dimensions(file: h5py.File, name: str, generator: Generator) -> None:
    _replace(file, name, data=np.zeros((1,) * int(generator.integers(5, 32)), np.float32))


def soft_link(file: h5py.File, name: str, generator: Generator) -> None:
    del file[name]
    file[name] = h5py.SoftLink(f"/{name}")  # to itself


def hard_link(file: h5py.File, name: str, generator: Generator) -> None:
    """A ring of groups, or one dataset under two names."""
    if generator.random() < 0.5:
        file.require_group("ring")["up"] = file["/"]
    elif "twice" not in file:
        file["twice"] = file[name]


def external_link(file: h5py.File, name: str, generator: Generator) -> None:
    del file[name]
    file[name] = h5py.ExternalLink("/etc/hostname", "/x")


def external_storage(file: h5py.File, name: str, generator: Generator) -> None:
    old = file[name]
    shape, dtype = old.shape or (1,), old.dtype if old.dtype.kind != "O" else np.dtype("f4")
    _replace(file, name, shape=shape, dtype=dtype, external=[("/etc/passwd", 0, h5py.h5f.UNLIMITED)])


def virtual(file: h5py.File, name: str, generator: Generator) -> None:
    old = file[name]
    layout = h5py.VirtualLayout(old.shape or (1,), np.dtype("f4"))
    if layout.shape:
        layout[:] = h5py.VirtualSource("/tmp/nowhere.h5", "x", layout.shape)
    del file[name]
    file.create_virtual_dataset(name, layout)


def group_instead(file: h5py.File, name: str, generator: Generator) -> None:
    del file[name]
    file.create_group(name)


def compound(file: h5py.File, name: str, generator: Generator) -> None:
    rows = len(np.atleast_1d(file[name][()]))
    _replace(file, name, data=np.zeros(rows, [("a", "f4"), ("b", "i8")]))


def references(file: h5py.File, name: str, generator: Generator) -> None:
    rows = len(np.atleast_1d(file[name][()]))
    _replace(file, name, shape=(rows,), dtype=h5py.ref_dtype)


def empty(file: h5py.File, name: str, generator: Generator) -> None:
    _replace(file, name, data=h5py.Empty("f4"))


_HDF5: tuple[Callable[[h5py.File, str, Generator], None], ...] = (
    removed,
    other_rows,
    other_shape,
    other_type,
    texts,
    uneven,
    strange_values,
    huge,
    huge_deflated,
    many_dimensions,
    soft_link,
    hard_link,
    external_link,
    external_storage,
    virtual,
    group_instead,
    compound,
    references,
    empty,
)


# Arrays in archives and gzip files


def _npy(content: bytes, generator: Generator) -> bytes:
    """An array with a header that lies, or with other rows, another shape or type."""
    try:
        array = np.load(io.BytesIO(content), allow_pickle=False)
    except (ValueError, EOFError, OSError):
        return broken(content, generator)
    with np.errstate(all="ignore"):
        match int(generator.integers(6)):
            case 0:
                return (
                    header(str(array.dtype.str), str((int(generator.choice(_HUGE)), *array.shape[1:])))
                    + array.tobytes()
                )
            case 1:
                return header("|O", str(array.shape)) + array.tobytes()
            case 2:
                rows = max(0, (len(array) if array.ndim else 0) + int(generator.choice([-1, 1, 3])))
                array = np.resize(array, (rows, *array.shape[1:]))
            case 3:
                array = array.reshape(-1)
            case 4:
                types = ["f2", "f4", "f8", "i1", "i8", ">f8", "?", "c16", "U2"]
                array = array.astype(types[generator.integers(len(types))])
            case _:
                array = array.copy()
                if array.size:
                    array.reshape(-1)[generator.integers(array.size)] = generator.choice([0, 1, 99])
    out = io.BytesIO()
    np.save(out, array)
    return out.getvalue()


def header(descr: str, shape: str) -> bytes:
    text = f"{{'descr': {descr!r}, 'fortran_order': False, 'shape': {shape}}}".ljust(117).encode() + b"\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text


def _archive(path: Path, generator: Generator) -> str:
    with zipfile.ZipFile(path) as file:
        members = {name: file.read(name) for name in file.namelist()}
    name = sorted(members)[generator.integers(len(members))]
    change = int(generator.integers(5))
    if change == 0:
        del members[name]
    elif change == 1:
        members[name] = broken(members[name], generator)
    elif change == 2:
        members[sorted(members)[generator.integers(len(members))]] = members[name]
    else:
        members[name] = _npy(members[name], generator)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for member, content in members.items():
            file.writestr(member, content)
    return f"{name}: archive {change}"


def _gzip(path: Path, generator: Generator) -> str:
    path.write_bytes(gzip.compress(_inside(gzip.decompress(path.read_bytes()), generator), 1))
    return "inside"


def _bzip(path: Path, generator: Generator) -> str:
    path.write_bytes(bz2.compress(_inside(bz2.decompress(path.read_bytes()), generator), 1))
    return "inside"


def _inside(content: bytes, generator: Generator) -> bytes:
    if generator.random() < 0.3:
        return broken(content, generator)
    return _npy(content, generator) if content[:6] == b"\x93NUMPY" else _lines(content, generator)


# Tables


def _parquet(path: Path, generator: Generator) -> str:
    """A column dropped, doubled, renamed, of another type or with a blank; rows dropped, doubled or turned round."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pq.read_table(path)
    at = int(generator.integers(table.num_columns))
    name, column = table.column_names[at], table.column(at)
    change = int(generator.integers(8))
    row = int(generator.integers(max(1, table.num_rows)))
    match change:
        case 0:
            table = table.remove_column(at)
        case 1:
            table = table.append_column(name, column)
        case 2:
            other = table.column_names[int(generator.integers(table.num_columns))]
            table = table.rename_columns([other if i == at else n for i, n in enumerate(table.column_names)])
        case 3:
            kinds = [pa.string(), pa.float16(), pa.int8(), pa.float64(), pa.bool_(), pa.binary()]
            values = [None if v is None else str(v) for v in column.to_pylist()]
            try:
                table = table.set_column(at, name, pa.array(values).cast(kinds[generator.integers(len(kinds))]))
            except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
                table = table.set_column(at, name, pa.array(values))
        case 4:
            values = column.to_pylist()
            values[row] = None
            table = table.set_column(at, name, pa.array(values, column.type))
        case 5:
            table = table.slice(row)
        case 6:
            table = pa.concat_tables([table, table.slice(row)])
        case _:
            table = table.take(generator.permutation(table.num_rows))
    pq.write_table(table, path)
    return f"{name}: change {change}"


# Text


def _json(path: Path, generator: Generator) -> str:
    value = json.loads(path.read_bytes())
    if not isinstance(value, dict) or not value:
        return "nothing to change"
    key = sorted(value)[generator.integers(len(value))]
    others: list[Any] = [None, -1, 2**70, "x", [], {}, {"type": "Box"}, 1e308, True, "[" * 2000]
    if generator.random() < 0.3:
        del value[key]
    else:
        value[key] = others[generator.integers(len(others))]
    path.write_text(json.dumps(value))
    return f"{key} changed"


def _text(path: Path, generator: Generator) -> str:
    path.write_bytes(_lines(path.read_bytes(), generator))
    return "lines"


def _lines(content: bytes, generator: Generator) -> bytes:
    """A line dropped, doubled, cut or broken, a cell of it changed, or two lines exchanged."""
    lines = content.decode(errors="replace").splitlines()
    if not lines:
        return broken(content, generator)
    at, other = (int(place) for place in generator.integers(len(lines), size=2))
    match int(generator.integers(6)):
        case 0:
            del lines[at]
        case 1:
            lines.insert(at, lines[other])
        case 2:
            lines[at] = broken(lines[at].encode(), generator).decode(errors="replace")
        case 3:
            lines[at] = lines[at][: int(generator.integers(len(lines[at]) + 1))]
        case 4:
            lines[at], lines[other] = lines[other], lines[at]
        case _:
            cells = lines[at].split(",")
            values = [
                "",
                "nan",
                "1e999",
                "-1",
                "x",
                "[]",
                "[1,[2]]",
                "{}",
                '"',
                "9" * 400,
                "null",
                "true",
                "0x1",
                "1_0",
            ]
            cells[generator.integers(len(cells))] = values[generator.integers(len(values))]
            lines[at] = ",".join(cells)
    return ("\n".join(lines) + "\n").encode()
