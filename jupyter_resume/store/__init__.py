"""This machine: every run's record, who writes it, its files, and the catalog of all of them."""
