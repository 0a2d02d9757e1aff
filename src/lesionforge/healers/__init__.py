"""Methods that remove lesions."""
