"""Networks that find lesions."""
