"""BEiT's, BootMAE's and MaskFeat's pre-trained ViT-Tiny in the transfer configs."""

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from lightvit_dense.apis import load_config
from lightvit_dense.apis.configs import prepare_scope
from lightvit_dense.checkpoints import load_backbone
from lightvit_dense.models import VisionTransformer
from lightvit_dense.registry import MODELS

from .builders import image, randomise, save

CONFIG = Path(__file__).parents[2] / 'configs/transfer/cifar100_vit-tiny.py'
WIDTH, DEPTH, HEADS = 192, 12, 12
AFTER_BEIT = {'model.head.init_std': 2e-5}
OPTIONS = {
    'BEiT': {'model.backbone.layer_scale': 0.1} | AFTER_BEIT,
    'BootMAE': AFTER_BEIT,
    'MaskFeat': {},
}
EXTRAS = {
    'BEiT': ('mask_token', 'lm_head.weight', 'lm_head.bias'),
    'BootMAE': (
        'mask_token', 'mask_token_1', 'de_pos_embed', 'down.weight', 'down_1.bias',
        'lm_head.proj.weight', 'lm_head_1.weight', 'decode_norm.weight', 'decode_norm_1.bias',
        'decode_blocks.0.attn.q_bias', 'decode_blocks.0.c_attn.kv.weight',
        'decode_blocks_1.1.mlp.fc1.weight',
    ),
    'MaskFeat': ('mask_token', 'pred_head.projections.0.weight'),
}  # fmt: skip


def encoder(kind):
    """Give the tensors of an encoder: MaskFeat's is a plain ViT, the others are BEiT's."""
    state = randomise(VisionTransformer('tiny'), std=0.05).state_dict()
    for name, value in list(state.items()):
        if 'norm' in name and name.endswith('weight'):
            value.add_(1)
        elif name.endswith('qkv.bias') and kind != 'MaskFeat':
            head = name.removesuffix('qkv.bias')
            state[f'{head}q_bias'], _, state[f'{head}v_bias'] = state.pop(name).chunk(3)
    if kind == 'BEiT':
        names = [f'blocks.{i}.gamma_{number}' for i in range(DEPTH) for number in (1, 2)]
        state |= {name: 0.1 + 0.05 * torch.randn(WIDTH) for name in names}
    return state


def scores(state, head, image):
    """Compute what the authors' transfer computes: mean of the patches, norm, linear layer."""

    def norm(x, name):
        return F.layer_norm(x, (WIDTH,), state[f'{name}.weight'], state[f'{name}.bias'], 1e-6)

    def linear(x, name):
        return F.linear(x, state[f'{name}.weight'], state[f'{name}.bias'])

    x = F.conv2d(image, state['patch_embed.proj.weight'], state['patch_embed.proj.bias'], stride=16)
    x = x.flatten(2).transpose(1, 2)
    x = torch.cat([state['cls_token'].expand(len(x), -1, -1), x], 1) + state['pos_embed']
    for i in range(DEPTH):
        block = f'blocks.{i}'
        bias = state.get(f'{block}.attn.qkv.bias')
        if bias is None:
            q_bias, v_bias = (state[f'{block}.attn.{part}_bias'] for part in 'qv')
            bias = torch.cat([q_bias, torch.zeros(WIDTH), v_bias])
        qkv = F.linear(norm(x, f'{block}.norm1'), state[f'{block}.attn.qkv.weight'], bias)
        q, k, v = (
            part.unflatten(-1, (HEADS, WIDTH // HEADS)).transpose(1, 2) for part in qkv.chunk(3, -1)
        )
        weights = (q * (WIDTH // HEADS) ** -0.5 @ k.transpose(-2, -1)).softmax(-1)
        y = linear((weights @ v).transpose(1, 2).flatten(2), f'{block}.attn.proj')
        x = x + state.get(f'{block}.gamma_1', 1) * y
        y = linear(
            F.gelu(linear(norm(x, f'{block}.norm2'), f'{block}.mlp.fc1')), f'{block}.mlp.fc2'
        )
        x = x + state.get(f'{block}.gamma_2', 1) * y
    pooled = F.layer_norm(x[:, 1:].mean(1), (WIDTH,), head.fc_norm.weight, head.fc_norm.bias, 1e-6)
    return F.linear(pooled, head.fc.weight, head.fc.bias)


@torch.no_grad()
@pytest.mark.parametrize('kind', list(OPTIONS))
def test_the_transfer_config_computes_as_the_authors(tmp_path, kind):
    state = encoder(kind)
    extras = {name: torch.ones(2) for name in EXTRAS[kind]}
    path = save(tmp_path, {'model': state | extras, 'start_epoch': 400})
    checkpoint = {'model.init_cfg.checkpoint': str(path)}
    cfg = load_config(CONFIG, OPTIONS[kind] | checkpoint)
    prepare_scope(cfg)
    model = MODELS.build(cfg.model).eval()
    model.init_weights()
    model.head.fc.weight.normal_()
    x = image(224)
    expected = scores(state, model.head, x)
    assert expected.std() > 1
    torch.testing.assert_close(model(x), expected, atol=1e-4, rtol=1e-5)

    report = load_backbone(model.backbone, path, verbose=False)
    assert report.source == kind
    assert not report.missing
    assert not report.added
    # Mean pooling has a norm of its own, and theirs is left out too.
    assert report.unexpected == ['norm.weight', 'norm.bias']
    assert set(report.dropped) == set(extras)
    if kind == 'BEiT':  # trained on as they are, not folded
        assert torch.equal(model.backbone.blocks[3].ls2.gamma, state['blocks.3.gamma_2'])
        plain = MODELS.build(dict(cfg.model.backbone, layer_scale=None, init_cfg=None)).eval()
        report = load_backbone(plain, path, verbose=False)
        assert '24 LayerScales were folded' in report.notes[-1]
        torch.testing.assert_close(plain(x), model.backbone(x), atol=1e-4, rtol=1e-5)
