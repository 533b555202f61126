"""Results as text on a terminal, as HTML pages and as plots. Reports show results and decide nothing.

rich, jinja2 and matplotlib are imported where they are used, so that importing these modules costs nothing.
"""
