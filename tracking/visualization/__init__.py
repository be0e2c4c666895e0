"""Film strips, and what a tracker looks at."""

from .attention import attention_picture
from .film_strip import TRUTH_COLOR, FilmStripHook, film_strip, outline_targets
