"""The painters, pixel by pixel."""

import numpy as np

from lightvit_dense.visualization import draw_boxes, draw_instances, draw_label_map

RED, BLUE = (250, 0, 0), (0, 0, 240)
PALETTE = [(200, 0, 0), (0, 200, 0), (0, 0, 200)]


def extent(picture, color):
    """Return left, top, right, bottom of the pixels of a colour, edges."""
    rows, columns = np.nonzero((picture == color).all(axis=2))
    return columns.min(), rows.min(), columns.max() + 1, rows.max() + 1


def test_a_box_covers_its_outermost_pixels():
    image = np.full((40, 50, 3), 128, np.uint8)
    drawn = draw_boxes(image, [[10, 5, 30, 17]], [RED], width=1, outline=BLUE)
    assert extent(drawn, RED) == (10, 5, 30, 17)
    assert extent(drawn, BLUE) == (9, 4, 31, 18)
    assert (drawn[10, 20] == 128).all()  # an outline, not an area
    assert (image == 128).all()


def test_boxes_of_nothing_are_left_out():
    image = np.full((40, 50, 3), 128, np.uint8)
    boxes = [[np.nan, 0, 3, 3], [4, 4, 4, 9], [1, 1, -1, 5], [0, 0, np.inf, 1]]
    boxes += [[-1e9, -1e9, 1e9, 1e9]]  # all corners outside
    assert (draw_boxes(image, boxes, [RED] * 5) == image).all()


def test_objects_are_drawn_where_they_are():
    image = np.random.default_rng(0).integers(0, 256, (200, 300, 3)).astype(np.uint8)
    mask = np.zeros((200, 300), bool)
    mask[120:160, 100:180] = True
    before = image.copy()
    drawn = draw_instances(image, [[90, 100, 200, 170]], [BLUE], ['cup 0.90'], [mask])
    np.testing.assert_array_equal(image, before)
    inside = np.s_[125:155, 110:170]
    expected = 0.5 * image[inside] + 0.5 * np.array(BLUE)
    assert np.abs(drawn[inside] - expected).max() <= 0.5
    assert (drawn[135, 90] == BLUE).all()
    # Left, right and below nothing is changed; the name stands above the box.
    for free in (np.s_[:, :90], np.s_[:, 201:], np.s_[171:, :], np.s_[:70, :]):
        np.testing.assert_array_equal(drawn[free], image[free])
    assert (drawn[88:100, 91:150] != image[88:100, 91:150]).any()
    assert (draw_instances(image, [], [], []) == image).all()
    # Scaling moves the box with the image.
    image = np.zeros((40, 60, 3), np.uint8)
    drawn = draw_instances(image, [[20, 12, 30, 20]], [RED], [''], scale=2.0)
    assert drawn.shape == (80, 120, 3)
    assert (drawn[39, 40:60] == RED).all()
    assert not drawn[40:].any()
    assert not drawn[30, 42:58].any()


def test_label_maps_are_painted_over_the_image_and_unknown_ids_are_not():
    image = np.full((4, 6, 3), 100, np.uint8)
    ids = np.zeros((4, 6), np.uint8)
    ids[:, 3:] = 1
    ids[0] = 255
    painted = draw_label_map(image, ids, PALETTE, scale=2)
    expected = np.full((8, 12, 3), 100)
    expected[2:, :6], expected[2:, 6:] = (150, 50, 50), (50, 150, 50)
    np.testing.assert_array_equal(painted, expected)
    # Ids beyond 255, and below 0.
    wide = np.where(ids == 1, np.uint16(256), ids).astype(np.int32) - 1
    painted = draw_label_map(image, wide, PALETTE * 100, alpha=1.0)
    assert (painted[1:, 3:] == PALETTE[0]).all()  # class 255
    assert (painted[1:, :3] == 100).all()


def test_regions_are_named_on_their_colour_where_there_is_room():
    image = np.zeros((200, 300, 3), np.uint8)
    ids = np.zeros((200, 300), np.uint8)
    ids[:, 200:] = 1
    ids[:3, :3] = 2  # too small for a name
    painted = draw_label_map(image, ids, PALETTE, ('sky', 'sea, lake', 'gone'))
    full = np.zeros((200, 300), bool)
    for color in PALETTE:
        full |= (painted == color).all(axis=2)
    places = (np.s_[85:115, 70:130], np.s_[85:115, 220:280], np.s_[:70], np.s_[130:])
    assert [full[place].any() for place in places] == [True, True, False, False]
