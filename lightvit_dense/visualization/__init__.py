"""Pictures: one palette, one legend, one painter of boxes and masks and one of label maps."""

from .grids import detection_grid, label_map_grid, reconstruction_grid, reconstruction_rows
from .layout import (
    Image,
    data_uri,
    evenly,
    grid,
    legend,
    read_image,
    rescale,
    side_by_side,
    stacked,
    titled,
    write_image,
)
from .painter import draw_boxes, draw_instances, draw_label_map, write_texts
from .palette import PALETTE, Color, class_color, class_colors, line_color
from .samples import draw_objects, draw_sample
from .tokens import draw_tokens, heat_map, pca_colors
