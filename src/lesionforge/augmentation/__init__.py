"""What varies the items that a network is trained on."""
