"""How toolkits treat first frames, absent targets and odd predictions."""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from lightvit_dense.errors import UserError, require_known

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
        overlap_bins: Thresholds of the overlap, from 0 to 1 in equal steps.
        overlap_at: Thresholds of OP50 and OP75.
        centre_at: Threshold of ``precision`` in pixels.
        norm_at: Threshold of ``norm_precision``.
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
    overlap_bins: int = 21
    overlap_at: tuple[float, float] = (0.5, 0.75)
    centre_at: int = 20
    norm_at: float = 0.2

    def __post_init__(self) -> None:
        for name, allowed in _CHOICES.items():
            require_known(getattr(self, name), allowed, f'protocol {name}')
        if self.overlap_bins < 2:
            raise UserError(f'protocol overlap_bins={self.overlap_bins}: must be at least 2')
        if not 0 <= self.centre_at <= 50 or self.centre_at != int(self.centre_at):
            raise UserError(f'protocol centre_at={self.centre_at}: must be a whole number in 0..50')
        if not 0 <= self.norm_at <= 0.5 or abs(100 * self.norm_at % 1 - 0.5) < 0.499:
            raise UserError(f'protocol norm_at={self.norm_at}: must be a multiple of .01 in 0..0.5')
        step = 1 / (self.overlap_bins - 1)
        if any(
            not 0 <= at <= 1 or abs(at / step - round(at / step)) > 1e-6 for at in self.overlap_at
        ):
            raise UserError(
                f'protocol overlap_at={self.overlap_at}: must be multiples of {step:g} in 0..1'
            )


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
    if 'overlap_at' in changes:
        changes['overlap_at'] = tuple(changes['overlap_at'])
    return replace(TOOLKITS[toolkit], **changes)
