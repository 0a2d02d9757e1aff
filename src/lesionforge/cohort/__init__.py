"""Cases, cohorts, and the folders they are read from and written to."""
