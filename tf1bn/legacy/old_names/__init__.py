"""Names of Python and its packages that scripts of 2015 to 2019 use, and that have left since: lent to a script.

Only the script and its own modules get them, through the import system that they run with; installed packages see
what is installed. What is lent is in `table`.
"""
