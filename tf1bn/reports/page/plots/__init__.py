"""The plots of a page: the numbers of a curve, checked, and their picture as SVG."""
