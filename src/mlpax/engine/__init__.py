"""Arrays in, parameters out: the engine knows no file, no column name, no command."""
