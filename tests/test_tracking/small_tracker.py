"""A tracker of a few thousand parameters, and pairs of crops for it."""

import torch

from tracking.models import OneStreamTracker
from tracking.structures import TrackSample

ARCH = dict(embed_dim=32, depth=4, num_heads=4)


def small_tracker(backbone=None, head=None, **kwargs):
    """Build a tracker with 4x4 template and 8x8 search tokens."""
    torch.manual_seed(0)
    default = dict(
        type='tracking.JointVisionTransformer',
        arch=ARCH,
        patch_size=8,
        elimination=dict(blocks=(1, 2)),
    )
    return OneStreamTracker(
        backbone={**default, **(backbone or {})},
        head={**dict(type='tracking.CenterHead', channels=16), **(head or {})},
        template_size=32,
        search_size=64,
        **kwargs,
    )


def pairs(count=2, template=32, search=64):
    """Return a collated batch with targets at different places."""
    generator = torch.Generator().manual_seed(1)

    def crop(side):
        return torch.randint(0, 256, (3, side, side), dtype=torch.uint8, generator=generator)

    samples = [
        TrackSample(
            template_box=torch.tensor([0.25, 0.25, 0.5, 0.5]),
            search_box=torch.tensor([0.3 + 0.1 * i, 0.4, 0.25, 0.2]),
            metainfo=dict(img_path=f'frame{i}.jpg'),
        )
        for i in range(count)
    ]
    inputs = dict(
        template=[crop(template) for _ in range(count)], search=[crop(search) for _ in range(count)]
    )
    return dict(inputs=inputs, data_samples=samples)
