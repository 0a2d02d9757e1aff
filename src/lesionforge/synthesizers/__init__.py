"""Methods that draw a lesion where a mask says."""
