"""MAE-Tiny, of which K blocks are kept, fine-tuned by the improved recipe, 100 epochs.

What      `finetune_mae_vit-tiny_300e.py`, shorter. With
          `model.backbone.init_cfg.num_pretrained_blocks=K` only the embedding and the first K
          blocks are taken over.
Source    The papers fine-tune for 100 epochs here; that it is the improved recipe is our reading.
Expected  A figure in the paper, no number. Not run by us.
Cost      Not known; 100 epochs of 1.28 million images, for each K.
Run       tools/dist_train.sh configs/imagenet/finetune_mae_vit-tiny_100e.py 8 --amp
"""

_base_ = '../_base_/tasks/finetune_vit-tiny.py'

model = dict(backbone=dict(init_cfg=dict(checkpoint='work_dirs/mae_vit-tiny/backbone.safetensors')))
train_cfg = dict(max_epochs=100)
