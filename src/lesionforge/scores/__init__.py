"""Numbers about images, masks and predictions, and the statistics over them."""
