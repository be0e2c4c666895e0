"""The main job on a small world: pre-training by D-MAE, then three tasks with and without it.

Builds the toy world, pre-trains a teacher by MAE and a student by D-MAE, trains Mask R-CNN,
UperNet and a one-stream tracker from scratch and from the student, tests all six, prints one table
and writes ``summary.json`` and ``report.html``. A stopped demo continues where it was; what is done
is not done again.

Example:
    python tools/demo.py
    python tools/demo.py --smoke     # a few iterations of everything, in a minute
"""

import argparse
import json
import os
import sys
from pathlib import Path
from typing import Any

from lightvit_dense.suite.overrides import (
    as_arguments,
    few_iterations,
    final_checkpoint,
    relocate,
)
from lightvit_dense.suite.progress import make_display
from lightvit_dense.suite.stages import (
    Pipeline,
    Stage,
    StageError,
    content_key,
    exclusive,
    forget,
    is_done,
)

ROOT = Path(__file__).resolve().parents[1]
TRAININGS = {
    'teacher': ('Teacher by MAE', 'configs/toyworld/mae_teacher.py', []),
    'student': ('Student by D-MAE', 'configs/toyworld/dmae_student.py', ['teacher']),
    'scratch': ('Mask R-CNN from scratch', 'configs/toyworld/maskrcnn_scratch.py', []),
    'dmae': ('Mask R-CNN from D-MAE', 'configs/toyworld/maskrcnn_dmae.py', ['student']),
    'upernet_scratch': ('UperNet from scratch', 'configs/toyworld/upernet_scratch.py', []),
    'upernet_dmae': ('UperNet from D-MAE', 'configs/toyworld/upernet_dmae.py', ['student']),
    'tracker_scratch': ('Tracker from scratch', 'configs/toyworld/ostrack_scratch.py', []),
    'tracker_dmae': ('Tracker from D-MAE', 'configs/toyworld/ostrack_dmae.py', ['student']),
}
# Those of a group run side by side, and so do their tests.
GROUPS = {
    'scratch': 'detectors',
    'dmae': 'detectors',
    'upernet_scratch': 'segmentors',
    'upernet_dmae': 'segmentors',
    'tracker_scratch': 'trackers',
    'tracker_dmae': 'trackers',
}
# Where a config expects what another config leaves, and which stage leaves it here.
DEFAULT_DIRS = {'work_dirs/mae_teacher': 'teacher', 'work_dirs/dmae_student': 'student'}
SMOKE_WORLD = {
    'train': 8,
    'val': 6,
    'unlabeled': 12,
    'videos': 6,
    'test_videos': 2,
    'video_frames': 20,
    'test_frames': 20,
}
SMOKE_ITERATIONS = 3


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Parse the command line.

    Args:
        argv: Arguments without the program's name; ``sys.argv`` when None.
    """
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--work-dir', type=Path, help='results (default: work_dirs/demo)')
    parser.add_argument('--data-root', type=Path, help='the toy world goes below (default: data)')
    parser.add_argument('--fresh', action='store_true', help='forget what was done and start over')
    parser.add_argument(
        '--stages', nargs='+', metavar='NAME', help='run only these stages (default: all)'
    )
    parser.add_argument(
        '--smoke', action='store_true', help='a few iterations on a few images, to see it work'
    )
    args = parser.parse_args(argv)
    work_dir = args.work_dir or ROOT / 'work_dirs' / ('demo_smoke' if args.smoke else 'demo')
    args.work_dir = work_dir.resolve()
    default = args.work_dir / 'data' if args.smoke else ROOT / 'data'
    args.data_root = (args.data_root or default).resolve()
    return args


def tidy(path: Path) -> str:
    """Return a path relative to the repository where it is inside: commands stay readable."""
    return str(path.relative_to(ROOT)) if path.is_relative_to(ROOT) else str(path)


def quiet() -> None:
    """Let mmengine report problems only: the subprocesses have logs of their own."""
    from mmengine.logging import MMLogger

    MMLogger.get_current_instance().setLevel('WARNING')


def make_stages(args: argparse.Namespace) -> tuple[list[Stage], dict[str, Any]]:
    """Lay out the chain.

    Args:
        args: Parsed command line.

    Returns:
        The stages, and the config of each training with its overrides applied.
    """
    world = world_stage(args)
    stages, keys, configs, tests = [world], {'world': world.key}, {}, []
    for name, (title, path, needs) in TRAININGS.items():
        config, overrides = read_config(args, path)
        after = ['world', *needs]
        keys[name] = content_key(config, [keys[need] for need in after])
        work_dir = args.work_dir / name
        group = GROUPS.get(name)
        output = work_dir / (final_checkpoint(config) if group else 'backbone.safetensors')
        command = [sys.executable, 'tools/train.py', path, '--work-dir', tidy(work_dir)]
        stages.append(
            Stage(
                name,
                title,
                work_dir,
                keys[name],
                [*command, *as_arguments(overrides)],
                resume=['--resume'],
                outputs=[work_dir / final_checkpoint(config), output],
                after=after,
                epochs=config['train_cfg'].get('max_epochs'),
                group=group,
            )
        )
        configs[name] = config
        if group:
            tests.append(test_stage(args, name, keys[name], overrides, output))
    return [*stages, *tests], configs


def world_stage(args: argparse.Namespace) -> Stage:
    """Return the stage that builds the toy world; an unchanged world is left as it is."""
    from lightvit_dense.datasets.toyworld import WorldSpec
    from lightvit_dense.datasets.toyworld.world import GENERATOR

    root = args.data_root / 'toyworld'
    sizes: dict[str, Any] = SMOKE_WORLD if args.smoke else {}
    words = [
        word
        for name, count in sizes.items()
        for word in (f'--{name.replace("_", "-")}', str(count))
    ]
    tool = 'tools/dataset_converters/make_toyworld.py'
    layouts = ['coco', 'ade20k', 'lasot']
    command = [sys.executable, tool, '--out', tidy(root), *words, '--layouts', *layouts]
    return Stage(
        'world',
        'Toy world',
        args.work_dir / 'world',
        content_key(str(root), GENERATOR, WorldSpec(**sizes).to_dict(), layouts),
        command,
        outputs=[
            root / 'coco/annotations/instances_val2017.json',
            root / 'ade20k/README.txt',
            root / 'lasot/testing_set.txt',
        ],
    )


def test_stage(
    args: argparse.Namespace, name: str, key: str, overrides: dict[str, Any], checkpoint: Path
) -> Stage:
    """Return the stage that tests a model and keeps its output.

    That of a detector are COCO result files, that of a segmentor label maps, that of a tracker
    LaSOT's result files.
    """
    title, path, _ = TRAININGS[name]
    work_dir = args.work_dir / f'test_{name}'
    results = work_dir / 'results'
    outputs: dict[str, dict[str, str]] = {
        'detectors': {'outfile_prefix': tidy(results)},
        'segmentors': {'output_dir': tidy(results)},
        'trackers': {'out_dir': tidy(work_dir), 'tracker_name': results.name},
    }
    group = GROUPS[name]
    told = {f'test_evaluator.{key}': value for key, value in outputs[group].items()}
    options = overrides | told
    command = [sys.executable, 'tools/test.py', path, tidy(checkpoint), '--work-dir']
    return Stage(
        f'test_{name}',
        f'Test of {title}',
        work_dir,
        content_key(key, 'test'),
        [*command, tidy(work_dir), *as_arguments(options)],
        outputs=[work_dir / 'results.bbox.json' if group == 'detectors' else results],
        after=[name],
        group=f'tests of {group}',
    )


def read_config(args: argparse.Namespace, path: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Read a config and decide what to override: paths of other stages, and smoke sizes.

    Args:
        args: Parsed command line.
        path: Config file, relative to the repository.

    Returns:
        The config with the overrides applied, and the overrides by dotted key.
    """
    from mmengine.config import Config

    config = Config.fromfile(ROOT / path)
    moves = {old: tidy(args.work_dir / name) for old, name in DEFAULT_DIRS.items()}
    overrides: dict[str, Any] = relocate(config.to_dict(), moves)
    if 'max_iters' in config.train_cfg:
        # Otherwise every validation of an iteration-based run is logged at epoch 0.
        overrides['default_hooks.logger.log_metric_by_epoch'] = False
    if args.smoke:
        overrides |= few_iterations(config, SMOKE_ITERATIONS)
    config.merge_from_dict(overrides)
    return config.to_dict(), overrides


def write_results(args: argparse.Namespace, stages: list[Stage], configs: dict[str, Any]) -> None:
    """Gather the numbers, draw the page, print the table.

    Args:
        args: Parsed command line.
        stages: All stages, done.
        configs: Config of each training.
    """
    from lightvit_dense.analysis import demo_report, demo_summary
    from lightvit_dense.utils.environment import environment
    from lightvit_dense.visualization.pictures import CocoPictures

    world = args.data_root / 'toyworld'
    coco, ade, lasot = (world / layout for layout in ('coco', 'ade20k', 'lasot'))
    titles = {stage.name: stage.title for stage in stages}
    hashes = {name: content_key(config) for name, config in configs.items()}
    data = demo_summary.count_data(coco, ade, lasot, configs['scratch'])
    summary = demo_summary.summarize(stages, data, environment(), hashes, args.smoke)
    pictures = CocoPictures(coco / 'annotations/instances_val2017.json', coco / 'val2017')
    results = [
        demo_report.load_results(args.work_dir / f'test_{name}' / 'results')
        for name in demo_summary.DETECTORS
    ]
    detections = demo_report.detection_grid(pictures, results, pictures.choose(8))
    plots = demo_report.training_plots({s.name: s for s in stages if s.name in TRAININGS})
    film_strips, plots['success'] = draw_tracking(args, lasot)
    page = demo_report.build_report(
        summary,
        titles,
        plots,
        detections,
        draw_label_maps(args, ade),
        film_strips,
        draw_reconstructions(args, pictures, configs),
    )
    text = json.dumps(summary, indent=2)
    (args.work_dir / 'summary.json').write_text(text + '\n', encoding='utf-8')
    page.write(args.work_dir / 'report.html')
    print_table(demo_summary.HEADER, demo_summary.table_rows(summary, titles))
    if args.smoke:
        print('Smoke run: everything works; the numbers mean nothing.')
    for part in (summary, summary['segmentation'], summary['tracking']):
        print(part['verdict'])
    print(summary['caveat'])
    print(f'Report: {tidy(args.work_dir / "report.html")}')


def draw_label_maps(args: argparse.Namespace, ade: Path) -> Any:
    """Return a picture of images, their label maps, and what both segmentors made of them."""
    from mmseg.utils import ade_classes, ade_palette

    from lightvit_dense.suite.demo_summary import SEGMENTORS
    from lightvit_dense.visualization.label_pictures import LabelPictures, segmentation_grid

    pictures = LabelPictures(ade)
    folders = [args.work_dir / f'test_{name}' / 'results' for name in SEGMENTORS]
    return segmentation_grid(pictures, folders, pictures.choose(8), ade_classes(), ade_palette())


def draw_tracking(args: argparse.Namespace, lasot: Path, count: int = 5) -> tuple[Any, list[str]]:
    """Return film strips of some test videos, and both trackers' success and precision plots.

    Args:
        args: Parsed command line.
        lasot: Folder of the videos, in LaSOT's layout.
        count: Number of strips.
    """
    from lightvit_dense.suite.demo_summary import TRACKERS
    from lightvit_dense.visualization.curves import to_svg
    from tracking.datasets import LaSOT
    from tracking.evaluation import Truth, score
    from tracking.evaluation.plots import curve_plot
    from tracking.runtime.results import read_result
    from tracking.visualization import choose_frames, film_strip, stack_strips

    videos = LaSOT(lasot, split='test')
    boxes = {
        title: [
            read_result(args.work_dir / f'test_{name}' / 'results' / f'{video}.txt')
            for video in videos.names
        ]
        for name, title in TRACKERS.items()
    }
    strips = [
        film_strip(videos[i], {title: found[i] for title, found in boxes.items()})
        for i in choose_frames(len(videos), count)
    ]
    truths = [Truth.of(video) for video in videos]
    scores = {title: score(found, truths) for title, found in boxes.items()}
    plots = [to_svg(curve_plot(scores, kind)) for kind in ('success', 'precision')]
    return stack_strips(strips), plots


def draw_reconstructions(
    args: argparse.Namespace, pictures: Any, configs: dict[str, Any]
) -> dict[str, Any]:
    """Return pictures of what teacher and student make of hidden patches, by caption."""
    from mmengine.config import Config

    from lightvit_dense import apis
    from lightvit_dense.suite.demo_report import reconstruction_grid
    from lightvit_dense.visualization.reconstructions import reconstruct

    images = [pictures.load(image_id) for image_id in pictures.choose(6)]
    drawn = {}
    for name in ('teacher', 'student'):
        checkpoint = args.work_dir / name / final_checkpoint(configs[name])
        model = apis.build_model(Config(configs[name]), checkpoint, device='cpu')
        words = (
            f'{TRAININGS[name][0]}: original, what it sees, what it makes of it (up to the mean '
            'and contrast of each patch, which it is not asked for).'
        )
        drawn[words] = reconstruction_grid(reconstruct(model, images), per_row=2)
    return drawn


def print_table(header: Any, rows: list[list[object]]) -> None:
    """Print the table of results."""
    from rich.console import Console
    from rich.table import Table

    from lightvit_dense.utils.html import format_cell

    table = Table()
    for i, title in enumerate(header):
        table.add_column(title, justify='right' if i else 'left', no_wrap=not i)
    for row in rows:
        table.add_row(*(format_cell(cell) for cell in row))
    Console(width=None if sys.stdout.isatty() else 128).print(table)


def main(argv: list[str] | None = None) -> int:
    """Run the tool; returns its exit status."""
    args = parse_args(argv)
    os.environ['LIGHTVIT_DATA'] = tidy(args.data_root)
    os.chdir(ROOT)
    print(
        f'Results go to {tidy(args.work_dir)}; a stopped demo continues where it was.', flush=True
    )
    quiet()
    env = {**os.environ, 'PYTHONUNBUFFERED': '1', 'COLUMNS': '120'}
    try:
        with exclusive(args.work_dir):
            stages, configs = make_stages(args)
            if args.fresh:
                for stage in stages:
                    forget(stage)
            display = make_display()
            try:
                Pipeline(stages, display, env, ROOT, extra=1).run(args.stages)
                complete = all(is_done(stage) for stage in stages)
                if complete:
                    display.start(len(stages) + 1, len(stages) + 1, 'Report')
            finally:
                display.close()
            if complete:
                write_results(args, stages, configs)
            else:
                print('Not all stages are done; run without --stages for the report.')
    except KeyboardInterrupt:
        print('\nStopped. The same command continues from here.', file=sys.stderr)
        return 130
    except (StageError, RuntimeError, ValueError) as error:
        print(f'\n{error}', file=sys.stderr)
        return 1
    return 0


if __name__ == '__main__':
    sys.exit(main())
