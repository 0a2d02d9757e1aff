"""The built-in cohort: simulated heads with simulated lesions."""
