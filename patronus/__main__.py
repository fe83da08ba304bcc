"""`python -m patronus`: the command line."""

from patronus.cli import app

app(prog_name="python -m patronus")
