"""mmdet must find the operators in place, whichever test comes first."""

import lightvit_dense  # noqa: F401
