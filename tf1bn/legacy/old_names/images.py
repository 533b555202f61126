"""The image functions of `scipy.misc`, which SciPy lost in 1.3, over Pillow as they were."""

import numpy as np

_RESAMPLING = {"nearest": 0, "lanczos": 1, "bilinear": 2, "bicubic": 3, "cubic": 3}


def bytescale(data, cmin=None, cmax=None, high=255, low=0):
    """An array scaled from ``cmin``..``cmax``, its own range if None, to bytes from ``low`` to ``high``.

    An array of bytes stays as it is.

    Raises:
      ValueError: `low` and `high` are not in 0 <= low <= high <= 255, or `cmax` is less than `cmin`.
    """
    data = np.asarray(data)
    if data.dtype == np.uint8:
        return data
    if not 0 <= low <= high <= 255:
        raise ValueError(f"`low` is {low!r} and `high` is {high!r}; they must be 0 <= low <= high <= 255.")
    cmin = data.min() if cmin is None else cmin
    cmax = data.max() if cmax is None else cmax
    span = cmax - cmin
    if span < 0:
        raise ValueError(f"`cmax` is {cmax!r}; it must not be less than `cmin`, {cmin!r}.")
    scaled = (data - cmin) * (float(high - low) / (span or 1)) + low
    return (scaled.clip(low, high) + 0.5).astype(np.uint8)


def toimage(arr, high=255, low=0, cmin=None, cmax=None, pal=None, mode=None, channel_axis=None):
    """An image of Pillow of an array [height, width], or one with an axis of 3 or 4 channels.

    Raises:
      ValueError: the array is complex, or of another shape.
    """
    from PIL import Image

    data = np.asarray(arr)
    if np.iscomplexobj(data):
        raise ValueError("`arr` is complex; an image is made of real numbers.")
    if data.ndim == 2:
        return _gray(Image, data, high, low, cmin, cmax, pal, mode)
    if data.ndim != 3 or not {3, 4} & set(data.shape):
        raise ValueError(f"`arr` has the shape {data.shape}; it must have two axes, or a third of 3 or 4 channels.")
    if channel_axis is None:
        channel_axis = data.shape.index(3 if 3 in data.shape else 4)
    channels = data.shape[channel_axis]
    if channels not in (3, 4):
        raise ValueError(f"`arr` has {channels} channels in axis {channel_axis}; it must have 3 or 4.")
    modes = ("RGB", "YCbCr") if channels == 3 else ("RGBA", "CMYK")
    if mode is not None and mode not in modes:
        raise ValueError(f"`mode` is {mode!r}; with {channels} channels it must be {modes[0]!r} or {modes[1]!r}.")
    data = np.moveaxis(bytescale(data, cmin, cmax, high, low), channel_axis, 2)
    return Image.frombytes(mode or modes[0], data.shape[1::-1], data.tobytes())


def _gray(Image, data, high, low, cmin, cmax, pal, mode):
    size = data.shape[::-1]
    if mode == "F":
        return Image.frombytes(mode, size, data.astype(np.float32).tobytes())
    if mode == "I":
        cmin = data.min() if cmin is None else cmin
        cmax = data.max() if cmax is None else cmax
        scaled = (data * 1.0 - cmin) * (high - low) / (cmax - cmin) + low
        return Image.frombytes(mode, size, scaled.astype(np.uint32).tobytes())
    scaled = bytescale(data, cmin, cmax, high, low)
    if mode not in (None, "L", "P"):
        raise ValueError(f"`mode` is {mode!r}; with two axes it must be one of 'L', 'P', 'I' and 'F'.")
    image = Image.frombytes("L", size, scaled.tobytes())
    if pal is not None or mode == "P":
        palette = np.repeat(np.arange(256, dtype=np.uint8), 3) if pal is None else np.asarray(pal, np.uint8)
        image.putpalette(palette.tobytes())
    return image


def fromimage(im, flatten=False, mode=None):
    """The array of an image of Pillow; ``flatten``: in shades of gray, float32."""
    if mode is not None:
        im = im.convert(mode) if mode != im.mode else im
    elif im.mode == "P":
        im = im.convert("RGBA" if "transparency" in im.info else "RGB")
    if flatten:
        im = im.convert("F")
    elif im.mode == "1":
        im = im.convert("L")
    return np.array(im)


def imread(name, flatten=False, mode=None):
    """The array of the image in a file, or in an open file."""
    from PIL import Image

    with Image.open(name) as image:
        return fromimage(image, flatten, mode)


def imsave(name, arr, format=None):
    """Write an array as an image; the format is that of the file's name if None."""
    toimage(arr, channel_axis=2).save(name, format)


def imresize(arr, size, interp="bilinear", mode=None):
    """An array resized as an image, so in bytes: to a percentage, a fraction, or (height, width)."""
    image = toimage(arr, mode=mode)
    if isinstance(size, (int, np.integer)):
        size = size / 100.0
    if isinstance(size, (float, np.floating)):
        size = tuple((np.array(image.size) * size).astype(int))
    else:
        size = size[1], size[0]
    return fromimage(image.resize(size, _RESAMPLING[interp]))


def imrotate(arr, angle, interp="bilinear"):
    """An array rotated as an image, by degrees counter-clockwise."""
    return fromimage(toimage(arr).rotate(angle, _RESAMPLING[interp]))
