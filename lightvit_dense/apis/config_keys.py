"""Catch misspelt and outdated config keys, which mmengine would silently ignore.

The rules:

* A key that was renamed is an error that names the new one (``RENAMED``).
* A top-level key is wrong when it is not a known one but nearly spells one. (Configs keep every
  helper variable, so an unknown name alone means nothing.)
* The sections that mmengine reads itself (loops, data loaders, ``optim_wrapper``, ``randomness``,
  ``env_cfg``) and ``engine`` may hold only the keys that are read.
* ``--cfg-options`` may set what the config already has. A key it does not have must be a known
  top-level key, an argument of the class that the enclosing dict's ``type`` names, or a key of such
  a section. In any other dict a new key is accepted unless it nearly spells one that is there.
* A value of ``--cfg-options`` must fit the one that it replaces: no word for a number of such a
  section, no single value for a typed dict, and no empty value.
"""

import copy
import inspect
from collections.abc import Iterable, Mapping, Sequence
from types import NoneType
from typing import Any

import mmengine.registry
from mmengine.config import Config, ConfigDict
from mmengine.optim import AmpOptimWrapper, OptimWrapper
from mmengine.registry import Registry
from mmengine.runner import EpochBasedTrainLoop, IterBasedTrainLoop, Runner, TestLoop, ValLoop
from torch.utils.data import DataLoader

from lightvit_dense.engine.options import DEFAULTS as ENGINE_OPTIONS
from lightvit_dense.errors import UserError, did_you_mean

OWN_KEYS = {'engine', 'expected', 'extra_tests', 'help', 'visualization_hook'}
# Read by mmengine's Runner, Config or registries, though no arguments of the Runner.
RUNNER_EXTRAS = {
    'activation_checkpointing',
    'compile',
    'custom_imports',
    'efficient_conv_bn_eval',
    'find_unused_parameters',
    'model_wrapper_cfg',
    'runner_type',
    'strategy',
    'sync_bn',
    'tta_model',
    'tta_pipeline',
}
RENAMED = {
    ('', 'painter'): 'visualization_hook',
    ('MaskRCNN', 'canvas'): 'pad_shape',
    ('EncoderDecoder', 'canvas'): 'pad_shape',
    ('PretrainedBackbone', 'reserve'): 'num_pretrained_blocks',
    ('VisionTransformer', 'window_size'): 'window=dict(size=...)',
    ('VisionTransformer', 'global_blocks'): 'window=dict(global_blocks=...)',
    ('VisionTransformer', 'rel_pos_size'): "rel_pos=dict(kind='decomposed', size=...)",
    ('VisionTransformer', 'rel_pos_bias'): "rel_pos=dict(kind='bias')",
    ('OnePassEvaluation', 'rules'): 'protocol',
    ('CenterResizedCrop', 'share'): 'ratio',
}
"""Old keys by the class that took them, '' for the config itself, with what to write instead."""
# Names of helper variables that configs commonly hold.
HELPERS = {
    f'{split}_{thing}' for split in ('train', 'val', 'test') for thing in ('dataset', 'pipeline')
}


def _signature(*callables: Any) -> set[str]:
    names = {name for item in callables for name in inspect.signature(item).parameters}
    return names - {'self', 'args', 'kwargs', 'runner', 'cfg'}


TOP_LEVEL = _signature(Runner) | RUNNER_EXTRAS | OWN_KEYS
DATALOADER = _signature(DataLoader) | {'num_batch_per_epoch'}
SECTIONS: dict[str, set[str]] = {
    'train_cfg': _signature(EpochBasedTrainLoop, IterBasedTrainLoop) | {'by_epoch'},
    'val_cfg': _signature(ValLoop),
    'test_cfg': _signature(TestLoop),
    'train_dataloader': DATALOADER,
    'val_dataloader': DATALOADER,
    'test_dataloader': DATALOADER,
    'optim_wrapper': _signature(OptimWrapper, AmpOptimWrapper) | {'constructor', 'paramwise_cfg'},
    'randomness': {'seed', 'diff_rank_seed', 'deterministic'},
    'env_cfg': {'cudnn_benchmark', 'mp_cfg', 'dist_cfg', 'resource_limit'},
    'auto_scale_lr': {'base_batch_size', 'enable'},
    'engine': set(ENGINE_OPTIONS),
}
# Sections that another class may read once they name it.
TYPED = {'train_cfg', 'val_cfg', 'test_cfg', 'optim_wrapper'}


def check_keys(cfg: Config) -> None:
    """Check the keys of a whole config; an error tells what was probably meant."""
    _check_renamed(cfg, '', cfg.filename or 'the config')
    for key in cfg:
        if key in TOP_LEVEL or key in HELPERS or key.startswith('_'):
            continue
        hint = did_you_mean(key, TOP_LEVEL, cutoff=0.88)
        if hint:
            raise UserError(
                f'{cfg.filename or "the config"} sets {key!r}, which nothing reads.{hint}'
            )
    for section, known in SECTIONS.items():
        value = cfg.get(section)
        if isinstance(value, Mapping):
            _check_section(section, value, known)
    for name, entry in (cfg.get('extra_tests') or {}).items():
        if isinstance(entry, Mapping):
            _check_section(f'extra_tests.{name}', entry, {'dataloader', 'evaluator'})
            loader = entry.get('dataloader') or {}
            _check_section(f'extra_tests.{name}.dataloader', loader, DATALOADER)


def _check_renamed(node: Any, place: str, origin: str) -> None:
    """Look for outdated keys in a part of a config and everything below it."""
    if isinstance(node, (Mapping, Config)):
        for key in node:
            new = _new_name(node, place, key)
            if new:
                raise UserError(f'{origin}: {_joined(place, key)} is now called {new!r}')
            _check_renamed(node[key], _joined(place, key), origin)
    elif isinstance(node, (list, tuple)):
        for index, item in enumerate(node):
            _check_renamed(item, _joined(place, index), origin)


def _new_name(node: Any, place: str, key: str) -> str | None:
    kind = node.get('type') if place else ''
    name = kind.rpartition('.')[2] if isinstance(kind, str) else getattr(kind, '__name__', None)
    return RENAMED.get((str(name), key))


def _joined(place: str, key: Any) -> str:
    return f'{place}.{key}' if place else str(key)


def _check_section(section: str, value: Mapping, known: Iterable[str]) -> None:
    kind = value.get('type')
    if section == 'optim_wrapper':
        # Only mmengine's own two wrappers are known.
        own = kind is None or str(kind).rpartition('.')[2] in ('OptimWrapper', 'AmpOptimWrapper')
        if 'optimizer' not in value or not own:
            return
    elif section in TYPED and 'type' in value:
        return
    allowed = {*known, 'type', '_scope_', '_delete_'}
    for key in value:
        if key not in allowed:
            raise UserError(f'config key {section}.{key} is not known.{did_you_mean(key, known)}')


def check_options(cfg: Config, options: Mapping[str, Any]) -> None:
    """Check the dotted keys of ``--cfg-options``, and their values; see the rules above."""
    for dotted, value in options.items():
        below = [key for key in options if key.startswith(f'{dotted}.')]
        if below and not isinstance(value, Mapping):
            raise UserError(
                f'--cfg-options {below[0]}: {dotted}={value!r} is given too; leave out one of them'
            )
        _check_option(cfg, dotted, value)


def merge_options(cfg: Config, options: Mapping[str, Any]) -> None:
    """Override values by dotted keys, in place; dicts are merged unless ``_delete_=True``."""
    for dotted in sorted(options, key=lambda key: key.count('.')):
        first, *parts = dotted.split('.')
        cfg[first] = _replaced(cfg.get(first), parts, options[dotted])


def _replaced(old: Any, parts: Sequence[str], value: Any) -> Any:
    """Return a copy of ``old`` with a nested value replaced."""
    if parts and isinstance(old, (list, tuple)):
        items = list(old)
        items[int(parts[0])] = _replaced(items[int(parts[0])], parts[1:], value)
        return type(old)(items)
    if parts:
        kept = old if isinstance(old, Mapping) else {}
        return ConfigDict({**kept, parts[0]: _replaced(kept.get(parts[0]), parts[1:], value)})
    if not isinstance(value, Mapping):
        return ConfigDict(value=copy.deepcopy(value)).value  # dicts in lists become ConfigDicts
    kept = old if isinstance(old, Mapping) and not value.get('_delete_') else {}
    new = {k: _replaced(kept.get(k), (), v) for k, v in value.items() if k != '_delete_'}
    return ConfigDict({**kept, **new})


def _check_option(cfg: Config, dotted: str, value: Any) -> None:
    node: Any = cfg
    parts = dotted.split('.')
    for depth, part in enumerate(parts):
        place = '.'.join(parts[:depth])
        if isinstance(node, (list, tuple)):
            if not part.isdigit() or int(part) >= len(node):
                raise UserError(
                    f'--cfg-options {dotted}: {place} is a list of {len(node)} items; '
                    f'{part!r} is none of them'
                )
            node = node[int(part)]
        elif not isinstance(node, (Mapping, Config)):
            if (node is None or isinstance(node, bool)) and parts[0] == 'engine':
                return
            hint = f'; give {place}=dict(type=..., {part}=...)' if node is None else ''
            raise UserError(
                f'--cfg-options {dotted}: {place} is {node!r}, which has nothing below it{hint}'
            )
        elif part in node:
            node = node[part]
        else:
            _check_new_key(cfg, node, dotted, place, part)
            return
    _check_value(cfg, dotted, node, value)


def _check_value(cfg: Config, dotted: str, old: Any, value: Any) -> None:
    """Check a value that replaces another one."""
    if value == '' and not isinstance(old, (str, NoneType)):
        raise UserError(
            f'--cfg-options {dotted}: the value is empty, where the config has {old!r}; write None '
            'for none'
        )
    place, _, key = dotted.rpartition('.')
    number = isinstance(old, (int, float)) and not isinstance(old, bool) and key != 'loss_scale'
    if number and isinstance(value, str) and place in {*SECTIONS, 'optim_wrapper.optimizer'}:
        raise UserError(
            f'--cfg-options {dotted}: {value!r} is not a number; the config has {old!r}'
        )
    if not isinstance(old, Mapping):
        return
    if isinstance(value, (str, int, float)) and ('type' in old or dotted in SECTIONS):
        raise UserError(
            f'--cfg-options {dotted}: is a dict in the config, not {value!r}; give '
            f'{dotted}=dict(...), {dotted}=None, or a key such as {dotted}.{next(iter(old))}'
        )
    same = isinstance(value, Mapping) and value.get('type', old.get('type')) == old.get('type')
    for key in value if same and not value.get('_delete_') else ():
        _check_option(cfg, f'{dotted}.{key}', value[key])


def _check_new_key(cfg: Config, node: Any, dotted: str, place: str, part: str) -> None:
    new = _new_name(node, place, part)
    if new:
        raise UserError(f'--cfg-options {dotted}: {part!r} is now called {new!r}')
    if not place:
        strict, known = True, TOP_LEVEL | {'work_dir'}
    elif place in SECTIONS and not (place in TYPED and 'type' in node):
        strict, known = True, SECTIONS[place]
    else:
        known, strict = constructor_arguments(node.get('type'), cfg.get('default_scope'))
    if part in known:
        return
    hint = did_you_mean(part, {*known, *map(str, node)}, cutoff=0.6 if strict else 0.8)
    if strict and place and not hint:
        hint = f' There are {", ".join(sorted({*known, *map(str, node)} - {"type"}))}.'
    if strict or hint:
        raise UserError(
            f'--cfg-options {dotted}: there is no {part!r} in {place or "the config"}.{hint}'
        )


def constructor_arguments(kind: Any, scope: str | None = None) -> tuple[set[str], bool]:
    """Return the arguments of a registered class (and its parents), and whether that is all."""
    built = find_registered(kind, scope) if isinstance(kind, str) else kind
    if built is None or not callable(built):
        return set(), False
    classes = inspect.getmro(built) if inspect.isclass(built) else (built,)
    names: set[str] = set()
    for cls in classes:
        function = vars(cls).get('__init__') if inspect.isclass(cls) else cls
        if function is None or cls is object:
            continue
        try:
            parameters = list(inspect.signature(function).parameters.values())
        except (TypeError, ValueError):
            return names, False
        keywords = inspect.Parameter.VAR_KEYWORD
        names |= {item.name for item in parameters if item.kind is not keywords} - {'self'}
        if all(item.kind is not keywords for item in parameters):
            return names, True
    return names, False


def find_registered(name: str, scope: str | None = None) -> Any:
    """Return what any registry holds under a name, in ``scope`` (ours) first, or None."""
    names = [name] if '.' in name else [f'{scope or "lightvit_dense"}.{name}', name]
    for registry in vars(mmengine.registry).values():
        if isinstance(registry, Registry) and registry.parent is None:
            for candidate in names:
                try:
                    found = registry.get(candidate)
                except (ImportError, AssertionError, KeyError):
                    continue
                if found is not None:
                    return found
    return None
