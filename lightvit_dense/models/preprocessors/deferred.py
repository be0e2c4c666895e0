"""What the workers have drawn is done on the device, for a batch at a time."""

from typing import Any

import torch
from torch import Tensor

from .deviceops import DEVICE_OPS
from .jpeg import decode_batch
from .resize import crop_and_resize


@torch.no_grad()
def make_views(
    batch: dict[str, Any], device: torch.device, non_blocking: bool = True
) -> dict[str, Any]:
    """Return a batch of ``collate_deferred`` as uint8 [B, 3, height, width], or a list of views.

    The host waits for nothing: sizes, and which images an operation changes, are known to it. Any
    other batch is left alone.
    """
    if 'views' not in batch:
        return batch
    buffer = batch['inputs']
    if hasattr(buffer, 'bytes'):  # not pinned, of a worker, which writes to it again
        buffer, non_blocking = buffer.bytes, False
    buffer = buffer.to(device, non_blocking=non_blocking)
    count = [8 * number for number in batch['tables']]
    ints, floats, pixels = buffer.split([*count, len(buffer) - sum(count)])
    ints, floats = ints.view(torch.int64), floats.view(torch.float64)
    if 'files' in batch:
        decoded = decode_batch(batch['files'].split(), device, batch['files'].names)
        # [3, H, W] -> [H * W * 3]
        rows = [image.permute(1, 2, 0).flatten() for image in decoded]
        pixels = torch.cat([pixels[: -batch['spare']], *rows, pixels[-batch['spare'] :]])
    views: list[Tensor] = []
    with torch.autocast(device.type, enabled=False):
        for view in batch['views']:
            crops = ints[view['crops'] :][: 5 * len(view['sides'])].view(-1, 5)
            images = crop_and_resize(pixels, crops, view['sides'], view['size'])
            for op, (place, chosen), (start, wide) in view['steps']:
                parameters = floats[start:][: chosen * wide].view(chosen, wide)
                if chosen == len(images):
                    images = DEVICE_OPS[op](images, parameters)
                else:
                    places = ints[place:][:chosen]
                    images[places] = DEVICE_OPS[op](images[places], parameters)
            views += images.chunk(view['count'])
    return dict(inputs=views if batch['several'] else views[0], data_samples=batch['data_samples'])
