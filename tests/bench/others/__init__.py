"""What others would use for the same job, set as their own documentation advises, on the same servers."""
