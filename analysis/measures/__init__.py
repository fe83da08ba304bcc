"""One file per measure; the folder is the registry."""
