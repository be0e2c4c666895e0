r"""Measure how alike a student and a teacher attend, layer against layer.

Patches' attention to patches, class token out before the softmax: cross entropy, KL, cosine and
Jensen-Shannon divergence of the maps averaged over heads, and the share of the teacher's logits
that a linear map of the student's heads explains. Images come a batch at a time; memory does not
grow with their number.

Example:
    python tools/analysis_tools/attention_agreement.py CONFIG CHECKPOINT CONFIG_B CHECKPOINT_B \
        --images data/imagenet/val --pairs 6:6 12:12
    python tools/analysis_tools/attention_agreement.py CONFIG CHECKPOINT teacher --images DIR
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from mmengine.config import Config

from lightvit_dense import apis
from lightvit_dense.apis.analysis import Session, add_options, finish, write_results
from lightvit_dense.apis.arguments import make_parser
from lightvit_dense.errors import UserError, run_tool
from lightvit_dense.representation import AttentionAgreement, PairAgreement
from lightvit_dense.representation.agreement import MEASURES, parse_pairs
from lightvit_dense.representation.plots import agreement_matrix, plot_agreement
from lightvit_dense.utils.tables import print_table

TEACHER = 'teacher'
LONGEST = 16
"""Greatest number of pairs that are printed one by one."""


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = make_parser(__doc__)
    add = parser.add_argument
    add('config', help="the student's config: any with model.backbone, but a tracker")
    add('checkpoint', help="any checkpoint of its backbone, 'none' for random weights")
    add('config_b', help="the teacher's config, or 'teacher': model.distiller.teacher of CONFIG")
    add('checkpoint_b', nargs='?', help="its checkpoint (with 'teacher': by default CONFIG's)")
    add('--titles', nargs=2, metavar=('STUDENT', 'TEACHER'), help='default: of the configs')
    text = "layers to compare, such as 6:6 12:12, or 'all' (default: last with last)"
    add('--pairs', nargs='+', default=[], metavar='S:T', help=text)
    add_options(parser, 'work_dirs/attention_agreement')
    args = parser.parse_args(argv)
    if args.config_b != TEACHER and args.checkpoint_b is None:
        parser.error("CONFIG_B needs a CHECKPOINT_B; 'none' for random weights")
    return args


def teacher_config(config: str, cfg_options: dict | None) -> tuple[Config, str | None]:
    """Return a config of the teacher of a config, and its checkpoint if one is named."""
    cfg = apis.load_config(config, cfg_options)
    model = cfg.get('model') or {}
    teacher = (model.get('distiller') or {}).get('teacher')
    if not teacher:
        raise UserError(
            f'{config} has no model.distiller.teacher; name the config of the teacher instead'
        )
    backbone = {key: value for key, value in teacher.items() if key != 'init_cfg'}
    normaliser = dict(model['data_preprocessor'])
    given = model['distiller'].get('teacher_input') or {}
    normaliser |= {key: given[key] for key in ('mean', 'std') if given.get(key) is not None}
    found = Config(dict(model=dict(backbone=backbone, data_preprocessor=normaliser)))
    return found, (teacher.get('init_cfg') or {}).get('checkpoint')


def models_of(args: argparse.Namespace) -> list[tuple[Config | str, str, str | None]]:
    """Return config, checkpoint and title of the student and of the teacher."""
    titles = args.titles or [None, TEACHER if args.config_b == TEACHER else None]
    student = (args.config, args.checkpoint, titles[0])
    if args.config_b != TEACHER:
        return [student, (args.config_b, args.checkpoint_b, titles[1])]
    config, own = teacher_config(args.config, args.cfg_options)
    checkpoint = args.checkpoint_b or own
    if checkpoint is None:
        raise UserError(
            f'{args.config} names no checkpoint of its teacher; give one: CONFIG CHECKPOINT '
            "teacher CHECKPOINT_B, 'none' for random weights"
        )
    return [student, (config, checkpoint, titles[1])]


def print_pairs(titles: Sequence[str], found: Sequence[PairAgreement]) -> None:
    """Print the numbers of all pairs; of many pairs the best for each student layer."""
    columns = ('layers', 'cross entropy', 'KL', 'cosine', 'JS', 'explained')
    title, shown = f'{titles[0]} : {titles[1]}', list(found)
    if len(found) > LONGEST:
        title += ', for each student layer the teacher layer of the least JS'
        layers = dict.fromkeys(pair.student for pair in found)
        shown = [min((p for p in found if p.student == k), key=lambda p: p.js) for k in layers]
    rows = []
    for pair in shown:
        numbers = [getattr(pair, name) for name in (*MEASURES, 'explained')]
        rows.append((f'{pair.student}:{pair.teacher}', *(f'{x:.4f}' for x in numbers)))
    print_table(columns, rows, title)


def main(argv: list[str] | None = None) -> None:
    """Run the tool."""
    args = parse_args(argv)
    pairs, models = parse_pairs(args.pairs), models_of(args)
    session = Session(args, models, 'agreement of attention')
    titles = (session.titles[0], session.titles[1])
    sides = [(size, size) for size in session.sizes]
    student, teacher = (model.backbone for model in session.models)
    agreement, images = AttentionAgreement(student, teacher, pairs, (sides[0], sides[1])), 0
    for batches in session.batches():
        agreement.update(*batches)
        images += len(batches[0])
    found = agreement.result()
    layers = [sorted({getattr(pair, side) for pair in found}) for side in ('student', 'teacher')]
    content = {
        'kind': 'agreement',
        'models': [session.describe(place, chosen) for place, chosen in enumerate(layers)],
        'pairs': [pair.to_dict() for pair in found],
        **session.metadata(images),
    }
    arrays = {name: agreement_matrix(found, name) for name in (*MEASURES, 'explained')}
    files = write_results(args.out, 'agreement', content, arrays)
    print_pairs(titles, found)
    print(f'{content["seconds"]:.1f} s, peak memory {content["peak_memory_mb"]:.0f} MiB')
    finish(plot_agreement(found, titles), Path(args.out) / 'agreement.png', files)


if __name__ == '__main__':
    run_tool(main)
