"""What this project has measured, and what follows from it for a cohort."""
