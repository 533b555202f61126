"""The command ``tf1bn``: one module for each subcommand, and `main`."""
