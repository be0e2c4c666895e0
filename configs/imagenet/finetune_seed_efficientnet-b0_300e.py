"""EfficientNet-B0 from SEED, fine-tuned by the improved recipe, 300 epochs.

What      `../pretrain/seed_efficientnet-b0.py`'s network with a linear layer on the mean of its
          map; everything else as for the paper's ViTs, but for layer decay, which is for blocks of
          one size.
Source    ICLR submission of the first paper, table 2, for the result; how it was fine-tuned is not
          published. Stand-in: the paper's improved recipe.
Expected  77.2% top-1, 83.5% ReaL, 65.9% V2 (paper). Not run by us.
Cost      Not known; 300 epochs of 1.28 million images.
Run       tools/dist_train.sh configs/imagenet/finetune_seed_efficientnet-b0_300e.py 8 --amp
"""

_base_ = '../_base_/tasks/finetune_efficientnet-b0.py'

model = dict(
    backbone=dict(
        init_cfg=dict(
            type='lightvit_dense.PretrainedBackbone',
            checkpoint='work_dirs/seed_efficientnet-b0/backbone.safetensors',
        ),
    ),
)
