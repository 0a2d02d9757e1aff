import pytest
import torch


@pytest.fixture(autouse=True)
def as_many_threads_as_before():
    """Torch left with another number of threads would change the last bits of whatever runs afterwards."""
    before = torch.get_num_threads()
    yield
    assert torch.get_num_threads() == before
