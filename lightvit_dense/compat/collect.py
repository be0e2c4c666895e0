"""Results of an evaluation meet over the process group, not in files.

Symptom, where machines share no working directory: ``FileNotFoundError: .dist_test/tmp... is not an
shared directory for rank 8`` at the first validation. By default every metric of mmengine, mmdet
and mmseg writes the results of a process below the current folder, where rank 0 reads them.

Cure: rank 0 gathers them by NCCL or gloo. A metric with a ``collect_dir`` still uses that.
"""

from itertools import chain, zip_longest
from typing import Any

from mmengine import dist
from mmengine.evaluator import metric

_collect_by_files = dist.dist.collect_results


def _collect(results: list, size: int, device: str = 'cpu', tmpdir: str | None = None) -> Any:
    """Return the first ``size`` results of all processes in turn on rank 0, None elsewhere."""
    if tmpdir is not None:
        return _collect_by_files(results, size, device, tmpdir)
    parts, absent = dist.gather_object(metric._to_cpu(results)), object()
    in_turn = chain.from_iterable(zip_longest(*parts or [], fillvalue=absent))
    return None if parts is None else [found for found in in_turn if found is not absent][:size]


def install() -> None:
    """Take the place of mmengine's function; may be called repeatedly."""
    dist.collect_results = metric.collect_results = _collect
