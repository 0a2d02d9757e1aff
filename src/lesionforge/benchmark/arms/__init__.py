"""The study of arms: training sets, training lengths, jobs and results."""
