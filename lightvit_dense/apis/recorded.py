"""The config that a checkpoint carries, read as data and never run.

mmengine writes the config of a run as Python into its checkpoints. Whoever made the file wrote that
text, so only assignments of literals and ``dict(...)`` are read, and of the result only names of
this library and the few others that its own configs use may be built.
"""

import importlib
from collections.abc import Iterator
from typing import Any

import mmengine.registry
from mmengine.config import Config
from mmengine.registry import Registry

from lightvit_dense.errors import UserError, did_you_mean
from lightvit_dense.utils.literals import read_assignments

OWN = ('lightvit_dense', 'tracking')
"""Packages all of whose registered names may be built."""
_BORROWED = {
    'mmdet': 'AnchorGenerator ConvFCBBoxHead CrossEntropyLoss DeltaXYWHBBoxCoder '
    'DetDataPreprocessor FCNMaskHead FPN L1Loss LoadAnnotations LoadImageFromFile MaxIoUAssigner '
    'PackDetInputs RPNHead RandomSampler Resize Shared4Conv1FCBBoxHead SingleRoIExtractor '
    'StandardRoIHead',
    'mmengine': 'pseudo_collate',
    'mmseg': 'CrossEntropyLoss FCNHead FPNHead Feature2Pyramid LoadAnnotations LoadImageFromFile '
    'PackSegInputs Resize UPerHead',
}
FOREIGN = {f'{scope}.{name}' for scope, names in _BORROWED.items() for name in names.split()}
"""What our configs build of other packages. Those also have classes that open files or addresses,
import modules or evaluate strings, so that being registered is not enough."""
PLAIN = {'BN', 'GELU', 'GN', 'LN', 'ReLU', 'RoIAlign', 'SyncBN', 'nms', 'soft_nms'}
"""Names without a scope, of layers and of functions."""
SCOPES = (*OWN, 'mmdet', 'mmseg', 'mmengine')

_SECTIONS = ('model', 'test_dataloader', 'default_scope')
# Where initial weights come from; those of the checkpoint replace them.
_SOURCES = ('init_cfg', 'checkpoint', 'pretrained')


def read_text(text: str, origin: str) -> dict[str, Any]:
    """Read ``model``, ``test_dataloader`` and ``default_scope`` of ``name = literal`` lines."""
    try:
        return read_assignments(text, _SECTIONS)
    except ValueError as error:
        raise UserError(
            f'{origin}: the config that it carries cannot be read as plain data ({error}). If you '
            "know what the file is, name its config: load(..., config='CONFIG.py')"
        ) from error


def recorded_config(text: Any, origin: str) -> Config:
    """Make a config of the text in a checkpoint, without sources of initial weights."""
    if not isinstance(text, str):
        raise UserError(f'{origin}: the config that it carries is a {type(text).__name__}, no text')
    found = read_text(text, origin)
    if not isinstance(found.get('model'), dict):
        raise UserError(f"{origin}: the config that it carries has no model; give load's config")
    model = without_sources(found['model'])
    loader, scope = found.get('test_dataloader'), found.get('default_scope', OWN[0])
    if scope not in SCOPES:
        raise UserError(f'{origin}: default_scope={scope!r} is none of {", ".join(SCOPES)}')
    kept: dict[str, Any] = dict(model=model, default_scope=scope)
    if isinstance(loader, dict) and isinstance(loader.get('dataset'), dict):
        kept['test_dataloader'] = _test_part(loader)
    for node in _dicts(kept):
        if 'type' in node:
            _check_type(node['type'], scope, origin)
        if '_scope_' in node:
            _check_type(f'{node["_scope_"]}.*', scope, origin)
        # timm would look it up on the network (``hf-hub:...``) or in a folder.
        if 'Timm' in str(node.get('type')) and ':' in str(node.get('name')):
            raise UserError(
                f'{origin}: its config asks for {node["name"]!r}; only names of timm are built'
            )
    return Config(kept)


def without_sources(node: Any) -> Any:
    """Return a part of a config without the files that initial weights come from."""
    if isinstance(node, dict):
        return {k: without_sources(v) for k, v in node.items() if k not in _SOURCES}
    if isinstance(node, (list, tuple)):
        return type(node)(without_sources(item) for item in node)
    return node


def _test_part(loader: dict[str, Any]) -> dict[str, Any]:
    """Keep what inference reads of the test data: the pipeline, names, how samples are joined."""
    dataset = loader['dataset']
    kept = {key: dataset[key] for key in ('pipeline', 'metainfo') if key in dataset}
    kind = dataset.get('type')
    # Only asked for the names of its classes; another package's set tells none.
    if isinstance(kind, str) and kind.split('.')[0] in OWN:
        kept['type'] = kind
    part: dict[str, Any] = dict(dataset=kept)
    if 'collate_fn' in loader:
        part['collate_fn'] = loader['collate_fn']
    return part


def _dicts(node: Any) -> Iterator[dict]:
    """Walk over a dict and all dicts below it, which is all that the registries are asked for."""
    if isinstance(node, dict):
        yield node
        node = list(node.values())
    if isinstance(node, (list, tuple, set)):
        for item in node:
            yield from _dicts(item)


def _check_type(name: Any, default_scope: str, origin: str) -> None:
    """Raise unless a type is one that may be built."""
    remedy = "If you trust the file, name its config: load(..., config='CONFIG.py')"
    if not isinstance(name, str):
        raise UserError(f'{origin}: type={name!r} in its config is no name. {remedy}')
    scope, _, short = name.rpartition('.')
    if name in PLAIN or name in FOREIGN or f'{default_scope}.{name}' in FOREIGN:
        return
    if short == '*' and scope in SCOPES:  # _scope_
        return
    owner = scope or default_scope
    if owner in OWN:
        known = _registered(owner, origin)
        if short in known:
            return
        remedy = f'{owner} has no {short!r}.{did_you_mean(short, known)} {remedy}'
    raise UserError(
        f'{origin}: its config builds {name!r}, which is not built on the word of a file. {remedy}'
    )


def _registered(scope: str, origin: str) -> set[str]:
    """Return the names that a package of ours registers, in any registry."""
    try:
        importlib.import_module(scope)
    except ImportError as error:
        raise UserError(f'{origin}: needs the package {scope} ({error}); install it') from error
    names: set[str] = set()
    for root in vars(mmengine.registry).values():
        child = root.children.get(scope) if isinstance(root, Registry) else None
        if child is not None:
            child.import_from_location()
            names |= set(child.module_dict)
    return names
