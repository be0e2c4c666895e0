"""ViT-Small (12 heads) from scratch by the improved recipe, 300 epochs.

What      `deit_vit-tiny_improved_300e.py` with ViT-Small and layer decay 0.75.
Source    The authors' improved fine-tuning recipe, started from nothing.
Expected  80.2% top-1 (paper). Not run by us.
Cost      Not known; 300 epochs of 1.28 million images.
Run       tools/dist_train.sh configs/imagenet/deit_vit-small_improved_300e.py 8 --amp
"""

_base_ = './deit_vit-tiny_improved_300e.py'

model = dict(backbone=dict(arch='small'))
optim_wrapper = dict(paramwise_cfg=dict(layer_decay_rate=0.75))
