"""Records what the image functions of SciPy 1.2.3 return, for `tests/legacy/test_old_names.py`.

Run with Python 3.7, scipy 1.2.3 and Pillow: ``python tests/golden/record/scipy_misc.py FILE``.
"""

import json
import sys
import tempfile
import warnings

NAMES = ["bytescale", "fromimage", "imread", "imresize", "imrotate", "imsave", "toimage"]
CALLS = """
bytescale(floats)
bytescale(floats, cmin=0, cmax=2)
bytescale(floats, high=200, low=10)
bytescale(flat)
bytescale(gray)
bytescale(floats, high=300)
bytescale(floats, low=20, high=10)
bytescale(floats, cmin=3, cmax=2)
toimage(gray)
toimage(floats)
toimage(floats, mode='F')
toimage(gray, mode='I')
toimage(gray, mode='P')
toimage(gray, mode='X')
toimage(colors)
toimage(planes)
toimage(colors, mode='YCbCr')
toimage(colors, mode='L')
toimage(alpha)
toimage(alpha, mode='CMYK')
toimage(gray, high=200, low=10, cmin=0, cmax=100)
toimage(line)
toimage(planes, channel_axis=2)
toimage(floats * 1j)
fromimage(toimage(colors), flatten=True)
fromimage(toimage(gray, mode='P'))
fromimage(toimage(colors), mode='L')
imsave(folder + '/a.png', colors) or imread(folder + '/a.png')
imsave(folder + '/a.png', colors) or imread(folder + '/a.png', flatten=True)
imsave(folder + '/a.png', colors) or imread(folder + '/a.png', mode='RGBA')
imsave(folder + '/b', floats, 'bmp') or imread(folder + '/b')
imsave(folder + '/a.png', planes)
imresize(gray, 50)
imresize(gray, 1.5)
imresize(gray, (3, 5))
imresize(floats, (8, 2), interp='nearest')
imresize(colors, (2, 3), interp='bicubic')
imresize(colors, 200, interp='lanczos')
imresize(floats, (3, 3), mode='F')
imrotate(gray, 90)
imrotate(colors, 30, interp='nearest')
"""


def main(path):
    import numpy as np
    import PIL
    import scipy
    from scipy import misc

    random = np.random.RandomState(1)
    arrays = {
        "floats": random.normal(1, 2, (4, 6)).round(3),
        "flat": np.full((2, 3), 7.0),
        "gray": random.randint(0, 256, (4, 6)).astype(np.uint8),
        "colors": random.randint(0, 256, (4, 5, 3)).astype(np.uint8),
        "planes": random.randint(0, 256, (3, 4, 5)).astype(np.uint8),
        "alpha": random.randint(0, 256, (4, 5, 4)).astype(np.uint8),
        "line": np.arange(5.0),
    }
    cases = []
    with tempfile.TemporaryDirectory() as folder:
        names = dict({name: getattr(misc, name) for name in NAMES}, np=np, folder=folder, **arrays)
        for call in CALLS.split("\n")[1:-1]:
            try:
                value = np.array(eval(call, names))
            except ValueError as error:
                cases.append({"call": call, "error": str(error)})
                continue
            atol = 1 if call.startswith(("imresize", "imrotate")) else 0
            values = [float(number) for number in value.ravel()]
            cases.append(
                {"call": call, "dtype": str(value.dtype), "shape": value.shape, "atol": atol, "values": values}
            )
    document = {
        "made_by": f"tests/golden/record/scipy_misc.py, Python {sys.version.split()[0]}, scipy {scipy.__version__}, "
        f"Pillow {PIL.__version__}, numpy {np.__version__}",
        "inputs": {name: {"dtype": str(a.dtype), "values": a.tolist()} for name, a in arrays.items()},
        "cases": cases,
    }
    with open(path, "w") as stream:
        json.dump(document, stream)


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    main(*sys.argv[1:])
