"""Methods that draw real lesions anew, without training a network."""
