"""Named edits of lesion labels."""
