"""Mask R-CNN, ViT-Tiny from MAE, COCO 2017, 640 px, 100 epochs.

What      `maskrcnn_dmae_tiny.py` from the backbone of `pretrain/mae_vit-tiny.py`.
Source    ICML paper; the authors' detectron2 configuration.
Expected  box AP 39.9, mask AP 35.4 (paper). Not run by us: it takes 8 GPUs and COCO.
Cost      That of `maskrcnn_dmae_tiny.py`.
Run       tools/dist_train.sh configs/coco/maskrcnn_mae_tiny.py 8 --amp
"""

_base_ = '../_base_/tasks/maskrcnn_tiny.py'

model = dict(backbone=dict(init_cfg=dict(checkpoint='work_dirs/mae_vit-tiny/backbone.safetensors')))

expected = [('coco/bbox_mAP', 0.399, 0.005), ('coco/segm_mAP', 0.354, 0.005)]
