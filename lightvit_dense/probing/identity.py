"""What features depend on, so that none are taken for those of other weights or images."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from lightvit_dense.errors import UserError

FORMAT = 2
"""Number of the way features are computed and kept; a change makes all caches stale."""
SAMPLED = 64


def fingerprint(dataset: Any) -> dict[str, Any]:
    """Return plain data about a data set: digests of all names and labels, and of 64 images."""
    names, content = hashlib.sha256(), hashlib.sha256()
    count = len(dataset)
    if not count:
        raise UserError('a data set without images cannot be probed')
    chosen = set(np.linspace(0, count - 1, min(SAMPLED, count)).round().astype(int).tolist())
    for index in range(count):
        info = dataset.get_data_info(index)
        if 'gt_label' not in info:
            raise UserError(
                f'{type(dataset).__name__} gives no labels (gt_label): probing needs a '
                'classification config, with_labels=True'
            )
        names.update(f'{info.get("img_path")}\0{int(info["gt_label"])}\n'.encode())
        if index in chosen:
            content.update(_content(info))
    return {'images': count, 'list': names.hexdigest(), 'sample': content.hexdigest()}


def _content(info: Mapping[str, Any]) -> bytes:
    if 'storage' in info:
        return bytes(info['storage'].read(info['img_path']))
    if isinstance(info.get('img'), np.ndarray):
        return info['img'].tobytes()
    with open(info['img_path'], 'rb') as file:
        return file.read()


def identity_of(network: Mapping[str, Any], data: Mapping[str, Any]) -> str:
    """Name features in 32 hexadecimal digits, by all that tells network and data from others."""
    content = {'format': FORMAT, 'network': network, 'data': data}
    text = json.dumps(content, sort_keys=True, default=repr)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def plain(value: Any) -> Any:
    """Turn config values into what JSON knows."""
    if isinstance(value, dict):
        return {str(key): plain(v) for key, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(v) for v in value]
    return value if isinstance(value, (str, int, float, bool, type(None))) else repr(value)
