"""AugReg's vision transformers (Steiner et al. 2021), in Google's files and in timm's."""

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file

from lightvit_dense.checkpoints import CheckpointError, load_backbone
from lightvit_dense.models import VisionTransformer

from .builders import image, randomise

CLASSES = 21843
TINY = dict(embed_dim=192, depth=12, num_heads=3)


@pytest.fixture(scope='module')
def published() -> torch.nn.Module:
    """Return timm's network of `vit_tiny_patch16_224.augreg_in21k` with random weights."""
    model = timm.create_model('vit_tiny_patch16_224.augreg_in21k', num_classes=CLASSES)
    return randomise(model, std=0.1)


def as_flax(model: torch.nn.Module, heads: int) -> dict[str, np.ndarray]:
    """Return a timm ViT by the names and in the layout of Google's JAX code."""
    state = {name: value.detach().numpy() for name, value in model.state_dict().items()}
    width = state['pos_embed'].shape[-1]
    arrays = {
        'cls': state['cls_token'],
        'embedding/kernel': state['patch_embed.proj.weight'].transpose(2, 3, 1, 0),
        'embedding/bias': state['patch_embed.proj.bias'],
        'Transformer/posembed_input/pos_embedding': state['pos_embed'],
        'Transformer/encoder_norm/scale': state['norm.weight'],
        'Transformer/encoder_norm/bias': state['norm.bias'],
        'head/kernel': state['head.weight'].T,
        'head/bias': state['head.bias'],
    }
    for i in range(len(model.blocks)):
        ours, theirs = f'blocks.{i}', f'Transformer/encoderblock_{i}'
        for number in (0, 1):
            norm, dense = f'{theirs}/LayerNorm_{2 * number}', f'{theirs}/MlpBlock_3/Dense_{number}'
            arrays[f'{norm}/scale'] = state[f'{ours}.norm{number + 1}.weight']
            arrays[f'{norm}/bias'] = state[f'{ours}.norm{number + 1}.bias']
            arrays[f'{dense}/kernel'] = state[f'{ours}.mlp.fc{number + 1}.weight'].T
            arrays[f'{dense}/bias'] = state[f'{ours}.mlp.fc{number + 1}.bias']
        attention = f'{theirs}/MultiHeadDotProductAttention_1'
        kernels = np.split(state[f'{ours}.attn.qkv.weight'], 3)
        biases = np.split(state[f'{ours}.attn.qkv.bias'], 3)
        for part, kernel, bias in zip(('query', 'key', 'value'), kernels, biases, strict=True):
            arrays[f'{attention}/{part}/kernel'] = kernel.T.reshape(width, heads, -1)
            arrays[f'{attention}/{part}/bias'] = bias.reshape(heads, -1)
        proj = state[f'{ours}.attn.proj.weight'].T.reshape(heads, -1, width)
        arrays[f'{attention}/out/kernel'] = proj
        arrays[f'{attention}/out/bias'] = state[f'{ours}.attn.proj.bias']
    return arrays


@pytest.mark.parametrize('ending', ['npz', 'safetensors'])
def test_the_published_network_computes_the_same(published, tmp_path, ending) -> None:
    path = tmp_path / f'tiny.{ending}'
    oracle = published
    if ending == 'npz':
        np.savez(path, **as_flax(published, 3))
        oracle = timm.create_model('vit_tiny_patch16_224', num_classes=CLASSES).eval()
        oracle.load_pretrained(str(path))  # timm reads the file for itself
    else:
        save_file(published.state_dict(), path)
    ours = VisionTransformer(TINY).eval()
    report = load_backbone(ours, path, strict=True, verbose=False)
    assert set(report.dropped) == {'head.weight', 'head.bias'}
    assert len(report.matched) == len(ours.state_dict())
    with torch.no_grad():
        x = image(224, count=1)
        torch.testing.assert_close(ours(x)[-1], oracle.forward_features(x))


def test_the_papers_twelve_heads_are_refused(published, tmp_path) -> None:
    """The shapes after loading would be the same, and all features wrong."""
    np.savez(tmp_path / 'tiny.npz', **as_flax(published, 3))
    with pytest.raises(CheckpointError, match='trained with 3 heads, the model has 12'):
        load_backbone(VisionTransformer('tiny'), tmp_path / 'tiny.npz')


def test_other_arrays_and_objects_are_refused(tmp_path) -> None:
    np.savez(tmp_path / 'other.npz', weights=np.ones(3))
    np.savez(tmp_path / 'object.npz', **{'cls': np.array([print], dtype=object)})
    (tmp_path / 'cut.npz').write_bytes((tmp_path / 'other.npz').read_bytes()[:60])
    damaged = r'no \.npz file of arrays, or damaged'
    messages = {'other': r'none of Google.*weights', 'object': damaged, 'cut': damaged}
    for name, message in messages.items():
        with pytest.raises(CheckpointError, match=message):
            load_backbone(VisionTransformer('tiny'), tmp_path / f'{name}.npz')
