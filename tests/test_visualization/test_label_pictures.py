import cv2
import numpy as np
import pytest

from lightvit_dense.visualization.label_pictures import (
    LabelPictures,
    legend,
    paint_labels,
    segmentation_grid,
)

PALETTE = [(200, 0, 0), (0, 200, 0), (0, 0, 200)]
NAMES = ['wall', 'book', 'a class with quite a long name']


def test_labels_are_painted_over_the_image_and_unlabelled_pixels_are_not() -> None:
    image = np.full((4, 6, 3), 100, np.uint8)
    labels = np.zeros((4, 6), np.uint8)
    labels[:, 3:] = 2
    painted = paint_labels(image, labels, PALETTE, scale=2)
    assert painted.shape == (8, 12, 3)
    assert (painted[:, :6] == 100).all()
    assert (painted[:, 6:] == (40, 160, 40)).all()
    # A file of 16 bits holds ids beyond 255.
    wide = paint_labels(image, labels.astype(np.uint16) * 128, PALETTE * 100)
    assert (wide[:, 3:] == (160, 40, 40)).all()  # class 256


def test_legend_has_what_occurs_and_breaks_lines() -> None:
    labels = [np.array([[0, 1]]), np.array([[1, 3]])]
    one = legend(labels, NAMES, PALETTE, width=400)
    assert one.shape == (22, 400, 3)
    colors = {tuple(int(v) for v in pixel) for pixel in one.reshape(-1, 3)}
    assert PALETTE[0] in colors
    assert PALETTE[2] in colors
    assert PALETTE[1] not in colors
    assert legend(labels, NAMES, PALETTE, width=200).shape == (44, 200, 3)


@pytest.fixture
def folders(tmp_path):
    """Five images in ADE20K's layout, truth all wall; a model that says book everywhere."""
    for part in ('images/validation', 'annotations/validation', 'model'):
        (tmp_path / part).mkdir(parents=True)
    for i in range(5):
        cv2.imwrite(str(tmp_path / f'images/validation/{i}.jpg'), np.zeros((8, 8, 3), np.uint8))
        cv2.imwrite(str(tmp_path / f'annotations/validation/{i}.png'), np.ones((8, 8), np.uint8))
        cv2.imwrite(str(tmp_path / f'model/{i}.png'), np.full((8, 8), 2, np.uint8))
    return tmp_path


def test_truth_and_models_stand_side_by_side(folders) -> None:
    pictures = LabelPictures(folders)
    assert pictures.choose(3) == ['0', '2', '4']
    assert len(pictures.choose(9)) == 5
    drawn = segmentation_grid(pictures, [folders / 'model'], ['0', '4'], NAMES, PALETTE, width=16)
    assert drawn.shape[1] == 3 * 16 + 2 * 4
    image, truth, model = drawn[:16, :16], drawn[:16, 20:36], drawn[:16, 40:]
    assert not image.any()
    assert (truth == (120, 0, 0)).all()
    assert (model == (0, 120, 0)).all()


def test_missing_files_are_named(folders) -> None:
    with pytest.raises(FileNotFoundError, match=r'7\.png'):
        LabelPictures(folders).truth('7')
    with pytest.raises(FileNotFoundError, match=r'cannot read the image .*7\.jpg'):
        LabelPictures(folders).load('7')
