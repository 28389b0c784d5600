"""Bringing a record and its files to a remote: exactly what is missing there, so that twice is the same as once."""
