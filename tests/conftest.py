import pytest
import torch

from tests.helpers import NESTED, tiny_cohort


@pytest.fixture(autouse=True)
def as_many_threads_as_before():
    """Torch left with another number of threads would change the last bits of whatever runs afterwards."""
    before = torch.get_num_threads()
    yield
    assert torch.get_num_threads() == before


@pytest.fixture(scope="session")
def cohorts(tmp_path_factory):
    """Cohorts by dimensions: a channel, a class."""
    return {
        dims: tiny_cohort(tmp_path_factory.mktemp(f"cohort{dims}"), spatial_dims=dims, n_healthy=1) for dims in (2, 3)
    }


@pytest.fixture(scope="session")
def rich_cohorts(tmp_path_factory):
    """Cohorts by dimensions: two channels, two nested classes, an anatomy map."""
    return {
        dims: tiny_cohort(
            tmp_path_factory.mktemp(f"rich{dims}"),
            spatial_dims=dims,
            channels=("FLAIR", "T1"),
            labels=NESTED,
            anatomy=True,
        )
        for dims in (2, 3)
    }
