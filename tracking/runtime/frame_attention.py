"""What a tracker looks at in one frame."""

from dataclasses import dataclass

import numpy as np

from ..models.joint_attention import JointAttention


@dataclass(frozen=True, eq=False)
class FrameAttention:
    """What the network finds in the crops of a frame, and what its blocks look at."""

    template: np.ndarray  # RGB uint8 [h, w, 3]
    search: np.ndarray  # RGB uint8 [H, W, 3]
    box: np.ndarray  # x, y, width, height [4] in pixels of the search crop
    score: float  # of the box, in 0..1
    blocks: list[JointAttention]  # one a block that was asked for, with a batch of 1

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Return arrays to save.

        ``blocks`` [L]; ``attention`` [L, rows, columns], that of the ranking template tokens, mean
        over heads, NaN where no token is left; ``eliminated_by`` [rows, columns], the block that
        dropped a token, -1 for none of these blocks; ``box`` and ``score``.
        """
        maps = [one.ranking_map()[0].mean(0).cpu().numpy() for one in self.blocks]
        dropped = np.full(maps[0].size, -1)
        for one in self.blocks:
            dropped[one.eliminated[0].cpu().numpy()] = one.block
        return dict(
            blocks=np.array([one.block for one in self.blocks]),
            attention=np.stack(maps),
            eliminated_by=dropped.reshape(maps[0].shape),
            box=self.box,
            score=np.array(self.score),
        )
