"""`python -m streams` is the command `telefonie`."""

from streams.cli import main

main(prog_name="telefonie")
