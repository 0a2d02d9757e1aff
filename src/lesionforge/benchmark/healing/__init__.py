"""Studies of pseudo-healthy synthesis: methods that remove lesions, compared on the same subjects."""
