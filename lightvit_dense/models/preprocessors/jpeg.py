"""JPEG files of a batch, decoded where they are wanted: by nvJPEG on a GPU, else by libjpeg."""

from functools import lru_cache

import torch
from mmengine.logging import print_log
from torch import Tensor
from torchvision.io import ImageReadMode, decode_jpeg

from ...errors import UserError

_stream = lru_cache(torch.cuda.Stream)


def missing_decoder() -> str:
    """Return why no GPU decodes JPEG files here, '' if one does. Nothing is done on the GPU."""
    if not torch.cuda.is_available():
        return 'torch sees no CUDA GPU'
    try:  # nvJPEG wants another device, and says so before it touches any
        torch.ops.image.decode_jpegs_cuda([], ImageReadMode.RGB.value, torch.device('cpu'))
    except (AttributeError, RuntimeError) as error:
        return '' if 'cuda device' in str(error) else 'torchvision was built without nvJPEG'
    return ''


def decode_batch(files: list[Tensor], device: torch.device, names: list[str]) -> list[Tensor]:
    """Decode JPEG files, uint8 [n] each, on the CPU, to RGB images on a device, uint8 [3, H, W].

    EXIF's orientation is left alone. What nvJPEG refuses libjpeg decodes on the host, which fills
    in what is lost of a damaged file. Raises UserError with the name of a file that it refuses too.
    """
    if device.type == 'cuda':
        try:
            return _on_gpu(files, device)
        except RuntimeError as error:
            if len(files) > 1:  # find the one, or those, that it refuses
                pairs = zip(files, names, strict=True)
                return [decode_batch([file], device, [name])[0] for file, name in pairs]
            print_log(f'JPEG file {names[0]}: decoded on the host ({error})', 'current', 30)
    pairs = zip(files, names, strict=True)
    return [_on_host(file, name).to(device, non_blocking=True) for file, name in pairs]


def _on_host(file: Tensor, name: str) -> Tensor:
    try:
        return decode_jpeg(file, ImageReadMode.RGB)
    except RuntimeError as error:
        remedy = "Restore it, or set engine.jpeg='host', which passes over up to max_bad of them"
        raise UserError(f'JPEG file {name} is damaged ({error}). {remedy}') from error


def _on_gpu(files: list[Tensor], device: torch.device) -> list[Tensor]:
    """Decode on a stream of our own.

    torchvision writes on a third one, which does not wait for what still reads the memory. That of
    our stream, given back when its readers are done, has none.
    """
    current, stream = torch.cuda.current_stream(device), _stream(device)
    with torch.cuda.stream(stream):
        images = decode_jpeg(files, ImageReadMode.RGB, device)
    current.wait_stream(stream)
    for image in images:
        image.record_stream(current)
    return images
