"""SimMIM-Tiny, fine-tuned by the improved recipe, 300 epochs.

What      `finetune_mae_vit-tiny_300e.py` from the SimMIM backbone; plain, the relative positions of
          SimMIM's own ViT are not used here.
Source    The authors' improved fine-tuning recipe; whether they used it here unchanged is not
          published.
Expected  77.9% top-1 (paper). Not run by us.
Cost      Not known; 300 epochs of 1.28 million images.
Run       tools/dist_train.sh configs/imagenet/finetune_simmim_vit-tiny_300e.py 8 --amp
"""

_base_ = '../_base_/tasks/finetune_vit-tiny.py'

model = dict(
    backbone=dict(init_cfg=dict(checkpoint='work_dirs/simmim_vit-tiny/backbone.safetensors')),
)
