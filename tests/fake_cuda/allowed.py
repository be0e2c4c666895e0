"""What is allowed on the device, by config: the tables are to be tightened, never loosened."""

from typing import Any

# The first pattern that fits a config below configs/ counts, in each table.
WAITS = {
    # How often a step may wait for the device.
    'pretrain/ablation/dmae_dinov3-*': 1,  # timm's rotary positions
    'pretrain/*': 0,
    'imagenet/*': 1,  # relative positions, once
    'transfer/*': 0,
    'lasot/*': 0,
    'ade20k/*': 11,  # two images, three copies each; the accuracy, two masks a head
    'coco/*': 14,  # NMS, an image each; the box coder's means and deviations; counts of samples
}

TINY = dict(embed_dim=192, depth=2, num_heads=12)
FOUR = {'backbone.arch': dict(TINY, depth=4), 'backbone.out_indices': (0, 1, 2, 3)}
BASE = dict(embed_dim=768, depth=2, num_heads=12)
HIERA = dict(embed_dim=46, stages=(1, 1, 2, 1), num_heads=1)
SWIN = dict(embed_dim=48, depths=(1, 1, 1, 1), num_heads=3)
D_MAE = {'backbone.arch': TINY, 'distiller.teacher.arch': BASE, 'distiller.pairs': [(2, 2)]}
D_HIERA = {'backbone.arch': HIERA, 'distiller.teacher.arch': HIERA, 'distiller.pairs': [(5, 5)]}
D_SWIN = {'backbone.arch': SWIN, 'distiller.teacher.arch': SWIN, 'distiller.pairs': [(5, 4)]}
SHALLOW: dict[str, dict[str, Any]] = {
    # Changes of its model that leave a block of each kind, or two.
    'pretrain/dmae_vit-tiny.py': D_MAE,
    'pretrain/d2mae_vit-tiny.py': D_MAE | {'distiller.pairs': [(3, 2)], 'reconstruct_after': 1},
    'pretrain/dmae_hiera-tiny.py': D_HIERA,
    'pretrain/d2mae_hiera-tiny.py': D_HIERA | {'distiller.pairs': [(6, 5)], 'reconstruct_after': 3},
    'pretrain/d2simmim_swin-tiny.py': D_SWIN | {'reconstruct_after': 2},
    'pretrain/ablation/*': {},  # the layers that are matched
    'lasot/ostrack256_mae_tiny.py': {'backbone.arch': TINY, 'backbone.elimination.blocks': (1,)},
    'lasot/*': {},
    '*efficientnet*': {},
    '*hiera*': {'backbone.arch': HIERA},
    '*swin*': {'backbone.arch': SWIN},
    'ade20k/*': FOUR,
    'coco/maskrcnn-li2021*': FOUR | {'backbone.window.global_blocks': (1, 3)},
    'coco/*': {'backbone.arch': TINY, 'backbone.window.global_blocks': (1,)},
    '*': {'backbone.arch': TINY},
}
GRAPHS = (1, 0, 0)  # graphs, breaks and recompilations of four steps with other masks
COMPILED = (
    *(f'pretrain/{m}_vit-tiny' for m in ('mae', 'dmae', 'd2mae', 'simmim', 'mocov3', 'dino')),
    *('pretrain/mae_hiera-tiny', 'pretrain/simmim_swin-tiny'),
    *('imagenet/finetune_mae_vit-tiny_300e', 'lasot/ostrack256_mae_tiny'),
)
