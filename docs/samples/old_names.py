import collections

import numpy as np

settings = {"classes": 3}
assert isinstance(settings, collections.Mapping)
labels = np.array([0.5, 2.5]).astype(np.int)
print(labels, np.frombuffer(np.array([1.0, 5.0]).tostring()).sum())
