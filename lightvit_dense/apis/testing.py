"""Evaluate a checkpoint by the test part of a config."""

# ruff: noqa: PT028 -- `test` is no pytest function

from collections.abc import Sequence
from pathlib import Path

from mmengine.config import Config, ConfigDict
from mmengine.registry import RUNNERS
from mmengine.runner import Runner

from lightvit_dense.apis.configs import (
    load_config,
    prepare_launcher,
    prepare_scope,
    prepare_work_dir,
)
from lightvit_dense.apis.explain import explained
from lightvit_dense.apis.extra_tests import choose_extras, join_evaluators, run_tests
from lightvit_dense.apis.preflight import find_missing, raise_if_missing
from lightvit_dense.apis.workers import stop_workers
from lightvit_dense.engine.options import apply_engine_options
from lightvit_dense.errors import UserError


def test(
    config: str | Path | Config,
    checkpoint: str | Path,
    work_dir: str | Path | None = None,
    out: str | Path | None = None,
    show_dir: str | Path | None = None,
    cfg_options: dict | None = None,
    launcher: str = 'none',
    extra: Sequence[str] = (),
) -> dict[str, float]:
    """Evaluate a checkpoint.

    Args:
        config: Config or its path.
        checkpoint: Checkpoint to evaluate.
        work_dir: Directory of logs and metrics; by default the config's, else ``work_dirs/<config
            name>``.
        out: ``.pkl`` file that receives the predictions.
        show_dir: Directory that receives painted predictions.
        cfg_options: Config values to override, by dotted key.
        launcher: 'none', 'pytorch', 'slurm' or 'mpi'.
        extra: Names of the config's ``extra_tests`` to run too, or ('all',).

    Returns:
        The metrics by name; those of an extra test begin with its name.

    Raises:
        UserError: When the config, data or the checkpoint are missing or the config is wrong.
    """
    cfg = load_config(config, cfg_options)
    prepare_work_dir(cfg, work_dir)
    prepare_scope(cfg)
    if cfg.get('test_cfg') is None:
        raise UserError(f'{cfg.filename or "the config"} has no test_cfg: there is nothing to test')
    cfg.load_from, cfg.resume = str(checkpoint), False
    extras = choose_extras(cfg, extra)
    raise_if_missing(find_missing(cfg, 'test', extras), cfg)
    if out is not None:
        _dump_predictions(cfg, str(out))
    if show_dir is not None:
        _paint_predictions(cfg, str(show_dir))
    join_evaluators(cfg, extras)
    hooks = cfg.get('custom_hooks') or []
    cfg.custom_hooks = [*hooks, dict(type='lightvit_dense.FitCheckpointHook')]
    apply_engine_options(cfg, training=False)
    prepare_launcher(cfg, launcher)
    with explained():
        runner = RUNNERS.build(cfg) if 'runner_type' in cfg else Runner.from_cfg(cfg)
        try:
            return run_tests(runner, extras)
        finally:
            stop_workers(runner)


def _dump_predictions(cfg: Config, out: str) -> None:
    if not out.endswith(('.pkl', '.pickle')):
        raise UserError(
            f'--out {out}: predictions are dumped to a pickle file, whose name ends in .pkl'
        )
    evaluators = (
        cfg.test_evaluator if isinstance(cfg.test_evaluator, list) else [cfg.test_evaluator]
    )
    cfg.test_evaluator = [*evaluators, ConfigDict(type='DumpResults', out_file_path=out)]


def _paint_predictions(cfg: Config, show_dir: str) -> None:
    hook = (cfg.get('default_hooks') or {}).get('visualization')
    if hook is None:
        raise UserError(
            '--show-dir needs a hook that paints: the config has no default_hooks.visualization '
            "(detection: dict(type='DetVisualizationHook'), "
            "segmentation: dict(type='SegVisualizationHook'))"
        )
    hook['draw'] = True
    hook['test_out_dir'] = show_dir
