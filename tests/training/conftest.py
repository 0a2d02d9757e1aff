import pytest

from lesionforge.training.quiet import quiet
from tests.helpers import tiny_cohort


@pytest.fixture(scope="session", autouse=True)
def _quiet():
    quiet()


@pytest.fixture(scope="session")
def cohorts(tmp_path_factory):
    """Small cohorts by dimensions, the last case lesion-free."""
    shapes = {2: (32, 32), 3: (24, 24, 24)}
    return {
        dims: tiny_cohort(
            tmp_path_factory.mktemp(f"train{dims}"), spatial_dims=dims, n_subjects=4, n_healthy=1, shape=shapes[dims]
        )
        for dims in (2, 3)
    }
