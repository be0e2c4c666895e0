"""Layer-wise learning rates of detectors and segmentors: necks and heads learn at the full rate."""

import pytest

from lightvit_dense.apis.configs import load_config
from lightvit_dense.models import get_layer_id
from lightvit_dense.registry import MODELS
from tests.helpers.models import rates_and_decays

EXAMPLES = {
    'backbone.cls_token': (0, 0.0),  # depth from embedding (0) to neck and heads (13), decay
    'backbone.pos_embed': (0, 0.0),
    'backbone.patch_embed.proj.weight': (0, 0.05),
    'backbone.blocks.0.attn.qkv.weight': (1, 0.05),
    'backbone.blocks.0.attn.qkv.bias': (1, 0.0),
    'backbone.blocks.11.norm2.weight': (12, 0.0),
    'backbone.blocks.11.mlp.fc2.weight': (12, 0.05),
    'neck.upsample_4x.0.weight': (13, 0.05),
    'neck.upsample_4x.1.weight': (13, 0.0),
    'decode_head.lateral_convs.0.conv.weight': (13, 0.05),
    'decode_head.psp_modules.3.1.bn.bias': (13, 0.0),
    'auxiliary_head.conv_seg.weight': (13, 0.05),
}


@pytest.mark.parametrize('rate', [0.8, 0.65])
def test_groups_of_upernet_on_vit_tiny(rate: float) -> None:
    model = MODELS.build(load_config('configs/_base_/models/upernet_vit-tiny.py').model)
    wrapper = dict(
        constructor='lightvit_dense.LayerDecayOptimWrapperConstructor',
        optimizer=dict(type='AdamW', lr=1e-4, weight_decay=0.05),
        paramwise_cfg=dict(layer_decay_rate=rate),
    )
    found = rates_and_decays(model, wrapper)
    rates = [1e-4 * rate ** (13 - depth) for depth in range(14)]
    for name, (depth, decay) in EXAMPLES.items():
        assert found[name] == pytest.approx((rates[depth], decay), rel=1e-8)
    # With and without decay: embedding, 12 blocks, neck and heads.
    expected = [(lr, decay) for lr in rates for decay in (0.0, 0.05)]
    for values, wanted in zip(sorted(set(found.values())), expected, strict=True):
        assert values == pytest.approx(wanted, rel=1e-8)


def test_no_name_of_neck_or_head_looks_like_a_block(build_detector, build_segmentor) -> None:
    models = [build_detector(kind) for kind in ('vit', 'hiera', 'li2021')]
    models += [build_segmentor(*names) for names in (('upernet', 'hiera'), ('semfpn', 'vit'))]
    for model in models:
        layers = model.backbone.num_layers
        depths = {name: get_layer_id(name, layers) for name, _ in model.named_parameters()}
        own = {depth for name, depth in depths.items() if name.startswith('backbone.')}
        others = {depth for name, depth in depths.items() if not name.startswith('backbone.')}
        assert own == set(range(layers + 1))
        assert others == {layers + 1}
