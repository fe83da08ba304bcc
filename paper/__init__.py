"""Figures and tables of the paper: scripts that read results and draw; they compute nothing."""
