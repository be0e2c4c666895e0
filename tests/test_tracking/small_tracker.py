"""A tracker of a few thousand parameters."""

import torch
from mmengine.config import Config
from torch import nn

from lightvit_dense.deploy import SUFFIXES, describe, export, make_graph
from tracking.models import OneStreamTracker
from tracking.structures import TrackSample

CONFIG = """
custom_imports = dict(imports=['tracking'], allow_failed_imports=False)
model = dict(
    type='tracking.OneStreamTracker',
    backbone=dict(
        type='tracking.JointVisionTransformer',
        arch=dict(embed_dim=32, depth=4, num_heads=4),
        patch_size=8,
        elimination=dict(blocks=(1, 2)),
    ),
    head=dict(type='tracking.CenterHead', channels=16),
    template_size=32,
    search_size=64,
)
"""
HIERA = dict(
    type='tracking.JointHiera',
    arch=dict(embed_dim=8, stages=(1, 1, 3, 1), num_heads=1),
    elimination=dict(blocks=(3,), keep=0.4),
)


def small_tracker(backbone=None, head=None, **kwargs):
    """Build a tracker with 4x4 template and 8x8 search tokens."""
    torch.manual_seed(0)
    if backbone is HIERA:  # units of 32 px fit the sizes; options of the ViT do not
        head = dict(type='tracking.CenterHead', channels=64)
        return OneStreamTracker(HIERA, head, template_size=32, search_size=64)
    known = Config.fromstring(CONFIG, '.py').model.to_dict()
    parts = dict(
        backbone={**known['backbone'], **(backbone or {})}, head={**known['head'], **(head or {})}
    )
    return OneStreamTracker(**parts, template_size=32, search_size=64, **kwargs)


def trained_tracker(backbone=None, head=None, **kwargs):
    """Give the batch norms statistics and weights as training leaves them."""
    model = small_tracker(backbone, head, **kwargs)
    generator = torch.Generator().manual_seed(3)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            for value, low, high in (
                (module.running_mean, -0.3, 0.3),
                (module.running_var, 0.5, 2.0),
                (module.weight.data, 0.5, 1.5),
                (module.bias.data, -0.3, 0.3),
            ):
                value.copy_(low + (high - low) * torch.rand(value.shape, generator=generator))
    return model.eval()


def write_tracker_files(folder, model):
    """Write the config and a checkpoint of a tracker; return their names."""
    config, checkpoint = folder / 'config.py', folder / 'model.pth'
    config.write_text(CONFIG, encoding='utf-8')
    torch.save(dict(state_dict=model.state_dict(), meta={}), checkpoint)
    return str(config), str(checkpoint)


def export_tracker(folder, model, to='onnx'):
    """Write a tracker as a file; return its path."""
    graph, path = make_graph(model, None), folder / f'tracker{SUFFIXES[to]}'
    return export(graph, path, to, describe(graph, *write_tracker_files(folder, model)))


def pairs(count=2):
    """Return a collated batch with targets at different places."""
    generator = torch.Generator().manual_seed(1)
    inputs = {
        name: [
            torch.randint(0, 256, (3, side, side), dtype=torch.uint8, generator=generator)
            for _ in range(count)
        ]
        for name, side in (('template', 32), ('search', 64))
    }
    samples = [
        TrackSample(
            template_box=torch.tensor([0.25, 0.25, 0.5, 0.5]),
            search_box=torch.tensor([0.3 + 0.1 * i, 0.4, 0.25, 0.2]),
            metainfo=dict(img_path=f'frame{i}.jpg'),
        )
        for i in range(count)
    ]
    return dict(inputs=inputs, data_samples=samples)
