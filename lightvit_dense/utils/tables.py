"""Tables as Markdown, CSV and aligned text."""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table


def to_markdown(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return a table in Markdown; all columns but the first are aligned right."""
    lines = [header, ['---', *['---:'] * (len(header) - 1)], *rows]
    texts = [['\N{EN DASH}' if cell is None else str(cell) for cell in line] for line in lines]
    return ''.join(f'| {" | ".join(line)} |\n' for line in texts)


def to_csv(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return a table as comma-separated values; None as an empty cell."""
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator='\n').writerows([header, *rows])
    return buffer.getvalue()


def format_table(rows: Sequence[Mapping[str, Any]], columns: Sequence[str], digits: int = 2) -> str:
    """Set rows in aligned columns, the first to the left; floats have ``digits`` decimals."""

    def text(value: Any) -> str:
        return f'{value:.{digits}f}' if isinstance(value, float) else str(value)

    cells = [list(columns), *([text(row.get(name, '')) for name in columns] for row in rows)]
    widths = [max(len(line[place]) for line in cells) for place in range(len(columns))]
    lines = []
    for line in cells:
        first, *others = (
            cell.ljust(width) if place == 0 else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        lines.append('  '.join([first, *others]).rstrip())
    return '\n'.join(lines)


def print_table(
    columns: Sequence[str],
    rows: Iterable[Sequence[object]],
    title: str | None = None,
    width: int | None = 100,
) -> None:
    """Print a table; all columns but the first are aligned right."""
    table = Table(columns[0], title=title)
    for column in columns[1:]:
        table.add_column(column, justify='right')
    for row in rows:
        table.add_row(*map(str, row))
    Console(width=width).print(table)
