"""Files in, rows out: the readers know no network."""
