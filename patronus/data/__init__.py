"""One file per data set layout; see prepare.py."""
