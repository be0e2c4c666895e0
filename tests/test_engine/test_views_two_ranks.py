"""What ranks share (keys, queue, centre, statistics) and training do not depend on their number."""

import torch

from tests.helpers import views_two_rank_worker as worker


def test_two_ranks_equal_one(tmp_path, run_ranks) -> None:
    run_ranks(worker.__file__, 'pytorch', tmp_path)
    first, second = (torch.load(tmp_path / f'rank_{rank}.pt') for rank in range(2))
    alone = worker.losses(1)
    for name in ('contrast', 'dino', 'seed'):
        torch.testing.assert_close((first[name] + second[name]) / 2, alone[name])
        assert not torch.equal(first[name], second[name])
    for name in ('gradient', 'standard'):
        torch.testing.assert_close(torch.cat([first[name], second[name]]), alone[name])
    for name in ('center', 'queue', 'sums'):
        assert torch.equal(first[name], second[name])
        torch.testing.assert_close(first[name], alone[name])

    state = worker.train('none', str(tmp_path / 'alone'), 4).model.state_dict()
    for name, value in state.items():
        assert torch.equal(first['state'][name], second['state'][name]), name
        torch.testing.assert_close(first['state'][name], value, atol=1e-5, rtol=1e-4, msg=name)
    assert state['criterion.center'].abs().max() > 0
