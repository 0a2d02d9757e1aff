"""Where the brain is, and what it is made of."""
