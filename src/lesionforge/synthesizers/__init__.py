"""Methods that draw lesions at given masks."""
