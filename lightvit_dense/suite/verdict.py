"""Whether pre-training helped, said in a sentence that follows from the numbers."""

from collections.abc import Mapping

# Differences up to this are called level; chance alone easily makes as much.
LEVEL = 0.005
"""In AP or IoU, 0 to 1."""

_STARTS = {
    'helped': 'Pre-training helped',
    'hurt': 'Pre-training did not help, it did harm',
    'level': 'Pre-training did not help measurably',
}


def outcome(scratch: float, pretrained: float, level: float = LEVEL) -> str:
    """Return ``'helped'``, ``'hurt'`` or ``'level'``.

    Args:
        scratch: AP or mean IoU of the model trained from scratch, 0 to 1.
        pretrained: That of the model that started from the pre-trained backbone.
        level: Largest difference that still counts as none.
    """
    # Rounded as printed, so that sentence and table never disagree.
    difference = round(pretrained - scratch, 3)
    if abs(difference) <= level:
        return 'level'
    return 'helped' if difference > 0 else 'hurt'


def sentence(scratch: Mapping[str, float], pretrained: Mapping[str, float]) -> str:
    """Say whether pre-training helped, by box AP, with mask AP beside it.

    Args:
        scratch: Results with at least ``bbox_mAP`` and ``segm_mAP``.
        pretrained: The same of the pre-trained detector.
    """
    before, after = scratch['bbox_mAP'], pretrained['bbox_mAP']
    box = f'{after - before:+.3f} box AP ({after:.3f} against {before:.3f} from scratch)'
    mask = f'{pretrained["segm_mAP"] - scratch["segm_mAP"]:+.3f} mask AP'
    start = _STARTS[outcome(before, after)]
    return f'{start}: {box} and {mask}, with the same number of detector iterations.'


def segmentation_sentence(scratch: Mapping[str, float], pretrained: Mapping[str, float]) -> str:
    """Say whether pre-training helped segmentation, by mean IoU.

    Args:
        scratch: Results with at least ``mIoU``, in percent as the metric gives it.
        pretrained: The same of the pre-trained segmentor.
    """
    before, after = scratch['mIoU'] / 100, pretrained['mIoU'] / 100
    return (
        f'Segmentation: {_STARTS[outcome(before, after)].lower()}: {after - before:+.3f} mean IoU '
        f'({after:.3f} against {before:.3f} from scratch).'
    )


def tracking_sentence(scratch: Mapping[str, float], pretrained: Mapping[str, float]) -> str:
    """Say whether pre-training helped tracking, by the area under the success curve.

    Args:
        scratch: Results with at least ``success`` and ``precision``, in percent as the metric
            gives them.
        pretrained: The same of the pre-trained tracker.
    """
    before, after = scratch['success'] / 100, pretrained['success'] / 100
    precision = (pretrained['precision'] - scratch['precision']) / 100
    return (
        f'Tracking: {_STARTS[outcome(before, after)].lower()}: {after - before:+.3f} AUC '
        f'({after:.3f} against {before:.3f} from scratch) and {precision:+.3f} precision.'
    )


def caveat(
    val_images: int, seeds: int = 1, instances: int | None = None, videos: int | None = None
) -> str:
    """Say how far the comparison carries.

    Args:
        val_images: Number of validation images.
        seeds: Number of seeds that were run.
        instances: Number of validation objects.
        videos: Number of test videos.
    """
    objects = f' with {instances} objects' if instances is not None else ''
    runs = 'one seed' if seeds == 1 else f'{seeds} seeds'
    films = f' and {videos} test videos' if videos is not None else ''
    words = f'Measured with {runs} on {val_images} validation images{objects}{films}.'
    if seeds == 1:
        words += (
            ' The spread between seeds was not measured; on so few images a small difference can'
            ' come from chance alone.'
        )
    return words
