"""Film strips and annotated frames."""

from .attention import attention_picture
from .draw import TRACKER_COLORS, TRUTH_COLOR, draw_box, tracker_color
from .film_strip import choose_frames, film_strip, stack_strips
from .hook import FilmStripHook, write_strip

__all__ = [
    'TRACKER_COLORS',
    'TRUTH_COLOR',
    'FilmStripHook',
    'attention_picture',
    'choose_frames',
    'draw_box',
    'film_strip',
    'stack_strips',
    'tracker_color',
    'write_strip',
]
