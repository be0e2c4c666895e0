"""Mask R-CNN, ViT-Tiny from MoCo-v3, COCO 2017, 640 px, 100 epochs.

What      `maskrcnn_dmae_tiny.py` from the backbone of `pretrain/mocov3_vit-tiny.py`.
Source    ICML paper; the authors' detectron2 configuration.
Expected  box AP 39.7, mask AP 35.1 (paper). Not run by us: it takes 8 GPUs and COCO.
Cost      That of `maskrcnn_dmae_tiny.py`.
Run       tools/dist_train.sh configs/coco/maskrcnn_mocov3_tiny.py 8 --amp
"""

_base_ = '../_base_/tasks/maskrcnn_tiny.py'

model = dict(
    backbone=dict(init_cfg=dict(checkpoint='work_dirs/mocov3_vit-tiny/backbone.safetensors'))
)

expected = [('coco/bbox_mAP', 0.397, 0.005), ('coco/segm_mAP', 0.351, 0.005)]
