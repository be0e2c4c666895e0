"""ViT-Tiny fine-tuned under a teacher by the original recipe; a leaf names the checkpoint."""

_base_ = './finetune_vit-tiny_original.py'

model = dict(
    distiller=dict(
        type='lightvit_dense.LogitDistiller',
        teacher=dict(
            type='lightvit_dense.TimmClassifier',
            name='regnety_160.deit_in1k',
            checkpoint='{{$LIGHTVIT_DATA:data}}/checkpoints/regnety_160.safetensors',
        ),
        kind='hard',
        alpha=0.5,
        tau=1.0,
    ),
)
