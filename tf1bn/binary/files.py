"""Files as bytes."""

import mmap
import os


def mapped(path):
    """The bytes of a file as a memoryview, which the system reads as they are needed."""
    with open(path, "rb") as file:
        if os.fstat(file.fileno()).st_size == 0:
            raise ValueError("it is empty")
        return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
