"""What is allowed on the device, by config: the tables are to be tightened, never loosened."""

WAITS = {
    # The first pattern that fits a config below configs/: how often a step may wait for the device.
    'pretrain/ablation/dmae_dinov3-*': 1,  # timm's rotary positions
    'pretrain/*': 0,
    'imagenet/*': 1,  # relative positions, once
    'transfer/*': 0,
    'lasot/*': 0,
    'ade20k/*': 11,  # two images, three copies each; the accuracy, two masks a head
    'coco/*': 14,  # NMS, an image each; the box coder's means and deviations; counts of samples
}

TINY = dict(embed_dim=192, depth=2, num_heads=12)
BASE = dict(embed_dim=768, depth=2, num_heads=12)
HIERA = dict(embed_dim=46, stages=(1, 1, 2, 1), num_heads=1)
SWIN = dict(embed_dim=48, depths=(1, 1, 1, 1), num_heads=3)
D_MAE = {'backbone.arch': TINY, 'distiller.teacher.arch': BASE, 'distiller.pairs': [(2, 2)]}
D2_MAE = D_MAE | {'distiller.pairs': [(3, 2)], 'reconstruct_after': 1}
JOINT = {'backbone.arch': TINY, 'backbone.elimination.blocks': (1,)}
GRAPHS = {
    # A config, changes of its model that make it shallow, and graphs, breaks and recompilations of
    # four steps with other masks.
    'pretrain/mae_vit-tiny.py': ({'backbone.arch': TINY}, (1, 0, 0)),
    'pretrain/dmae_vit-tiny.py': (D_MAE, (1, 0, 0)),
    'pretrain/d2mae_vit-tiny.py': (D2_MAE, (1, 0, 0)),
    'pretrain/mae_hiera-tiny.py': ({'backbone.arch': HIERA}, (1, 0, 0)),
    'pretrain/simmim_vit-tiny.py': ({'backbone.arch': TINY}, (1, 0, 0)),
    'pretrain/simmim_swin-tiny.py': ({'backbone.arch': SWIN}, (1, 0, 0)),
    'pretrain/mocov3_vit-tiny.py': ({'backbone.arch': TINY}, (1, 0, 0)),
    'pretrain/dino_vit-tiny.py': ({'backbone.arch': TINY}, (1, 0, 0)),
    'imagenet/finetune_mae_vit-tiny_300e.py': ({'backbone.arch': TINY}, (1, 0, 0)),
    'lasot/ostrack256_mae_tiny.py': (JOINT, (1, 0, 0)),
}
