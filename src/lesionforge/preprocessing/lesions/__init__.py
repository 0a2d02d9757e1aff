"""The intensity of lesions, and lesions cut out to be drawn elsewhere."""
