"""Single-object tracking: data, one-stream tracker, runtime, one-pass evaluation.

Built on :mod:`lightvit_dense`, which knows nothing of it. Importing it fills the registries of the
scope ``tracking``.
"""

import lightvit_dense.registry  # noqa: F401  the parent scope must exist first

from . import registry

__all__ = ['registry']
