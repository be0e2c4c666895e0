"""How toolkits treat first frames, absent targets and odd predictions."""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from lightvit_dense.errors import require_known

_CHOICES = {
    'pixels': ('inclusive', 'continuous'),
    'first_frame': ('truth', 'prediction', 'exclude'),
    'longer': ('truncate', 'error'),
    'shorter': ('error', 'zeros'),
    'zero_size': ('previous', 'keep'),
    'invalid': ('error', 'previous'),
    'boxless_centre': ('miss', 'hit'),
    'boxless_norm': ('miss', 'hit'),
}


@dataclass(frozen=True)
class Protocol:
    """The protocol of a one-pass evaluation; the defaults are those of pytracking on LaSOT.

    A frame is *absent* where the annotation says that the target is hidden or out of view. It is
    *boxless* where the target is said to be present but the true box has no area. Both have an
    overlap below every threshold and count among the frames that a rate is divided by.

    Attributes:
        pixels: 'inclusive': the centre is x + (w - 1) / 2, the right edge x + w - 1; 'continuous':
            x + w / 2 and x + w. Results differ by rounding, which may lift the overlap of equal
            boxes above 1.
        first_frame: 'truth' replaces the prediction, 'prediction' judges it, 'exclude' leaves it
            out.
        longer: More predictions than annotated frames (LaSOT's monkey-17): 'truncate' or 'error'.
        shorter: Fewer predictions: 'error', or 'zeros' to fill up with empty boxes.
        zero_size: A predicted box without area: 'previous' takes the box before, 'keep' judges it.
        invalid: A prediction that is not finite or of negative size: 'error' or 'previous'.
        boxless_centre: A boxless frame is a 'miss' or a 'hit' at every threshold of the error.
        boxless_norm: The same of the normalised error.
        positive_corner: Whether a true box must have x > 0 and y > 0 to be one.
        exclude_invalid_frames: Whether rates are divided by the number of frames with a true box.
    """

    pixels: str = 'inclusive'
    first_frame: str = 'truth'
    longer: str = 'truncate'
    shorter: str = 'error'
    zero_size: str = 'previous'
    invalid: str = 'error'
    boxless_centre: str = 'miss'
    boxless_norm: str = 'hit'
    positive_corner: bool = False
    exclude_invalid_frames: bool = False

    def __post_init__(self) -> None:
        for name, allowed in _CHOICES.items():
            require_known(getattr(self, name), allowed, f'protocol {name}')


TOOLKITS: dict[str, Protocol] = {
    # pytracking, and with it STARK and OSTrack: lib/test/analysis/extract_results.py.
    'pytracking': Protocol(),
    # LaSOT's own toolkit: utils/calc_seq_err_robust.m, utils/eval_tracker.m.
    'matlab': Protocol(invalid='previous', boxless_centre='hit', positive_corner=True),
}


def choose_protocol(
    toolkit: str = 'pytracking', options: Mapping[str, Any] | None = None
) -> Protocol:
    """Return the protocol of a toolkit, 'pytracking' or LaSOT's own 'matlab', with changes."""
    require_known(toolkit, TOOLKITS, 'toolkit')
    changes = dict(options or {})
    for name in changes:
        require_known(name, [field.name for field in fields(Protocol)], 'protocol')
    return replace(TOOLKITS[toolkit], **changes)
