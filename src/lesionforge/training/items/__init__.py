"""What a network is trained on: scans in model space, the planes that show lesions, and errors of loader processes."""
