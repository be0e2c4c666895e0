import pytest

from lightvit_dense.suite import verdict


def result(box, mask):
    return {'bbox_mAP': box, 'segm_mAP': mask}


@pytest.mark.parametrize(
    ('scratch', 'pretrained', 'start', 'difference'),
    [
        (0.143, 0.214, 'Pre-training helped: ', '+0.071 box AP (0.214 against 0.143'),
        (0.300, 0.270, 'Pre-training did not help, it did harm: ', '-0.030 box AP'),
        (0.200, 0.203, 'Pre-training did not help measurably: ', '+0.003 box AP'),
        (0.0, 0.0, 'Pre-training did not help measurably: ', '+0.000 box AP'),
    ],
)
def test_sentence_follows_the_numbers(scratch, pretrained, start, difference):
    words = verdict.sentence(result(scratch, 0.1), result(pretrained, 0.15))
    assert words.startswith(start)
    assert difference in words
    assert '+0.050 mask AP' in words


def test_outcome_agrees_with_the_printed_digits():
    assert verdict.outcome(0.1, 0.1054) == 'level'
    assert verdict.outcome(0.1, 0.1056) == 'helped'
    assert verdict.outcome(0.1056, 0.1) == 'hurt'


def test_caveat_counts_seeds_images_and_objects():
    assert '64 validation images and 20 test videos.' in verdict.caveat(64, videos=20)
    words = verdict.caveat(64, instances=200)
    assert 'one seed' in words
    assert '64 validation images with 200 objects' in words
    assert 'spread between seeds was not measured' in words
    assert 'not measured' not in verdict.caveat(64, seeds=3)


def test_segmentation_is_told_from_percent():
    words = verdict.segmentation_sentence({'mIoU': 40.0}, {'mIoU': 43.2})
    assert words == (
        'Segmentation: pre-training helped: +0.032 mean IoU (0.432 against 0.400 from scratch).'
    )
    assert 'did not help measurably' in verdict.segmentation_sentence({'mIoU': 40}, {'mIoU': 40.4})


def test_tracking_is_told_from_percent():
    before, after = {'success': 31.0, 'precision': 40.0}, {'success': 28.0, 'precision': 41.0}
    assert verdict.tracking_sentence(before, after) == (
        'Tracking: pre-training did not help, it did harm: -0.030 AUC (0.280 against 0.310 from '
        'scratch) and +0.010 precision.'
    )
