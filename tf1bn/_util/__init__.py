"""Helpers that know nothing of batch normalisation: the command line, files, checks of arguments, text. Private."""
