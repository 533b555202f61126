"""Helpers that know nothing of batch normalisation: the command line, files, text."""
