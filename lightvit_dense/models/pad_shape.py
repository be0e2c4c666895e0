"""What an image is padded to: told by its own size and never by its neighbours."""

from collections.abc import Sequence

from torch import Tensor

Size = tuple[int, int]


def pad_shape_of(size: Sequence[int], least: Sequence[int], divisor: int) -> Size:
    """Return the padded (height, width) of an image: at least ``least``, else multiples."""
    height, width = (
        max(low, -(-side // divisor) * divisor) for side, low in zip(size, least, strict=True)
    )
    return height, width


def check_pad_shape(
    pad_shape: int | Sequence[int] | None, divisor: int, what: str = 'pad_shape'
) -> Size:
    """Return an option as (height, width), (0, 0) for ``None``; raise if it is no such multiple."""
    sides = tuple(pad_shape) if isinstance(pad_shape, Sequence) else (pad_shape or 0,) * 2
    whole = all(isinstance(side, int) and side >= 0 for side in sides)
    if len(sides) != 2 or not whole or divisor < 1 or any(side % divisor for side in sides):
        raise ValueError(
            f'{what}={pad_shape!r}: expected a side in pixels or (height, width), multiples of '
            f'{divisor} (size_divisor)'
        )
    return sides[0], sides[1]


def own_sizes(inputs: Tensor, metas: Sequence[dict]) -> list[Size]:
    """Return the images' sizes in a batch [B, 3, H, W] without its padding, by their ``metas``."""
    sizes = []
    for meta in metas:
        height, width = (int(side) for side in tuple(meta.get('img_shape', inputs.shape[2:]))[:2])
        if not 0 < height <= inputs.shape[2] or not 0 < width <= inputs.shape[3]:
            raise ValueError(
                f'{meta.get("img_path", "an image")}: its img_shape is {height}x{width} px but it '
                f'came as {inputs.shape[2]}x{inputs.shape[3]} px. Transforms that change the image '
                'must write img_shape, and images may only be padded at the right and the bottom.'
            )
        sizes.append((height, width))
    return sizes


def pad_images(inputs: Tensor, sizes: Sequence[Size], pad_shape: Size) -> Tensor:
    """Cut images out of their padding and pad them with zeros to one shape, if it is another."""
    if tuple(inputs.shape[2:]) == pad_shape and all(size == pad_shape for size in sizes):
        return inputs
    padded = inputs.new_zeros(*inputs.shape[:2], *pad_shape)
    for target, image, (height, width) in zip(padded, inputs, sizes, strict=True):
        target[:, :height, :width] = image[:, :height, :width]
    return padded


def group_by_pad_shape(sizes: Sequence[Size], least: Size, divisor: int) -> dict[Size, list[int]]:
    """Return {padded shape: numbers of the images of a batch that have it}."""
    groups: dict[Size, list[int]] = {}
    for number, size in enumerate(sizes):
        groups.setdefault(pad_shape_of(size, least, divisor), []).append(number)
    return groups


def common_pad_shape(sizes: Sequence[Size], least: Size, divisor: int) -> Size:
    """Return the smallest shape that all images of a batch can be padded to."""
    pad_shapes = [pad_shape_of(size, least, divisor) for size in sizes]
    return max(height for height, _ in pad_shapes), max(width for _, width in pad_shapes)
