"""Evaluate a checkpoint by the test part of a config."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmengine.config import Config, ConfigDict

from lightvit_dense.apis.agreement import require_same_checkpoint
from lightvit_dense.apis.configs import built_runner, load_run, prepare_launcher
from lightvit_dense.apis.extra_tests import add_extra_tests, choose_extras
from lightvit_dense.apis.preflight import find_missing, raise_if_missing
from lightvit_dense.engine.options import apply_engine_options
from lightvit_dense.errors import UserError
from lightvit_dense.evaluation.joint import class_tables
from lightvit_dense.utils.ranks import together


@dataclass(frozen=True)
class Evaluation:
    """What a test found."""

    metrics: dict[str, float]  # those of an extra test begin with its name
    class_tables: dict[str, list[dict[str, Any]]]  # rows by metric; on the main process only
    config: Config  # as it was run


def test(*args: Any, **kwargs: Any) -> dict[str, float]:
    """Evaluate a checkpoint and return the metrics alone; takes what :func:`evaluate` takes."""
    return evaluate(*args, **kwargs).metrics


def evaluate(
    config: str | Path | Config,
    checkpoint: str | Path,
    work_dir: str | Path | None = None,
    out: str | Path | None = None,
    show_dir: str | Path | None = None,
    cfg_options: dict | None = None,
    launcher: str = 'none',
    extra: Sequence[str] = (),
    show_max: int | None = None,
) -> Evaluation:
    """Evaluate a checkpoint.

    Raises UserError when the config, data or the checkpoint are missing or the config is wrong.

    Args:
        config: Config or its path.
        checkpoint: Checkpoint to evaluate.
        work_dir: Directory of logs and metrics; by default the config's, else ``work_dirs/<config
            name>``.
        out: ``.pkl`` file that receives the predictions.
        show_dir: Directory that receives pictures, the truth beside the prediction; drawn by the
            config's ``visualization_hook``, where it has one.
        cfg_options: Config values to override, by dotted key.
        launcher: 'none', 'pytorch', 'slurm' or 'mpi'.
        extra: Names of the config's ``extra_tests`` to run too, or ('all',).
        show_max: Most pictures; None for one an image.
    """
    cfg = load_run('test', config, cfg_options, work_dir)
    cfg.load_from, cfg.resume = str(checkpoint), False
    extras = choose_extras(cfg, extra)
    prepare_launcher(cfg, launcher)
    require_same_checkpoint(cfg)
    together(lambda: raise_if_missing(find_missing(cfg, 'test', extras), cfg))
    hooks = [*(cfg.get('custom_hooks') or []), dict(type='lightvit_dense.FitCheckpointHook')]
    if out is not None:
        _dump_predictions(cfg, str(out))
    if show_dir is not None:
        hooks.append(_visualization_hook(cfg, str(show_dir), show_max))
    elif show_max is not None:
        raise UserError('--show-max limits the pictures of --show-dir; give it too')
    cfg.custom_hooks = hooks
    add_extra_tests(cfg, extras)
    apply_engine_options(cfg, training=False)
    with built_runner(cfg) as runner:
        metrics = runner.test()
        loops = getattr(runner.test_loop, 'loops', [runner.test_loop])
        tables = {k: rows for loop in loops for k, rows in class_tables(loop.evaluator).items()}
    return Evaluation(metrics, tables, cfg)


def _dump_predictions(cfg: Config, out: str) -> None:
    if not out.endswith(('.pkl', '.pickle')):
        raise UserError(
            f'--out {out}: predictions are dumped to a pickle file, whose name ends in .pkl'
        )
    evaluators = (
        cfg.test_evaluator if isinstance(cfg.test_evaluator, list) else [cfg.test_evaluator]
    )
    dump = ConfigDict(type='lightvit_dense.DumpPredictions', out_file=out)
    cfg.test_evaluator = [*evaluators, dump]


def _visualization_hook(cfg: Config, show_dir: str, show_max: int | None) -> dict[str, Any]:
    """Return the hook that draws: the config's ``visualization_hook``, else the one of images."""
    if show_max is not None and show_max < 1:
        raise UserError(f'--show-max {show_max}: must be at least 1')
    hook = cfg.get('visualization_hook') or {}
    standard = dict(type='lightvit_dense.PredictionVisualizationHook')
    return standard | hook | dict(out_dir=show_dir, max_images=show_max)
