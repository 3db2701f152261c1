"""Any record of JSON values as tables: what is there is shown, whatever it is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from fqi.reports.words import number, title

LONGEST = 40  # rows of a table; the rest is counted
Table = dict[str, Any]  # title, columns, rows, left_out


def tables(record: Mapping[str, Any], name: str = "") -> list[Table]:
    """The scalars of the record as one table, distributions as another, and a table for each nested record."""
    plain: list[list[Any]] = []
    spreads: dict[str, Mapping[str, Any]] = {}
    nested: list[Table] = []
    for key, value in record.items():
        path = f"{name}: {title(str(key))}" if name else title(str(key))
        if isinstance(value, Mapping):
            if {"mean", "min", "max"} <= set(value):
                spreads[title(str(key))] = {k: v for k, v in value.items() if not _is_table(v)}
                value = {k: v for k, v in value.items() if _is_table(v)}
            nested += _mapping(value, path)
        elif _is_table(value):
            nested.append(_rows(value, path))
        elif value is not None and not (isinstance(value, str | list) and not value):
            plain.append([title(str(key)), value])
    found = [table(name, ["", ""], plain)] if plain else []
    if spreads:
        found += [
            _rows([{"": key, **value} for key, value in spreads.items()], f"{name}: spread" if name else "spread")
        ]
    return found + nested


def table(name: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> Table:
    """One table, not longer than a reader would look at."""
    left = max(0, len(rows) - LONGEST)
    return {"title": name, "columns": list(columns), "rows": [list(row) for row in rows[:LONGEST]], "left_out": left}


def cell(value: Any) -> str:
    """One value as text."""
    if isinstance(value, bool | int | float) or value is None:
        return number(value)
    if isinstance(value, list | tuple):
        return "; ".join(cell(v) for v in value[:12]) + (f"; … ({len(value)} in all)" if len(value) > 12 else "")
    if isinstance(value, Mapping):
        return "; ".join(f"{title(str(k))} {cell(v)}" for k, v in value.items())
    return str(value)


def _is_table(value: Any) -> bool:
    return isinstance(value, list | tuple) and len(value) > 0 and all(isinstance(v, Mapping) for v in value)


def _mapping(value: Mapping[str, Any], path: str) -> list[Table]:
    alike = len(value) > 1 and all(isinstance(v, Mapping) and not _nests(v) for v in value.values())
    if alike:
        return [_rows([{"": key, **row} for key, row in value.items()], path)]
    return tables(value, path)


def _nests(value: Mapping[str, Any]) -> bool:
    return any(isinstance(v, Mapping) for k, v in value.items() if k != "quantiles") or any(
        map(_is_table, value.values())
    )


def _rows(records: Sequence[Mapping[str, Any]], path: str) -> Table:
    flat = [dict(_flat(record)) for record in records]
    columns = list(dict.fromkeys(key for row in flat for key in row))
    return table(path, [title(c) for c in columns], [[row.get(c) for c in columns] for row in flat])


def _flat(record: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for key, value in record.items():
        if key == "quantiles" and isinstance(value, Mapping):
            for q, v in value.items():
                if str(q) not in ("0", "1"):  # they stand as min and max
                    yield _quantile(str(q)), v
        else:
            yield str(key), value


def _quantile(name: str) -> str:
    try:
        return f"{100 * float(name):g} %"
    except ValueError:
        return name
