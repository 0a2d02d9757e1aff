import pytest

from lesionforge.errors import ConfigError
from lesionforge.tasks.nnunet.nnunet_config import NnUNetConfig
from lesionforge.tasks.nnunet.nnunet_task import NnUNetTask
from lesionforge.testing import check_task
from tests.synthesizers.models import tiny_training


@pytest.mark.slow
@pytest.mark.parametrize("spatial_dims", [2, 3])
def test_the_rules_of_a_task(spatial_dims):
    pytest.importorskip("nnunetv2")
    check_task("nnunet", spatial_dims=(spatial_dims,))


def test_what_a_benchmark_cannot_do_with_it_is_one_line(cohorts, tmp_path):
    def fit(**more):
        NnUNetTask.fit(
            cohorts[2], channels=("FLAIR",), config=NnUNetConfig(), training=tiny_training(), out=tmp_path / "m", **more
        )

    with pytest.raises(ConfigError, match="cannot draw on the fly"):
        fit(synthetic=object())
    with pytest.raises(ConfigError, match="cannot start from another network"):
        fit(pretrained=object())
    assert not (tmp_path / "m").exists()
