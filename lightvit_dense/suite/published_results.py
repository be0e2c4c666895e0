"""What the papers report of lightweight classifiers: accuracy, size and speed."""

from dataclasses import dataclass

STUDY = (
    'Wang et al., A Closer Look at Self-Supervised Lightweight Vision Transformers, '
    'ICLR 2023 submission, table 2'
)
"""Its throughput is timm's: images/s on one RTX 3090, batch 1024, automatic mixed precision."""
EXPERIMENTAL = 'Gao et al., arXiv 2404.12210, the documentation of its code'


@dataclass(frozen=True)
class PublishedResult:
    """One row of a paper's table.

    Attributes:
        model: Key of ``SPEED_MODELS``; '' for a network that timm does not carry.
        label: How a picture calls it.
        top1: Top-1 accuracy on ImageNet's validation images in percent.
        params_m: Millions of parameters as printed.
        images_per_s: Throughput on an RTX 3090; None where none is printed.
        real: Top-1 on ImageNet-ReaL; None where none is printed or the row is unclear.
        v2: Top-1 on ImageNet-V2 (matched frequency); likewise.
        source: Paper and table.
        pretrained: Whether masked image modelling pre-trained it: the papers' own models.
    """

    model: str
    label: str
    top1: float
    params_m: float
    images_per_s: int | None = None
    real: float | None = None
    v2: float | None = None
    source: str = STUDY
    pretrained: bool = False


PUBLISHED = (
    PublishedResult('vit_tiny', 'MAE-Tiny', 78.0, 6, 4020, 84.3, 66.2, pretrained=True),
    PublishedResult(
        'vit_tiny', 'MAE-Tiny, 1000 epochs', 78.5, 6, 3956, 85.3, 67.1, pretrained=True
    ),
    PublishedResult(
        'vit_tiny_rpe', 'D²-MAE-Tiny + RPE', 79.4, 5.7, source=EXPERIMENTAL, pretrained=True
    ),
    PublishedResult(
        'hiera_tiny', 'D-MAE Hiera-Tiny', 78.9, 6.5, source=EXPERIMENTAL, pretrained=True
    ),
    PublishedResult('deit_tiny', 'DeiT-Tiny', 72.2, 6, 4844, 80.1, 60.4),
    PublishedResult('deit_tiny_distilled', 'DeiT-Tiny, distilled', 76.6, 6, 4764, 83.9, 65.4),
    PublishedResult('resnet18', 'ResNet-18', 69.7, 12, 8951, 77.3, 57.2),
    PublishedResult('resnet50', 'ResNet-50', 80.4, 25, 2696, 85.7, 68.7),
    PublishedResult('efficientnet_b0', 'EfficientNet-B0', 77.7, 5, 5369, 84.0, 66.3),
    PublishedResult('efficientnet_b0', 'EfficientNet-B0, SEED', 77.2, 5, 5369, 83.5, 65.9),
    PublishedResult('efficientnet_b1', 'EfficientNet-B1', 78.8, 8, 2953, 84.6, 67.5),
    # The paper prints ReaL and V2 for two of its three MobileNets; which two is unclear.
    PublishedResult('mobilenet_v2', 'MobileNet-v2', 72.0, 4, 7909),
    PublishedResult('mobilenet_v3', 'MobileNet-v3', 75.2, 5, 9113),
    PublishedResult('mobilenet_v3', 'MobileNet-v3, distilled', 77.0, 5, 9113),
    PublishedResult('levit_128', 'LeViT-128', 78.6, 9, 13276, 84.8, 66.6),
    PublishedResult('levit_192', 'LeViT-192', 80.0, 11, 11389, 85.6, 67.9),
    PublishedResult('xcit_t12_16', 'XCiT-T12/16, distilled', 78.6, 7, 3157, 84.1, 67.0),
    PublishedResult('pit_ti', 'PiT-Ti, distilled', 76.4, 5, 4547, 82.0, 63.1),
    PublishedResult('cait_xxs24', 'CaiT-XXS24, distilled', 78.4, 12, 1351, 85.2, 67.4),
    PublishedResult('mobilevit_s', 'MobileViT-S', 78.3, 6, 1900, 84.3, 66.9),
    PublishedResult('', 'Swin-1G', 77.3, 7),
    PublishedResult('', 'LVT', 74.8, 6),
    PublishedResult('', 'EdgeViT-XS', 77.5, 7),
    PublishedResult('', 'Mobile-Former-294M', 77.9, 11),
)
"""Table 2 of the study, and our other models. The first of a model's rows is its own."""


def published_of(model: str) -> tuple[PublishedResult, ...]:
    """Return the published rows of a model, none for one that the papers do not list."""
    return tuple(row for row in PUBLISHED if row.model == model)
