"""Methods that reuse real lesions, without training a network."""
