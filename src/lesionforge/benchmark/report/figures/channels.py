"""How well the channels of drawn cases fit each other, beside real cases; see ``channel_fit``."""

from __future__ import annotations

from matplotlib.figure import Figure

from lesionforge.benchmark.arms.finished import FinishedRun
from lesionforge.benchmark.report.figures.charts import Illustration, label_rows, rows_of_panels
from lesionforge.benchmark.report.figures.curves import REAL_COLOUR
from lesionforge.cohort.case import Cohort
from lesionforge.cohort.inspection.contact_sheet import pick_evenly
from lesionforge.cohort.layouts import read_cohort
from lesionforge.cohort.scan import load_scan
from lesionforge.scores.cohorts.channel_fit import ChannelVoxels, Errors, channel_errors
from lesionforge.seeding import generator

CASES = 60
PLACES = {"head": "head without lesions", "lesion": "lesions"}


def channel_fit(run: FinishedRun) -> Illustration | None:
    """Draw the error of predicting each channel from the others; ``None`` with one channel, one subject or no cases."""
    if len(run.study.channels) < 2 or not run.cohorts or len(run.train.with_lesions().subjects) < 2:
        return None
    real, found = _voxels(run, run.train.with_lesions()), dict[str, tuple[Errors, Errors]]()
    for name, folder in run.cohorts.items():
        found[name] = channel_errors(_voxels(run, read_cohort(folder)), real, generator(run.repeat.seed, "halves"))
    caption = (
        "Channels that belong together: mean absolute error of predicting each channel from the others, by a "
        "regression on training cases, in standard deviations of the channel; grey: training cases that it has not "
        "seen. Drawn cases whose channels fit have the same error; with a greater one they do not fit."
    )
    return Illustration("channel_fit.svg", caption, _chart(found, run))


def _voxels(run: FinishedRun, cases: Cohort) -> list[ChannelVoxels]:
    """Return the voxels of a sample of the cases, in the model space of the training set."""
    scans = [load_scan(case, run.study.channels) for case in pick_evenly(cases, CASES)]
    forward = run.repeat.preprocessing.forward
    return [ChannelVoxels.of(forward(scan), scan.case.ancestry) for scan in scans]


def _chart(found: dict[str, tuple[Errors, Errors]], run: FinishedRun) -> Figure:
    """Draw a panel for each place with a row for each synthesizer."""
    figure, panels = rows_of_panels([len(found)] * len(PLACES))
    for panel, (place, title) in zip(panels, PLACES.items(), strict=True):
        for row, (name, (drawn, real)) in enumerate(found.items()):
            panel.plot(real[place], row, "o", color=REAL_COLOUR, markersize=9)
            panel.plot(drawn[place], row, "D", color=run.colours[name], markersize=6)
        label_rows(panel, list(found))
        panel.set_title(title, loc="left", fontsize=9)
    panels[-1].set_xlabel("error (standard deviations)", fontsize=9)
    panels[-1].set_xlim(left=0)
    return figure
