"""Layer-wise learning rates of detectors and segmentors: necks and heads learn at the full rate."""

import pytest
from mmengine.optim import build_optim_wrapper

from lightvit_dense.apis.configs import load_config
from lightvit_dense.models import get_layer_id
from lightvit_dense.registry import MODELS

# Of lr 1e-4 from embedding (0) to neck and heads (13), worked out apart.
RATES = {
    0.8: [
        5.49755814e-06, 6.87194767e-06, 8.58993459e-06, 1.07374182e-05, 1.34217728e-05,
        1.67772160e-05, 2.09715200e-05, 2.62144000e-05, 3.27680000e-05, 4.09600000e-05,
        5.12000000e-05, 6.40000000e-05, 8.00000000e-05, 1.00000000e-04,
    ],
    0.65: [
        3.69720589e-07, 5.68800906e-07, 8.75078317e-07, 1.34627433e-06, 2.07119128e-06,
        3.18644813e-06, 4.90222789e-06, 7.54188906e-06, 1.16029063e-05, 1.78506250e-05,
        2.74625000e-05, 4.22500000e-05, 6.50000000e-05, 1.00000000e-04,
    ],
}  # fmt: skip
EXAMPLES = {
    'backbone.cls_token': (0, 0.0),
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
    wrapper = build_optim_wrapper(
        model,
        dict(
            constructor='lightvit_dense.LayerDecayOptimWrapperConstructor',
            optimizer=dict(type='AdamW', lr=1e-4, weight_decay=0.05),
            paramwise_cfg=dict(layer_decay_rate=rate),
        ),
    )
    # mmengine adds a group of no parameter of the model.
    groups = [group for group in wrapper.param_groups if 'param_names' in group]
    # With and without decay: embedding, 12 blocks, neck and heads.
    assert len(groups) == 28
    found = {name: group for group in groups for name in group['param_names']}
    assert set(found) == {name for name, _ in model.named_parameters()}
    for name, (depth, decay) in EXAMPLES.items():
        assert found[name]['lr'] == pytest.approx(RATES[rate][depth], rel=1e-8)
        assert found[name]['weight_decay'] == decay
    assert [group['lr'] for group in groups] == pytest.approx(
        [lr for lr in RATES[rate] for _ in range(2)], rel=1e-8
    )


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
