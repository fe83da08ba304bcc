"""Small drawn worlds with known local parts, in the place of the official image sets."""
