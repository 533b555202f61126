"""The HTML page of a result: what each kind of result shows, and the file with its styles, script and plots.

`document` puts the page together. What it shows of a layer comes from `traces`, `checkpoints`, `comparisons` or
`graphs`, each of which says which columns the table has, and what the details are; `layers` has what all have.
Results may come from any file, so nothing is taken for granted: what is missing or not a number is named in words.
"""
