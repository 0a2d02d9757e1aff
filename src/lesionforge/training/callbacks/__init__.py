"""What happens during a run: checkpoints, logs, previews, candidates, and the checks that stop it."""
