"""The demo's page: numbers, curves and pictures in one file."""

import shlex
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from lightvit_dense.utils import html as report
from lightvit_dense.utils.logs import Series, find_scalars, keys_matching, read_scalars, series
from lightvit_dense.visualization.curves import plot, to_svg

from .demo_summary import DETECTORS, HEADER, SEGMENTORS, TRACKERS, best_cells, table_rows
from .stages import Stage

THRESHOLD = 0.3


def training_plots(stages: Mapping[str, Stage]) -> dict[str, list[str]]:
    """Draw the logged curves.

    Args:
        stages: Training stages by name.

    Returns:
        SVG elements under ``'pretraining'``, ``'detection'``, ``'segmentation'`` and
        ``'tracking'``.
    """
    logs = {name: read_scalars(find_scalars(stage.work_dir)) for name, stage in stages.items()}

    def curve(name: str, key: str, label: str | None = None) -> Series:
        return series(logs[name], key, label)

    pretraining = [
        plot(
            [curve(name, 'loss_reconstruction', name) for name in ('teacher', 'student')],
            'Reconstruction loss',
        ),
        plot([curve('student', 'loss_distill', 'student')], 'Distillation loss (weighted)'),
    ]
    layers = keys_matching(logs['student'], r'agreement')
    layers.sort(key=lambda key: [int(s) if s.isdigit() else 0 for s in key.split('_')])
    pretraining.append(
        plot(
            [curve('student', key, key.rpartition('/')[2]) for key in layers],
            'Attention agreement of student and teacher',
            'share explained',
        )
    )
    detection = [
        plot([curve(name, key, DETECTORS[name]) for name in DETECTORS], title)
        for key, title in (
            ('loss', 'Detector: sum of losses'),
            ('coco/bbox_mAP', 'Validation box AP'),
            ('coco/segm_mAP', 'Validation mask AP'),
            ('coco/bbox_mAP_50', 'Validation box AP50'),
        )
    ]
    segmentation = [
        plot([curve(name, key, SEGMENTORS[name]) for name in SEGMENTORS], title)
        for key, title in (
            ('loss', 'Segmentor: sum of losses'),
            ('mIoU', 'Validation mean IoU, %'),
        )
    ]
    tracking = [
        plot([curve(name, key, TRACKERS[name]) for name in TRACKERS], title)
        for key, title in (
            ('loss', 'Tracker: sum of losses'),
            ('IoU', 'Overlap in validation pairs'),
        )
    ]
    figures = dict(
        pretraining=pretraining, detection=detection, segmentation=segmentation, tracking=tracking
    )
    return {name: [to_svg(figure) for figure in group] for name, group in figures.items()}


def build_report(
    summary: Mapping[str, Any],
    titles: Mapping[str, str],
    plots: Mapping[str, Sequence[str]],
    detections: np.ndarray,
    label_maps: np.ndarray,
    film_strips: np.ndarray,
    reconstructions: Mapping[str, np.ndarray],
) -> report.Report:
    """Put the page together.

    Args:
        summary: From :func:`lightvit_dense.suite.demo_summary.summarize`.
        titles: Stage name -> title, in order.
        plots: From :func:`training_plots`, with ``'success'`` of both trackers beside them.
        detections: From :func:`lightvit_dense.visualization.detection_grid`.
        label_maps: Picture from :func:`lightvit_dense.visualization.label_map_grid`.
        film_strips: Tracked sequences, uint8 [H, W, 3].
        reconstructions: From :func:`lightvit_dense.visualization.reconstruction_grid`, by caption.
    """
    environment = summary['environment']
    page = report.Report(
        'D-MAE pre-training, Mask R-CNN, UperNet and OSTrack on the toy world',
        f'{summary["minutes"]["total"]:.1f} minutes on {environment["gpu"] or environment["cpu"]}'
        f' ({environment["cores"]} cores)',
    )
    _add_verdict(page, summary)
    rows = table_rows(summary, titles)
    page.section(
        'Results',
        report.table(HEADER, rows, best_cells(rows)),
        report.text(_describe_data(summary['data']), 'soft'),
    )
    page.section(
        'Detections',
        report.figure(
            detections,
            f'From left to right: ground truth, {", ".join(DETECTORS.values())}. '
            f'Detections with a score of at least {THRESHOLD}; images spread evenly over the '
            'validation set, not selected.',
        ),
    )
    page.section(
        'Label maps',
        report.figure(
            label_maps,
            f'From left to right: image, ground truth, {", ".join(SEGMENTORS.values())}. What '
            'nobody labelled stays uncoloured in the truth; images spread evenly over the '
            'validation set, not selected.',
        ),
    )
    page.section(
        'Tracking',
        report.figure(
            film_strips,
            'Test videos spread evenly over the set, not selected; below each frame its number and '
            'the overlap of each tracker with the truth.',
        ),
        report.plots(plots['success']),
    )
    page.section('Detector training', report.plots(plots['detection']))
    page.section('Segmentor training', report.plots(plots['segmentation']))
    page.section('Tracker training', report.plots(plots['tracking']))
    page.section('Pre-training', report.plots(plots['pretraining']))
    page.section(
        'Reconstructions of validation images',
        *[report.figure(picture, caption) for caption, picture in reconstructions.items()],
    )
    _add_provenance(page, summary)
    return page


def _add_verdict(page: report.Report, summary: Mapping[str, Any]) -> None:
    if summary['smoke']:
        page.lead(
            report.text(
                'Smoke run: a few iterations on a few images show that everything works. '
                'The numbers mean nothing.',
                'warn',
            )
        )
    tones = {'helped': 'good', 'hurt': 'bad'}
    for part in (summary, summary['segmentation'], summary['tracking']):
        page.lead(report.text(part['verdict'], f'lead {tones.get(part["outcome"], "")}'))
    page.lead(report.text(summary['caveat'], 'soft'))


def _describe_data(data: Mapping[str, int]) -> str:
    return (
        f'{data["labelled_images"]} labelled and {data["unlabelled_images"]} unlabelled images to '
        f'learn from; {data["val_images"]} validation images with {data["val_objects"]} objects of '
        f'{data["classes"]} classes. UperNet learns from {data["label_maps"]} label maps of the '
        f'same images, in which the objects and the background are {data["classes"] + 1} of 150 '
        f'classes, and is judged by {data["val_label_maps"]}. The trackers learn from '
        f'{data["videos"]} videos and are judged by one pass over {data["test_videos"]} others: '
        'AUC is the area under the success curve, P the share of frames with the centre within 20 '
        "pixels, P_norm that within a fifth of the target's size. Minutes of a model include its "
        'test.'
    )


def _add_provenance(page: report.Report, summary: Mapping[str, Any]) -> None:
    commands = '\n'.join(
        f'# {name}\n{shlex.join(command)}' for name, command in summary['commands'].items()
    )
    page.section('Commands', report.code(commands))
    hashes = [[name, value] for name, value in summary['config_hash'].items()]
    page.section(
        'Configs',
        report.table(('stage', 'hash of the config with its overrides'), hashes, textual=True),
    )
    environment = dict(summary['environment'])
    versions = environment.pop('versions', {})
    facts = [*environment.items(), *versions.items()]
    page.section(
        'Environment', report.table(('what', 'value'), [list(f) for f in facts], textual=True)
    )
