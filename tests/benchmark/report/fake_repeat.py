from pathlib import Path


class FakeRepeat(type(Path())):
    """A folder that stands for a training set with its seed; its drawn cohorts lie in it by name."""

    def cohort_folder(self, name):
        return self / name
