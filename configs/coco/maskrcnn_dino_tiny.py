"""Mask R-CNN, ViT-Tiny from DINO, COCO 2017, 640 px, 100 epochs.

What      `maskrcnn_dmae_tiny.py` from the backbone of `pretrain/dino_vit-tiny.py`.
Source    ICML paper; the authors' detectron2 configuration.
Expected  box AP 41.4, mask AP 36.7 (paper). Not run by us: it takes 8 GPUs and COCO.
Cost      That of `maskrcnn_dmae_tiny.py`.
Run       tools/dist_train.sh configs/coco/maskrcnn_dino_tiny.py 8 --amp
"""

_base_ = '../_base_/tasks/maskrcnn_tiny.py'

model = dict(
    backbone=dict(init_cfg=dict(checkpoint='work_dirs/dino_vit-tiny/backbone.safetensors'))
)

expected = [('coco/bbox_mAP', 0.414, 0.005), ('coco/segm_mAP', 0.367, 0.005)]
