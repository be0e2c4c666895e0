"""Passes over models pooled into one table: rows, Markdown, CSV."""

import csv
import io
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from lightvit_dense.suite.papers import PUBLISHED, PublishedResult, published_of

from .classification_models import SPEED_MODELS

LATENCIES = {'latency': 'eager', 'compiled': 'compiled', 'onnx': 'onnx'}
"""Modes of one image, and how the table calls them."""


def spread(values: Sequence[float]) -> dict[str, float]:
    """Return median and interquartile range (0 for fewer than two values)."""
    if len(values) < 2:
        return {'median': values[0], 'iqr': 0.0, 'samples': len(values)}
    low, middle, high = statistics.quantiles(values, n=4, method='inclusive')
    return {'median': middle, 'iqr': high - low, 'samples': len(values)}


def _outcome(cells: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return what keeps a mode from having numbers: the first error, else what is unavailable."""
    for kind in ('error', 'unavailable'):
        for cell in cells:
            if kind in cell:
                return {kind: cell[kind]}
    return {}


def _published(row: PublishedResult) -> dict[str, Any]:
    names = ('label', 'top1', 'real', 'v2', 'images_per_s', 'params_m', 'source', 'pretrained')
    return {name: getattr(row, name) for name in names}


def make_row(
    model: str, title: str, note: str, size: int, passes: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """Pool a model's passes.

    Args:
        model: Its name on the command line.
        title: How the table calls it.
        note: What a reader has to know.
        size: Side of its images in pixels.
        passes: Cells by their names, one mapping a pass.

    Returns:
        Values for every mode that was asked for: ``{'median', 'iqr', 'samples'}``, an ``error`` or
        an ``unavailable``; a mode with an error in any pass has no value.
    """
    row: dict[str, Any] = {
        'model': model,
        'title': title,
        'note': note,
        'image_size': size,
        'passes': len(passes),
    }
    sizes = [cells['size'] for cells in passes if 'size' in cells]
    row |= _outcome(sizes) or {name: sizes[0][name] for name in ('parameters', 'macs', 'flops')}
    batches = [cells['throughput'] for cells in passes if 'throughput' in cells]
    if batches:
        row['throughput'] = _outcome(batches) or {
            'batch': batches[0]['batch'],
            'images_per_s': spread([c['batch'] / s for c in batches for s in c['seconds']]),
            'peak_memory_mb': statistics.median(c['peak_memory_mb'] for c in batches),
        }
    for mode in LATENCIES:
        found = [cells[mode] for cells in passes if mode in cells]
        if not found:
            continue
        row[mode] = _outcome(found)
        if not row[mode]:
            row[mode] = {'ms': spread([1e3 * s for cell in found for s in cell['seconds']])}
            for extra in ('relative_error', 'compile_s'):
                if extra in found[0]:
                    row[mode][extra] = max(cell[extra] for cell in found)
    row['published'] = [_published(one) for one in published_of(model)]
    return row


def errors_of(row: Mapping[str, Any]) -> list[str]:
    """Return ``mode: reason`` of each cell of a row that is an error."""
    found = [f'size: {row["error"]}'] if 'error' in row else []
    for mode in ('throughput', *LATENCIES):
        if 'error' in row.get(mode, {}):
            found.append(f'{mode}: {row[mode]["error"]}')
    return found


def _number(value: float | None, digits: int = 3) -> str:
    """Write a number with at least ``digits`` significant digits, a dash for None."""
    if value is None:
        return '-'
    return f'{value:.0f}' if abs(value) >= 10 ** (digits - 1) else f'{value:.{digits}g}'


def _cell(found: Mapping[str, Any] | None, value: str) -> str:
    """Write median (IQR) of a mode, or why there is none."""
    if found is None:
        return ''
    if 'error' in found:
        return 'error'
    if 'unavailable' in found:
        return str(found['unavailable'])
    return f'{_number(found[value]["median"])} ({_number(found[value]["iqr"], 2)})'


_HEAD = (
    'model',
    'px',
    'params M',
    'GMACs',
    'GFLOPs',
    'batch',
    'images/s (IQR)',
    'peak MiB',
    'ms eager (IQR)',
    'ms compiled (IQR)',
    'ms ONNX (IQR)',
    'ONNX error',
    'notes',
)


def _sizes(row: Mapping[str, Any]) -> list[str]:
    """Return millions of parameters, GMACs and GFLOPs."""
    if 'parameters' not in row:
        return ['error'] * 3
    return [f'{row["parameters"] / 1e6:.2f}', *(f'{row[n] / 1e9:.2f}' for n in ('macs', 'flops'))]


def _words(row: Mapping[str, Any]) -> list[str]:
    """Return one line of the Markdown table."""
    batch = row.get('throughput', {})
    onnx = row.get('onnx', {})
    return [
        row['title'],
        str(row['image_size']),
        *_sizes(row),
        str(batch.get('batch', '')),
        _cell(row.get('throughput'), 'images_per_s'),
        _number(batch['peak_memory_mb']) if 'peak_memory_mb' in batch else '',
        *(_cell(row.get(mode), 'ms') for mode in LATENCIES),
        f'{onnx["relative_error"]:.0e}' if 'relative_error' in onnx else '',
        row['note'],
    ]


_PAPER_HEAD = (
    'network',
    'params M *paper*',
    'params M *measured*',
    'GMACs *measured*',
    'images/s *paper*',
    'images/s (IQR) *measured*',
    'top-1 *paper*',
    'ReaL *paper*',
    'V2 *paper*',
)


def paper_table(rows: Sequence[Mapping[str, Any]], about: str) -> str:
    """Return table 2 of the study beside what was measured, as Markdown.

    Args:
        rows: From :func:`make_row`; networks without one are *not run*.
        about: Paragraph that says what was measured and where.
    """
    measured = {row['model']: row for row in rows}
    lines = [about, '', '| ' + ' | '.join(_PAPER_HEAD) + ' |']
    lines.append('|---|' + '---:|' * (len(_PAPER_HEAD) - 1))
    for one in PUBLISHED:
        found = measured.get(one.model)
        sizes, rate = ['*not run*' if one.model else 'not in timm'] * 2, ''
        if found is not None:
            sizes, rate = _sizes(found)[:2], _cell(found.get('throughput'), 'images_per_s')
        scores = ['-' if n is None else f'{n:.1f}' for n in (one.top1, one.real, one.v2)]
        paper = _number(one.images_per_s, 1)
        words = [one.label, f'{one.params_m:g}', *sizes, paper, rate, *scores]
        lines.append('| ' + ' | '.join(words) + ' |')
    sources = '; '.join(dict.fromkeys(one.source for one in PUBLISHED))
    lines += ['', f'*paper*: {sources}; images/s on one RTX 3090, batch 1024, mixed precision.']
    return '\n'.join(lines) + '\n'


def markdown(rows: Sequence[Mapping[str, Any]], about: str) -> str:
    """Return the table as Markdown.

    Args:
        rows: From :func:`make_row`.
        about: Paragraph that says what was measured and where.
    """
    lines = [about, '', '| ' + ' | '.join(_HEAD) + ' |']
    lines.append('|---|' + '---:|' * (len(_HEAD) - 2) + '---|')
    lines += ['| ' + ' | '.join(_words(row)) + ' |' for row in rows]
    lines += [
        '',
        'Speeds are *measured*: the median over all calls of all passes, with the interquartile '
        'range. GMACs count a multiply-add of matrix products, attention and convolutions once, '
        'GFLOPs twice; activations, norms and pooling are not counted. Weights are random. Peak '
        'MiB is of weights and eager batches, in a process of its own: on a CPU what the process '
        'grew by. ONNX error is the largest difference from torch over the largest logit.',
    ]
    lines += [f'- error, {row["title"]}, {text}' for row in rows for text in errors_of(row)]
    return '\n'.join(lines) + '\n'


def flat(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a row as one level of plain values, for CSV."""
    batch, paper = row.get('throughput', {}), (row['published'] or [{}])[0]
    rate = batch.get('images_per_s', {})
    out: dict[str, Any] = {name: row[name] for name in ('model', 'title', 'image_size', 'passes')}
    out |= {name: row.get(name) for name in ('parameters', 'macs', 'flops')}
    out |= {'batch': batch.get('batch'), 'images_per_s': rate.get('median')}
    out |= {'images_per_s_iqr': rate.get('iqr'), 'peak_memory_mb': batch.get('peak_memory_mb')}
    for mode, name in LATENCIES.items():
        found = row.get(mode, {})
        out[f'{name}_ms'] = found.get('ms', {}).get('median')
        out[f'{name}_ms_iqr'] = found.get('ms', {}).get('iqr')
        if mode != 'latency':
            out[f'{name}_relative_error'] = found.get('relative_error')
    out |= {f'paper_{name}': paper.get(name) for name in ('top1', 'real', 'v2', 'images_per_s')}
    out |= {'note': row['note'], 'errors': '; '.join(errors_of(row))}
    return out


def to_csv(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return the rows as CSV; what was not measured is empty."""
    table, buffer = [flat(row) for row in rows], io.StringIO()
    if not table:
        return ''
    writer = csv.DictWriter(buffer, list(table[0]), lineterminator='\n')
    writer.writeheader()
    writer.writerows(table)
    return buffer.getvalue()


def in_order(names: Sequence[str]) -> list[str]:
    """Return model names in the order of ``SPEED_MODELS``, others behind them as they come."""
    order = list(SPEED_MODELS)
    return sorted(names, key=lambda name: order.index(name) if name in order else len(order))
