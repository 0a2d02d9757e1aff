"""lesionforge: draw labelled lesions into medical scans, and measure whether that helps."""
