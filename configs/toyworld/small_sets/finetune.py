"""Fine-tuning on a small image set, from what `mae.py` or `dmae.py` leaves.

What      `scratch.py` with a pre-trained backbone. With
          `model.backbone.init_cfg.num_pretrained_blocks=K` only the embedding and the first K
          blocks are taken over.
Source    Ours.
Expected  Part of configs/suites/small_sets.py and reserved_blocks.py.
Cost      1 minute of a CPU core.
Run       tools/train.py configs/toyworld/small_sets/finetune.py \
          --cfg-options model.backbone.init_cfg.checkpoint=FILE
"""

_base_ = '../../_base_/tasks/small_sets_vit.py'

model = dict(
    backbone=dict(
        init_cfg=dict(
            type='lightvit_dense.PretrainedBackbone',
            checkpoint='work_dirs/mae/backbone.safetensors',
        ),
    ),
)
