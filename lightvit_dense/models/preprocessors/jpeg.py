"""JPEG files of a batch, decoded where they are wanted: by nvJPEG on a GPU, else by libjpeg."""

from collections.abc import Sequence
from functools import lru_cache
from logging import WARNING

import torch
from mmengine.logging import print_log
from torch import Tensor

from ...errors import UserError


@lru_cache(maxsize=1)
def missing_decoder() -> str:
    """Return why no GPU decodes JPEG files here, '' if one does. Nothing is done on the GPU."""
    if not torch.cuda.is_available():
        return 'torch sees no CUDA GPU'
    from torchvision.io import image

    if not image._has_image_ops():
        return 'torchvision has no image extension'
    try:  # asked for the CPU, it refuses before it touches a GPU, for one reason or the other
        torch.ops.image.decode_jpegs_cuda([], image.ImageReadMode.RGB.value, torch.device('cpu'))
    except RuntimeError as error:
        if 'nvJPEG' in str(error):
            return 'torchvision was built without nvJPEG'
    return ''


def decode_batch(
    buffers: Sequence[Tensor], device: torch.device, names: Sequence[str]
) -> list[Tensor]:
    """Decode JPEG files by torchvision.

    What nvJPEG refuses libjpeg decodes, which fills in what is lost of a damaged file.

    Args:
        buffers: The files, uint8 [n] each, on the CPU.
        device: Where the images are wanted.
        names: What to call the files.

    Returns:
        RGB images as they are stored, EXIF's orientation left alone: uint8 [3, H, W] each.

    Raises:
        UserError: If libjpeg cannot decode a file either.
    """
    if device.type == 'cuda':
        try:
            return _on_gpu(buffers, device)
        except RuntimeError as error:
            if len(buffers) > 1:  # find the one, or those, that it refuses
                pairs = zip(buffers, names, strict=True)
                return [decode_batch([buffer], device, [name])[0] for buffer, name in pairs]
            print_log(f'JPEG file {names[0]}: decoded on the host ({error})', 'current', WARNING)
    pairs = zip(buffers, names, strict=True)
    return [_on_host(buffer, name).to(device, non_blocking=True) for buffer, name in pairs]


def _on_host(buffer: Tensor, name: str) -> Tensor:
    from torchvision.io import ImageReadMode, decode_jpeg

    try:
        return decode_jpeg(buffer, ImageReadMode.RGB)
    except RuntimeError as error:
        raise UserError(
            f'JPEG file {name}: damaged ({error}). Restore it, take it out of the data, or set '
            "engine.jpeg='host', which passes over as many as max_bad says"
        ) from error


def _on_gpu(buffers: Sequence[Tensor], device: torch.device) -> list[Tensor]:
    """Decode on a stream of our own.

    torchvision writes on a third one, which does not wait for what still reads the memory that it
    gets. Memory of this stream alone, given back when its readers are done, has no such readers.
    """
    from torchvision.io import ImageReadMode, decode_jpeg

    current, stream = torch.cuda.current_stream(device), _stream(device)
    with torch.cuda.stream(stream):
        images = decode_jpeg(list(buffers), ImageReadMode.RGB, device)
    current.wait_stream(stream)
    for image in images:
        image.record_stream(current)
    return images


@lru_cache
def _stream(device: torch.device) -> torch.cuda.Stream:
    return torch.cuda.Stream(device)
