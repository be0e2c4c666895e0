"""Small models of ours and of other packages, and what tests compare them by."""

import contextlib
import json
import re

import hiera
import pytest
import timm
import torch
import transformers

from lightvit_dense.checkpoints import CheckpointError
from lightvit_dense.models.backbones import Hiera, VisionTransformer
from lightvit_dense.registry import MODELS

ARCH = dict(embed_dim=16, depth=2, num_heads=4)
SMALL = dict(embed_dim=8, depth=2, num_heads=2)
HIERA = dict(embed_dim=8, stages=(1, 2, 1, 1), num_heads=1)
OUR_HIERA = dict(type='lightvit_dense.Hiera', arch=HIERA, img_size=64)
PLAIN = 'plain backbone (ours or timm)'
BIAS = dict(rel_pos=dict(kind='bias'))


@torch.no_grad()
def randomise(model, seed=0, std=0.4):
    torch.manual_seed(seed)
    for parameter in model.parameters():
        parameter.normal_(std=std)
    for name, buffer in model.named_buffers():
        if name.endswith('running_var'):
            buffer.uniform_(0.5, 2)
        elif name.endswith('running_mean'):
            buffer.normal_()
    return model.eval()


def vit(seed=0, arch=ARCH, **options):
    return randomise(VisionTransformer(arch, **{'img_size': 32, 'patch_size': 8, **options}), seed)


def our_hiera(seed=0, arch=HIERA, **options):
    return randomise(Hiera(arch, **{'img_size': 64, **options}), seed)


def classifier(
    seed=0, classes=5, pool='mean', norm=True, batch_norm=False, init_cfg=None, distiller=None,
    **backbone,
):  # fmt: skip
    ours = dict(type='lightvit_dense.VisionTransformer', arch=ARCH, img_size=32, patch_size=8)
    if backbone.get('type') == OUR_HIERA['type']:
        ours = OUR_HIERA
    config = dict(
        type='lightvit_dense.ImageClassifier',
        backbone={**ours, 'final_norm': not norm, **backbone},
        head=dict(num_classes=classes, pool=pool, norm=norm, batch_norm=batch_norm),
        distiller=distiller,
        init_cfg=init_cfg,
    )
    return randomise(MODELS.build(config), seed)


def timm_sizes(**options):
    sizes = dict(img_size=32, patch_size=8, embed_dim=16, depth=2, num_heads=4, num_classes=5)
    return {**sizes, **options}


def hf_vit(kind, **options):
    """Build a ViT of transformers by the name of its class."""
    common = dict(hidden_size=16, num_hidden_layers=2, num_attention_heads=4, patch_size=8)
    common |= dict(image_size=32, layer_norm_eps=1e-6, intermediate_size=64)
    config = getattr(transformers, re.sub(r'(Model|For\w+)$', 'Config', kind))
    return getattr(transformers, kind)(config(**common, **options))


def hf_hiera(kind, **options):
    """Build a Hiera of transformers by what follows ``Hiera`` in the name of its class."""
    decoder = dict(decoder_hidden_size=8, decoder_depth=1, decoder_num_heads=1)
    sizes = dict(embed_dim=8, image_size=[64, 64], depths=[1, 2, 1, 1], num_heads=[1, 2, 4, 8])
    config = transformers.HieraConfig(**sizes, **decoder, layer_norm_eps=1e-6, **options)
    return getattr(transformers, f'Hiera{kind}')(config)


def meta_hiera(pretrain=False, **options):
    size = dict(input_size=(64, 64), **HIERA)
    if not pretrain:
        return hiera.Hiera(**{**size, 'num_classes': 5, **options})
    decoder = dict(decoder_embed_dim=8, decoder_depth=1, decoder_num_heads=1)
    return hiera.MaskedAutoencoderHiera(**size, **decoder, q_pool=2)


def image(height=32, width=None, count=2):
    generator = torch.Generator().manual_seed(1)
    return torch.randn(count, 3, height, width or height, generator=generator)


def image_for(backbone):
    return image(*(side * backbone.patch_size for side in backbone.grid_size))


def from_timm(path):
    """Load a file by the call in the .json beside it, as a user would."""
    call = json.loads(path.with_suffix('.json').read_text())['timm']['call']
    return eval(call.replace(repr(path.name), repr(str(path))), {'timm': timm}).eval()


def gap(one, other):
    assert one.shape == other.shape
    assert one.abs().max() > 0.1
    return (one - other).abs().max().item()


def snapshot(model):
    return {name: value.clone() for name, value in model.state_dict().items()}


def equal(one, other):
    """Compare two models or states, exactly and both ways."""
    one, other = (m.state_dict() if isinstance(m, torch.nn.Module) else m for m in (one, other))
    return one.keys() == other.keys() and all(torch.equal(one[n], other[n]) for n in one)


def named(state, prefix):
    """Put a prefix before all names of a model's or of a state's tensors."""
    state = state.state_dict() if isinstance(state, torch.nn.Module) else state
    return {prefix + name: value for name, value in state.items()}


def save(folder, content, name='a.pth.tar'):
    torch.save(content, folder / name)
    return folder / name


@contextlib.contextmanager
def refused(model, message):
    """Expect a message, and a model that is as it was."""
    before = snapshot(model)
    with pytest.raises(CheckpointError, match=message) as caught:
        yield caught
    assert equal(before, model)
