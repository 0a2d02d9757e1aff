import numpy as np
import pandas as pd
import pytest

from lesionforge.benchmark.report.figures.curves import (
    CRITIC_LOSS,
    GENERATOR_LOSS,
    LOSS,
    Intensities,
    intensity_histograms,
    learning_curves,
    read_log,
    smoothed,
)
from lesionforge.errors import ConfigError

COLOURS = {"real": "#0072B2", "mixed": "#E69F00", "late": "#0072B2"}


def log(values, column=LOSS):
    return pd.DataFrame({column: values}, index=pd.RangeIndex(9, 10 * len(values), 10, name="step"))


def test_smoothing_averages_a_twentieth_of_the_log():
    spike = pd.Series(np.zeros(100))
    spike[50] = 5.0
    found = smoothed(spike)
    assert found[48:53].tolist() == [1.0] * 5
    assert found.sum() == pytest.approx(5)
    line = pd.Series(np.arange(100.0))
    assert np.allclose(smoothed(line)[2:98], line[2:98])
    assert smoothed(line)[0] == 1
    assert smoothed(pd.Series([3.0, 1.0])).tolist() == [3.0, 1.0]


def test_the_curve_of_an_arm_is_the_mean_over_seeds_in_its_colour():
    figure = learning_curves({"real": [log([4.0, 2.0]), log([2.0, 1.0])], "mixed": [log([1.0, 1.0])]}, {}, COLOURS)
    (panel,) = figure.axes
    thick = [line for line in panel.lines if line.get_linewidth() > 1]
    assert [line.get_ydata().tolist() for line in thick] == [[3.0, 1.5], [1.0, 1.0]]
    assert [line.get_xdata().tolist() for line in thick] == [[9, 19]] * 2
    assert [line.get_color() for line in thick] == [COLOURS["real"], COLOURS["mixed"]]
    assert len(panel.lines) == 4
    assert [text.get_text() for text in panel.get_legend().get_texts()] == ["real", "mixed"]


def test_a_colour_that_comes_twice_is_dashed_and_synthesizers_have_panels_of_their_own():
    adversarial = log([3.0, 2.0], GENERATOR_LOSS).assign(**{CRITIC_LOSS: [0.5, 0.7]})
    figure = learning_curves({"real": [log([1.0])], "late": [log([1.0])]}, {"mixed": [adversarial]}, COLOURS)
    arms, generators, critics = figure.axes
    assert [line.get_linestyle() for line in arms.lines] == ["-", "--"]
    assert generators.lines[0].get_ydata().tolist() == [3.0, 2.0]
    assert critics.lines[0].get_ydata().tolist() == [0.5, 0.7]


def test_logs_are_read_by_step_and_the_last_of_two_rows_counts(tmp_path):
    path = tmp_path / "metrics.csv"
    assert read_log(path) is None
    path.write_text(f"epoch,step,{LOSS}\n0,9,3\n0,19,2\n0,9,4\n")
    assert read_log(path)[LOSS].to_dict() == {9: 4, 19: 2}
    for broken, message in (("", "it is empty"), ("a,b\n1,2\n", "is not a training log"), ("a,b\n1\n", "line 2 has 1")):
        path.write_text(broken)
        with pytest.raises(ConfigError, match=message):
            read_log(path)


def test_histograms_are_two_densities_of_area_1_in_every_panel():
    rng = np.random.default_rng(0)
    real = Intensities(rng.normal(0.5, 0.1, 500), rng.normal(0, 0.2, 4000))
    drawn = {
        "mixed": Intensities(rng.normal(0.8, 0.1, 300), rng.normal(0, 0.2, 900)),
        "real": Intensities(np.full(50, 0.5), np.full(60, 0.5)),
    }
    figure = intensity_histograms(real, drawn, COLOURS)
    assert len(figure.axes) == 4
    for panel in figure.axes:
        curves = [patch.get_data() for patch in panel.patches]
        assert len(curves) == 2
        assert [(heights * np.diff(edges)).sum() for heights, edges, _ in curves] == pytest.approx([1, 1])
    (real_heights, edges, _), (drawn_heights, _, _) = (patch.get_data() for patch in figure.axes[0].patches)
    middle = (edges[1:] + edges[:-1]) / 2
    assert np.average(middle, weights=real_heights) == pytest.approx(0.5, abs=0.03)
    assert np.average(middle, weights=drawn_heights) == pytest.approx(0.8, abs=0.03)
