"""Figures of sequences, classes and attributes in rows; written as CSV and JSON."""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from lightvit_dense.utils.io import atomic_write
from tracking.datasets.lasot import LaSOT

from .ope import Scores


def sequence_table(scores: Scores) -> list[dict[str, Any]]:
    """Return a row for each sequence: name, class, frames, figures in percent, mean overlap."""
    rows = []
    for place, truth in enumerate(scores.truths):
        overlap = float(scores.overlap[place])
        rows.append(
            {
                'sequence': truth.name,
                'class': truth.class_name,
                'frames': int(scores.frames[place]),
                **scores.figures(np.array([place])),
                'overlap': None if np.isnan(overlap) else 100 * overlap,
            }
        )
    return rows


def class_table(scores: Scores) -> list[dict[str, Any]]:
    """Return a row for each class, by name; the figures are means over its sequences."""
    classes = np.array([truth.class_name for truth in scores.truths])
    return [
        {'class': str(name), **_group(scores, classes == name)}
        for name in np.unique(classes)
        if name
    ]


def attribute_table(scores: Scores) -> list[dict[str, Any]]:
    """Return a row for each attribute: LaSOT's in their published order, then others by name."""
    found = {name for truth in scores.truths for name in truth.attributes}
    known = [name for name in LaSOT.ATTRIBUTES if name in found]
    return [
        {
            'attribute': name,
            **_group(scores, np.array([name in truth.attributes for truth in scores.truths])),
        }
        for name in (*known, *sorted(found - set(known)))
    ]


def _group(scores: Scores, chosen: np.ndarray) -> dict[str, Any]:
    return {'sequences': int(chosen.sum()), **scores.figures(chosen)}


def to_csv(rows: Sequence[Mapping[str, Any]]) -> str:
    """Set rows as comma-separated values, with the names of the columns above."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]) if rows else [], lineterminator='\n')
    writer.writeheader()
    for row in rows:
        writer.writerow({key: '' if value is None else value for key, value in row.items()})
    return text.getvalue()


def write_csv(path: str | Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write rows as comma-separated values."""
    atomic_write(path, to_csv(rows).encode())


def describe(scores: Scores) -> dict[str, Any]:
    """Gather figures, curves in percent, and all tables of a tracker as plain data."""
    return {
        'figures': scores.figures(),
        'rules': asdict(scores.rules),
        'curves': {
            name: (100 * getattr(scores, name).mean(axis=0)).tolist()
            for name in ('success', 'precision', 'norm_precision')
        },
        'sequences': sequence_table(scores),
        'classes': class_table(scores),
        'attributes': attribute_table(scores),
    }
