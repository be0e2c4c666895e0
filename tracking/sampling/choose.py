"""Which two frames of a video make a training pair."""

import numpy as np

from lightvit_dense.errors import UserError, require_known

MODES = ('causal', 'interval', 'order')
_STEP = 5  # frames by which the interval grows in OSTrack's code when nothing was found


class FrameChoice:
    """Draw the frames of template and search crop among those in which the target is visible.

    A reference frame is drawn for the template, then a search frame at most ``max_interval`` frames
    from it: after it ('causal'), on either side ('interval'), or after it in a video that runs
    backwards half of the time ('order'). Where there is none, both are drawn again with an interval
    5 frames longer. 'causal' is OSTrack's way (Ye et al. 2022; its code stops one frame short of
    the interval).
    """

    def __init__(self, mode: str = 'causal', max_interval: int = 200) -> None:
        require_known(mode, MODES, 'mode of drawing frames')
        if max_interval < 1:
            raise UserError(f'max_interval must be at least 1 frame, got {max_interval}')
        self.mode, self.max_interval = mode, max_interval

    def draw(self, visible: np.ndarray) -> tuple[int, int]:
        """Draw two different frames of ``visible`` [T] from numpy's ambient generator."""
        usable = np.flatnonzero(visible)
        if len(usable) < 2:
            raise ValueError(f'a pair needs two visible frames, there are {len(usable)}')
        both_sides, interval = self.mode == 'interval', self.max_interval
        while True:
            # the last visible frame has none after it
            place = np.random.randint(len(usable) if both_sides else len(usable) - 1)
            start = np.searchsorted(usable, usable[place] - interval) if both_sides else place
            end = np.searchsorted(usable, usable[place] + interval, side='right')
            if end - start > 1:
                # one fewer to choose from: the reference itself is left out
                other = np.random.randint(start, end - 1)
                first, second = int(usable[place]), int(usable[other + (other >= place)])
                backwards = self.mode == 'order' and np.random.random() < 0.5
                return (second, first) if backwards else (first, second)
            interval += _STEP
