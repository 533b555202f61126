"""The command ``tf1bn``: one module per subcommand, and `main.main`, the entry point."""
