"""What a tracker looked at in a frame, block by block: eliminated candidates and attention."""

import cv2
import numpy as np

from lightvit_dense.visualization import Image, grid, legend, line_color, rescale, titled

from ..models.joint_attention import FrameAttention, JointAttention
from .film_strip import outline_targets

GONE, DROPPED = (255, 255, 255), (255, 140, 0)
"""Colours of the candidates that earlier blocks dropped, and that a block drops itself."""
_RANKER = (60, 230, 60)
_FOUND = line_color(0)


def attention_picture(found: FrameAttention, tile: int = 176) -> Image:
    """Draw a column a block: candidates that are gone above, attention to the others below.

    The first column is the template, with the tokens that rank the candidates outlined, above the
    search crop with the box that is found. Attention is that of these tokens to the search image,
    mean over heads; its colours go from 0 to the block's maximum, which is in the title. ``tile``
    is the side of a crop in pixels.
    """
    template, search = (rescale(crop, tile / len(crop)) for crop in (found.template, found.search))
    target = outline_targets(search, np.asarray(found.box) * tile / len(found.search), [_FOUND])
    inside = _enlarge_cells((found.blocks[0].weights[0] > 0).byte().cpu().numpy(), len(template))
    edges, _ = cv2.findContours(inside, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    upper = [titled(cv2.drawContours(template.copy(), edges, -1, _RANKER, 2), 'template')]
    lower = [titled(target, f'search, score {found.score:.2f}')]
    for one in found.blocks:
        left, all_cells = one.search_ids.shape[1], one.grid[0] * one.grid[1]
        dropped = one.eliminated.shape[1]
        change = f'{left} - {dropped}' if dropped else f'{left} of {all_cells}'
        upper.append(titled(_cover_gone(search, one), f'block {one.block}: {change}'))
        heat, most = _lay_attention(search, one)
        lower.append(titled(heat, f'attention, max {most:.2g}'))
    picture = grid([upper, lower], background=255)
    names = [('ranks the candidates', _RANKER), ('found', _FOUND)]
    names += [('dropped by this block', DROPPED), ('dropped before', GONE)]
    return np.concatenate([picture, legend(names, picture.shape[1])])


def _enlarge_cells(values: np.ndarray, side: int) -> np.ndarray:
    """Enlarge a map [rows, columns] to the size of a tile, a rectangle a cell."""
    return cv2.resize(values, (side, side), interpolation=cv2.INTER_NEAREST)


def _cover_gone(search: Image, one: JointAttention) -> Image:
    """Cover candidates that are gone, in the colour of when they were dropped."""
    state = np.full(one.grid[0] * one.grid[1], 2, np.uint8)
    state[one.search_ids[0].cpu().numpy()] = 0
    state[one.eliminated[0].cpu().numpy()] = 1
    cells = _enlarge_cells(state.reshape(one.grid), len(search))
    paint = np.array([(0, 0, 0), DROPPED, GONE], np.float32)[cells]
    opacity = np.array([0.0, 0.65, 0.85], np.float32)[cells][..., None]
    return ((1 - opacity) * search + opacity * paint).round().astype(np.uint8)


def _lay_attention(search: Image, one: JointAttention) -> tuple[Image, float]:
    """Lay the attention over the crop; return its maximum, too."""
    values = one.ranking_map()[0].mean(0).cpu().numpy()
    most = float(np.nanmax(values))
    gone = np.isnan(values)
    level = np.where(gone, 0, values / max(most, 1e-12) * 255).round().astype(np.uint8)
    side = len(search)
    heat = cv2.applyColorMap(_enlarge_cells(level, side), cv2.COLORMAP_VIRIDIS)[..., ::-1]
    picture = (0.35 * search + 0.65 * heat).round().astype(np.uint8)
    picture[_enlarge_cells(gone.astype(np.uint8), side) > 0] = GONE
    return picture, most
