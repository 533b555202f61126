"""Traces that the processes of one training wrote, one each, judged together: ``tf1bn audit --ranks``.

A layer whose batches are pooled or averaged over the ranks is judged with those of all of them; a layer of which each
rank keeps statistics of its own, in each rank. Ranks whose statistics are not those of the first one are named.
"""
