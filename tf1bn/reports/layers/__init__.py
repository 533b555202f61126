"""The layers of a result on a terminal: those alike in one row, the names of many in few lines, and the table."""
