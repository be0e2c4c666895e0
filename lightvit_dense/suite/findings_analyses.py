"""Findings about the inside of networks, from the files that the analyses write."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any, ClassVar

from lightvit_dense.errors import UserError

from .findings_evidence import KINDS, Evidence, Judgement, Known, require
from .findings_rules import ABSENT, APPEARS, UNDECIDED, NotRunError
from .findings_runs import check_number

Layers = str | Sequence[int]
"""``upper``, ``lower``, ``first``, ``last``, ``embedding``, ``all`` or numbers of layers."""
PARTS: Mapping[str, Callable[[int, int], bool]] = {
    'upper': lambda layer, depth: layer > depth / 2,
    'lower': lambda layer, depth: 1 <= layer <= depth / 2,
    'first': lambda layer, depth: layer == 1,
    'last': lambda layer, depth: layer == depth,
    'embedding': lambda layer, depth: layer == 0,
    'all': lambda layer, depth: True,
}
QUANTITIES = {
    'distance': 'attention_stats',
    'entropy': 'attention_stats',
    'relative_entropy': 'attention_stats',
    'high_frequency': 'fourier',
    'cka': 'cka',
    'cka_diagonal': 'cka',
    'cross_entropy': 'attention_agreement',
    'kl': 'attention_agreement',
    'js': 'attention_agreement',
    'explained': 'attention_agreement',
    'cosine': 'attention_agreement',
}
"""What can be read out of an analysis -> the tool that measures it."""
WORDS = {
    'distance': 'attention distance in px',
    'entropy': 'attention entropy in nats',
    'relative_entropy': 'attention entropy over its maximum',
    'high_frequency': 'relative log amplitude of the highest frequency',
    'cka': 'CKA',
    'cka_diagonal': 'CKA of layers of the same number',
    'cross_entropy': 'cross entropy of attention',
    'kl': 'KL divergence of attention',
    'js': 'Jensen-Shannon divergence of attention',
    'cosine': 'cosine of attention',
    'explained': 'share of attention logits explained',
}
ONE_PRETRAINING = 'One pre-training each: how much chance moves these figures is not known.'


def choose_layers(layers: Layers, known: Sequence[int]) -> list[int]:
    """Return the numbers of layers; the last of the known ones is the depth.

    Raises:
        NotRunError: If a named one was not measured, or a part has none.
    """
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


@dataclass(frozen=True)
class Look:
    """One number out of an analysis: the mean of a quantity over layers.

    ``distance`` is in pixels and ``entropy`` in nats, both means over heads; ``relative_entropy``
    is the entropy over its maximum. ``high_frequency`` is the relative log amplitude at the
    highest frequency. ``cka`` is the mean over all pairs of a chosen layer of the first model with
    a chosen layer of the second, ``cka_diagonal`` that over layers of the same number. The other
    quantities are means over the pairs whose student layer is chosen.

    Args:
        analysis: Name of the analysis.
        quantity: One of :data:`QUANTITIES`.
        layers: Which layers; ``upper`` are those above half the depth, ``lower`` the others
            without the patch embedding, which is layer 0.
        model: Which model of the analysis; needed for attention and Fourier.
    """

    analysis: str
    quantity: str
    layers: Layers = 'upper'
    model: str | None = None

    def check(self, known: Known, where: str) -> None:
        """Check all names.

        Raises:
            UserError: If one is unknown or missing.
        """
        require(self.quantity, QUANTITIES, f'{where}.quantity')
        models = known.require_analysis(self.analysis, [QUANTITIES[self.quantity]], where)
        if isinstance(self.layers, str):
            require(self.layers, PARTS, f'{where}.layers')
        if self.needs_model:
            if self.model is None:
                raise UserError(f'{where} needs a model; there are {", ".join(models)}')
            require(self.model, models, f'{where}: model')
        elif self.model is not None:
            raise UserError(f'{where}: {self.quantity} is of two models, leave out model')

    @property
    def needs_model(self) -> bool:
        """Whether the quantity belongs to one model."""
        return QUANTITIES[self.quantity] in ('attention_stats', 'fourier')

    def read(self, evidence: Evidence) -> float:
        """Return the number.

        Raises:
            NotRunError: If it was not measured.
        """
        contents = evidence.contents(self.analysis)
        content = self._of_model(contents, evidence) if self.needs_model else contents[0]
        try:
            return READERS[QUANTITIES[self.quantity]](content, self.quantity, self.layers)
        except (KeyError, TypeError, IndexError, ValueError, ZeroDivisionError) as error:
            raise NotRunError(
                f'the file of the analysis {self.analysis!r} lacks {self.quantity} '
                f'({type(error).__name__}: {error})'
            ) from error

    def _of_model(
        self, contents: Sequence[dict[str, Any]], evidence: Evidence
    ) -> Mapping[str, Any]:
        assert self.model is not None  # checked when the suite was read
        for content in contents:
            if evidence.is_model(content.get('model') or {}, self.model):
                return content
        raise NotRunError(f'the analysis {self.analysis!r} has no file of {self.model!r}')


def _read_attention(content: Mapping[str, Any], quantity: str, layers: Layers) -> float:
    rows = {row['layer']: row for row in content['layers']}
    chosen = [rows[layer] for layer in choose_layers(layers, sorted(rows))]
    if quantity == 'relative_entropy':
        return fmean(fmean(row['entropy']) / row['max_entropy'] for row in chosen)
    return fmean(fmean(row[quantity]) for row in chosen)


def _read_fourier(content: Mapping[str, Any], quantity: str, layers: Layers) -> float:
    rows = content['relative_log_amplitude']
    return fmean(rows[layer][-1] for layer in choose_layers(layers, range(len(rows))))


def _read_cka(content: Mapping[str, Any], quantity: str, layers: Layers) -> float:
    matrix = content['matrix']
    rows = choose_layers(layers, range(len(matrix)))
    if quantity == 'cka_diagonal':
        if len(matrix) != len(matrix[0]):
            raise NotRunError(
                f'the models have {len(matrix)} and {len(matrix[0])} layers: no pairs of the same '
                "number; use the quantity 'cka'"
            )
        return fmean(matrix[row][row] for row in rows)
    columns = choose_layers(layers, range(len(matrix[0])))
    return fmean(matrix[row][column] for row in rows for column in columns)


def _read_agreement(content: Mapping[str, Any], quantity: str, layers: Layers) -> float:
    pairs = content['pairs']
    chosen = choose_layers(layers, sorted({pair['student'] for pair in pairs}))
    return fmean(pair[quantity] for pair in pairs if pair['student'] in chosen)


READERS: Mapping[str, Callable[[Mapping[str, Any], str, Layers], float]] = {
    'attention_stats': _read_attention,
    'fourier': _read_fourier,
    'cka': _read_cka,
    'attention_agreement': _read_agreement,
}
assert set(READERS) == set(KINDS)


@dataclass(frozen=True)
class CKARises:
    """The upper layers of a model are more like those of a reference than another model's are.

    Likeness is the mean CKA over all pairs of an upper layer of the model with one of the
    reference. The finding *appears* if it is larger by more than the margin, *does not appear* if
    it is smaller by more than that, and is *undecided* else.

    Args:
        title: The statement.
        analysis: CKA of the model (first) and the reference (second).
        base: CKA of the other model (first) and the same reference (second).
        source: Where it is said.
        layers: As in :class:`Look`.
        margin: Largest difference that is still called level.
    """

    kind: ClassVar[str] = 'cka_rises'
    title: str
    analysis: str
    base: str
    source: str = ''
    layers: Layers = 'upper'
    margin: float = 0.02

    def _looks(self, quantity: str) -> list[Look]:
        return [Look(name, quantity, self.layers) for name in (self.analysis, self.base)]

    def check(self, known: Known, where: str) -> None:
        """Check all names, see :func:`~.findings.check_findings`."""
        for look in self._looks('cka'):
            look.check(known, where)
        references = [known.analyses[name][1][1] for name in (self.analysis, self.base)]
        if references[0] != references[1]:
            raise UserError(
                f'{where}: {self.analysis!r} and {self.base!r} have different second models, '
                f'{" and ".join(references)}; they must share the reference'
            )
        check_number(self.margin, 0, 1, f'{where}.margin')

    def judge(self, evidence: Evidence) -> Judgement:
        """Return the verdict."""
        entries = [evidence.analysis(name) for name in (self.analysis, self.base)]
        models = [evidence.title_of(entry['models'][0]) for entry in entries]
        reference = evidence.title_of(entries[0]['models'][1])
        ours, theirs = (look.read(evidence) for look in self._looks('cka'))
        difference = ours - theirs
        text = (
            f'Mean CKA of the layers ({_name(self.layers)}) with those of {reference}: '
            f'{models[0]} {ours:.3f}, {models[1]} {theirs:.3f}, difference {_signed(difference)}'
        )
        numbers = [dict(quantity='cka', values=[ours, theirs], difference=difference)]
        try:
            same = [look.read(evidence) for look in self._looks('cka_diagonal')]
            text += f'; layers of the same number alone: {same[0]:.3f} and {same[1]:.3f}'
            numbers.append(dict(quantity='cka_diagonal', values=same, difference=same[0] - same[1]))
        except NotRunError:
            pass  # depths differ: there are no such pairs
        text += f'. Up to {self.margin:g} counts as level. {ONE_PRETRAINING}'
        return Judgement(_by_margin(difference, self.margin), text, numbers)


@dataclass(frozen=True)
class LocalUpperLayers:
    """The upper layers of a model attend to what is near, and to little.

    Attention distance and entropy of the upper layers are compared with those of the model's lower
    layers and of the upper layers of another model. A comparison holds if the figure is lower by
    more than the margin, and is reversed if it is higher by more than that. The finding *appears*
    if all comparisons hold, *does not appear* if none holds and one is reversed, and is
    *undecided* else.

    Args:
        title: The statement.
        analysis: Attention statistics.
        model: The model that it is about.
        base: The other model, supervised for instance; None for none.
        lower: Whether to compare with the model's own lower layers.
        source: Where it is said.
        margin: Largest difference that is still called level, as a share of the other figure.
    """

    kind: ClassVar[str] = 'local_upper_layers'
    title: str
    analysis: str
    model: str
    base: str | None = None
    lower: bool = True
    source: str = ''
    margin: float = 0.05

    def _pairs(self) -> list[tuple[Look, Look]]:
        pairs = []
        for quantity in ('distance', 'entropy'):
            upper = Look(self.analysis, quantity, 'upper', self.model)
            if self.lower:
                pairs.append((upper, Look(self.analysis, quantity, 'lower', self.model)))
            if self.base is not None:
                pairs.append((upper, Look(self.analysis, quantity, 'upper', self.base)))
        return pairs

    def check(self, known: Known, where: str) -> None:
        """Check all names, see :func:`~.findings.check_findings`."""
        if not self._pairs():
            raise UserError(f'{where} compares with nothing: set base, or lower=True')
        for pair in self._pairs():
            for look in pair:
                look.check(known, where)
        check_number(self.margin, 0, 1, f'{where}.margin')

    def judge(self, evidence: Evidence) -> Judgement:
        """Return the verdict."""
        texts, numbers, outcomes = [], [], []
        for look, other in self._pairs():
            ours, theirs = look.read(evidence), other.read(evidence)
            outcome = _by_margin(theirs - ours, self.margin * abs(theirs))
            unit = 'px' if look.quantity == 'distance' else 'nats'
            against = (
                'in its lower layers'
                if other.model == self.model
                else f'in the upper layers of {evidence.title_of(str(other.model))}'
            )
            texts.append(f'{look.quantity} {ours:.2f} {unit} against {theirs:.2f} {against}')
            outcomes.append(outcome)
            numbers.append(dict(quantity=look.quantity, against=against, values=[ours, theirs]))
        if all(outcome == APPEARS for outcome in outcomes):
            verdict = APPEARS
        else:
            verdict = ABSENT if ABSENT in outcomes and APPEARS not in outcomes else UNDECIDED
        held = outcomes.count(APPEARS)
        text = (
            f'Upper layers of {evidence.title_of(self.model)}: {"; ".join(texts)}. '
            f'{held} of {len(outcomes)} are lower by more than {self.margin:.0%}. {ONE_PRETRAINING}'
        )
        return Judgement(verdict, text, numbers)


@dataclass(frozen=True)
class CompareAnalysis:
    """One number out of an analysis is below, or above, another one or a given value.

    The finding *appears* if the difference has the claimed sign and exceeds the margin, *does not
    appear* if it has the other sign and exceeds it, and is *undecided* else.

    Args:
        title: The statement.
        left: Arguments of a :class:`Look`.
        right: The same, where what is left out is as on the left; or a number.
        relation: ``<`` or ``>``.
        source: Where it is said.
        margin: Largest difference that is still called level.
    """

    kind: ClassVar[str] = 'compare_analysis'
    title: str
    left: Mapping[str, Any]
    right: Mapping[str, Any] | float
    relation: str = '<'
    source: str = ''
    margin: float = 0.0

    def _look(self, values: Mapping[str, Any], where: str) -> Look:
        require_keys(values, Look, where)
        try:
            return Look(**values)
        except TypeError as error:
            raise UserError(f'{where} lacks {str(error).rpartition(": ")[2]}') from error

    def check(self, known: Known, where: str) -> None:
        """Check all names, see :func:`~.findings.check_findings`."""
        require(self.relation, ('<', '>'), f'{where}.relation')
        if not isinstance(self.left, Mapping):
            raise UserError(f'{where}.left must be a dict, got {self.left!r}')
        self._look(self.left, f'{where}.left').check(known, f'{where}.left')
        if isinstance(self.right, Mapping):
            right = {**self.left, **self.right}
            self._look(right, f'{where}.right').check(known, f'{where}.right')
        else:
            check_number(self.right, float('-inf'), float('inf'), f'{where}.right')
        check_number(self.margin, 0, float('inf'), f'{where}.margin')

    def judge(self, evidence: Evidence) -> Judgement:
        """Return the verdict."""
        left = self._look(self.left, 'left')
        ours, text = left.read(evidence), _of(left, evidence)
        if isinstance(self.right, Mapping):
            right = self._look({**self.left, **self.right}, 'right')
            theirs, other = right.read(evidence), f'; {_of(right, evidence)}'
        else:
            theirs, other = float(self.right), '; the value to compare with'
        gain = ours - theirs if self.relation == '>' else theirs - ours
        sentence = (
            f'{text[0].upper()}{text[1:]}: {ours:.3f}{other}: {theirs:.3f}. Difference '
            f'{_signed(ours - theirs)}. Up to {self.margin:g} counts as level. {ONE_PRETRAINING}'
        )
        numbers = [dict(quantity=left.quantity, values=[ours, theirs], difference=ours - theirs)]
        return Judgement(_by_margin(gain, self.margin), sentence, numbers)


def require_keys(values: Mapping[str, Any], kind: type, where: str) -> None:
    """Check the keys of a dict that becomes a dataclass.

    Raises:
        UserError: If one is unknown.
    """
    from dataclasses import fields

    for key in values:
        require(key, [field.name for field in fields(kind)], f'{where}: key')


def _by_margin(gain: float, margin: float) -> str:
    if gain > margin:
        return APPEARS
    return ABSENT if gain < -margin else UNDECIDED


def _name(layers: Layers) -> str:
    if isinstance(layers, str):
        return {'upper': 'upper half', 'lower': 'lower half'}.get(layers, layers)
    return ', '.join(map(str, layers))


def _signed(value: float) -> str:
    return f'{value:+.3f}'.replace('-', '\N{MINUS SIGN}')


def _of(look: Look, evidence: Evidence) -> str:
    models = [look.model] if look.model else evidence.analysis(look.analysis)['models']
    whose = ' and '.join(evidence.title_of(model) for model in models)
    return f'{WORDS[look.quantity]}, {whose}, layers: {_name(look.layers)}'
