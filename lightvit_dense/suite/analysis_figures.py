"""Single numbers out of the files that analyses write: what findings compare."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from pydantic import BaseModel, ConfigDict

from lightvit_dense.errors import UserError, require_known

from .results import MEASURED, Results, Run

OF_ONE_MODEL = ('attention_stats', 'fourier')
"""Tools that write a file for each model."""
QUANTITIES = {
    'distance': ('attention_stats', 'attention distance, px'),
    'entropy': ('attention_stats', 'attention entropy, nats'),
    'relative_entropy': ('attention_stats', 'attention entropy over its maximum'),
    'high_frequency': ('fourier', 'relative log amplitude of the highest frequency'),
    'cka': ('cka', 'CKA'),
    'cka_diagonal': ('cka', 'CKA of layers of the same number'),
    'cross_entropy': ('attention_agreement', 'cross entropy of attention'),
    'kl': ('attention_agreement', 'KL divergence of attention'),
    'js': ('attention_agreement', 'Jensen-Shannon divergence of attention'),
    'attention_r2': ('attention_agreement', 'R² of attention logits'),
    'cosine': ('attention_agreement', 'cosine of attention'),
}
"""What can be read out of an analysis -> the tool that measures it, and its name in words."""
PARTS: Mapping[str, Callable[[int, int], bool]] = {
    'upper': lambda layer, depth: layer > depth / 2,
    'lower': lambda layer, depth: 1 <= layer <= depth / 2,
    'first': lambda layer, depth: layer == 1,
    'last': lambda layer, depth: layer == depth,
    'embedding': lambda layer, depth: layer == 0,
    'all': lambda layer, depth: True,
}


class NotRunError(Exception):
    """What a finding needs has not been measured; says what."""


class Figure(BaseModel):
    """One number out of an analysis: the mean of a quantity over layers.

    ``distance`` and ``entropy`` are means over heads. ``cka`` is the mean over all pairs of a
    chosen layer of the first model with one of the second, ``cka_diagonal`` that over layers of the
    same number. Quantities of agreement are means over pairs whose student layer is chosen.
    """

    model_config = ConfigDict(extra='forbid', frozen=True)

    analysis: str
    quantity: str  # one of QUANTITIES
    # One of PARTS, or numbers: the upper ones are above half the depth, the patch embedding is 0.
    layers: str | list[int] = 'upper'
    model: str | None = None  # of the analysis; needed for attention and Fourier

    def check(self, analyses: Mapping[str, Any], where: str) -> None:
        """Raise UserError if a name is unknown or missing."""
        require_known(self.quantity, QUANTITIES, f'{where}.quantity')
        require_known(self.analysis, analyses, f'{where}.analysis')
        analysis, tool = analyses[self.analysis], QUANTITIES[self.quantity][0]
        if analysis.tool != tool:
            by = f'the analysis {self.analysis!r} is by {analysis.tool}'
            raise UserError(f'{where}: {by}, this needs one by {tool}')
        if isinstance(self.layers, str):
            require_known(self.layers, PARTS, f'{where}.layers')
        if tool not in OF_ONE_MODEL:
            if self.model is not None:
                raise UserError(f'{where}: {self.quantity} is of two models, leave out model')
        elif self.model is None:
            raise UserError(f'{where} needs a model; there are {", ".join(analysis.models)}')
        else:
            require_known(self.model, analysis.models, f'{where}.model')

    def label(self, results: Results) -> str:
        """Return the figure in words."""
        models = [self.model] if self.model else _analysis(results, self.analysis).models
        layers = self.layers if isinstance(self.layers, str) else ', '.join(map(str, self.layers))
        whose = ' and '.join(results.title_of(model) for model in models)
        return f'{QUANTITIES[self.quantity][1]}, {whose}, layers: {layers}'

    def read(self, results: Results, root: Path) -> float:
        """Return the number; raise NotRunError if it was not measured."""
        tool = QUANTITIES[self.quantity][0]
        contents = _contents(_analysis(results, self.analysis), root)
        if tool in OF_ONE_MODEL:
            contents = [c for c in contents if _is_model(c.get('model') or {}, self.model, results)]
            if not contents:
                raise NotRunError(f'the analysis {self.analysis!r} has no file of {self.model!r}')
        try:
            return _TOOLS[tool][1](contents[0], self.quantity, self.layers)
        except (KeyError, TypeError, IndexError, ValueError, ZeroDivisionError) as error:
            what = f'the file of the analysis {self.analysis!r} lacks {self.quantity}'
            raise NotRunError(f'{what} ({type(error).__name__}: {error})') from error


def _analysis(results: Results, name: str) -> Run:
    found = [run for run in results.runs if (run.kind, run.name) == ('analysis', name)]
    if not found:
        raise NotRunError(f'the results have no analysis {name!r}')
    if found[0].state != MEASURED:
        raise NotRunError(f'the analysis {name!r} is not measured: {found[0].state}')
    return found[0]


def _contents(run: Run, root: Path) -> list[dict[str, Any]]:
    """Return the JSON files of an analysis that are of its tool's kind."""
    kind, found = _TOOLS[run.tool][0], []
    for name in run.files:
        if name.endswith('.json') and name.startswith(kind):
            try:
                found.append(json.loads((root / run.folder / name).read_text(encoding='utf-8')))
            except (OSError, ValueError) as error:
                what = f'{name} of the analysis {run.name!r} is missing or half-written'
                raise NotRunError(f'{what} ({error})') from error
    found = [content for content in found if isinstance(content, dict)]
    found = [content for content in found if content.get('kind') == kind]
    if not found:
        raise NotRunError(f'the analysis {run.name!r} left no {kind} in {run.folder}')
    return found


def _is_model(described: Mapping[str, Any], model: str | None, results: Results) -> bool:
    """Return whether a description is of ours; a pre-training's checkpoint lies in its folder."""
    source: Any = {init.name: init.pretrain for init in results.inits}.get(str(model)) or model
    if isinstance(source, Mapping):
        source = source.get('default')
    folder = Path(str(described.get('checkpoint') or '')).parent.name
    if folder.startswith('pretrain_'):
        return folder == f'pretrain_{source}'
    return described.get('title') == results.title_of(str(model))


def choose_layers(layers: str | Sequence[int], known: Sequence[int]) -> list[int]:
    """Return the numbers of layers, all of which must be known; the last known is the depth."""
    if isinstance(layers, str):
        found = [layer for layer in known if PARTS[layers](layer, max(known))]
    else:
        found = [layer for layer in known if layer in layers]
        missing = sorted(set(layers) - set(found))
        if missing:
            raise NotRunError(f'layers {missing} were not measured, only {list(known)}')
    if not found:
        raise NotRunError(f'no layer of the part {layers!r} was measured, only {list(known)}')
    return found


def _read_attention(content: Mapping[str, Any], quantity: str, layers: Any) -> float:
    rows = {row['layer']: row for row in content['layers']}
    chosen = [rows[layer] for layer in choose_layers(layers, sorted(rows))]
    if quantity == 'relative_entropy':
        return fmean(fmean(row['entropy']) / row['max_entropy'] for row in chosen)
    return fmean(fmean(row[quantity]) for row in chosen)


def _read_fourier(content: Mapping[str, Any], quantity: str, layers: Any) -> float:
    rows = content['relative_log_amplitude']
    return fmean(rows[layer][-1] for layer in choose_layers(layers, range(len(rows))))


def _read_cka(content: Mapping[str, Any], quantity: str, layers: Any) -> float:
    matrix = content['matrix']
    rows = choose_layers(layers, range(len(matrix)))
    if quantity == 'cka_diagonal':
        if len(matrix) != len(matrix[0]):
            sizes = f'{len(matrix)} and {len(matrix[0])} layers'
            raise NotRunError(
                f"the models have {sizes}: no pairs of the same number; use the quantity 'cka'"
            )
        return fmean(matrix[row][row] for row in rows)
    columns = choose_layers(layers, range(len(matrix[0])))
    return fmean(matrix[row][column] for row in rows for column in columns)


def _read_agreement(content: Mapping[str, Any], quantity: str, layers: Any) -> float:
    pairs = content['pairs']
    chosen = choose_layers(layers, sorted({pair['student'] for pair in pairs}))
    return fmean(pair[quantity] for pair in pairs if pair['student'] in chosen)


_TOOLS: Mapping[str, tuple[str, Callable[[Mapping[str, Any], str, Any], float]]] = {
    'attention_stats': ('attention', _read_attention),
    'fourier': ('fourier', _read_fourier),
    'cka': ('cka', _read_cka),
    'attention_agreement': ('agreement', _read_agreement),
}
"""Tool -> what it calls its files, and how a number is read out of one."""
