"""What the names of variables say: the layer that a variable belongs to, and its role there.

The names are those of TF1's graph-level layers, of Keras, PyTorch, Sonnet, of converted Caffe models, and those that
hand-written layers are seen to use.
"""

import math
import re

NO_SCOPE = "(no scope)"
# Each framework's own words, and the role that each has in a layer.
FAMILIES = (
    {"gamma": "gamma", "beta": "beta", "mean": "moving_mean", "variance": "moving_variance"},
    {"gamma": "weight", "beta": "bias", "mean": "running_mean", "variance": "running_var"},
    {"gamma": "scale", "beta": "offset", "mean": "mean", "variance": "variance"},
)
# "affine" is a single parameter of a file that does not say whether it is gamma or beta.
ROLES = ("gamma", "beta", "affine", "mean", "variance")
_ROLE_AND_FAMILY = {word: (role, family) for family, words in enumerate(FAMILIES) for role, word in words.items()}
_ROLE_AND_FAMILY |= {"moving_var": ("variance", 0), "running_variance": ("variance", 1), "var": ("variance", 2)}
_ROLE_AND_FAMILY |= {"gamma_or_beta": ("affine", 0), "running_std": ("variance", 0)}
STATISTICS = (
    *("moving_mean", "moving_variance", "moving_var"),
    *("running_mean", "running_var", "running_variance", "running_std"),
)
# What hand-written layers call them.
_HAND_WRITTEN = {
    "gamma": ("bn_gamma", "bn_scale"),
    "beta": ("bn_beta", "bn_offset", "bn_bias"),
    "mean": ("pop_mean", "population_mean", "moving_avg", "moving_average", "avg_mean", "ema_mean", "bn_mean", "mu"),
    "variance": (
        *("pop_var", "pop_variance", "population_var", "population_variance", "avg_var", "avg_variance"),
        *("ema_var", "ema_variance", "bn_var", "bn_variance", "sigma", "moving_std"),
    ),
}
_ROLE_AND_FAMILY |= {word: (role, 0) for role, words in _HAND_WRITTEN.items() for word in words}
# Other things have these names as well, such as the two parameters of a normal distribution.
VAGUE = ("mu", "sigma")
# By their name these hold a deviation; what Keras calls running_std is a variance since 1.0.6.
DEVIATIONS = ("sigma", "moving_std", "running_std")
# Words that mean a batch norm wherever they stand. The others mean one only beside further variables of it.
STRONG = {*STATISTICS, "gamma", "beta", *(word for word in _ROLE_AND_FAMILY if word.startswith("bn_"))}
_NAME = re.compile(rf"(?:(?P<scope>.*)[/.])?(?P<word>{'|'.join(_ROLE_AND_FAMILY)})", re.DOTALL)
_ENDINGS = {word[-2:] for word in _ROLE_AND_FAMILY}
_JOINED_WORDS = [*STATISTICS, "gamma", "beta", *(w for ws in _HAND_WRITTEN.values() for w in ws if w not in VAGUE)]
_JOINED = re.compile(rf"(?P<scope>.*[^/._])_(?P<word>{'|'.join(_JOINED_WORDS)})", re.DOTALL)
# Further state of a layer: that of zero-debiasing and of batch renormalisation.
STATE = re.compile(
    r"(?:(?P<scope>.*)/)?(?:(?:moving_mean|moving_variance)/(?:biased|local_step)"
    r"|renorm_(?:mean|stddev|variance)(?:_weight)?|moving_stddev)",
    re.DOTALL,
)
# The exponential moving average of a variable.
SHADOW = re.compile(r"(?P<of>.+)/(?:ExponentialMovingAverage|EMA|ema)(?:_\d+)?", re.DOTALL)
# The moving averages of tensors of hand-written layers: ExponentialMovingAverage.apply([mean, variance]).
MOMENTS = re.compile(
    r"(?:(?P<scope>.+)/)?moments(?:_\d+)?/(?:normalize/)?(?P<what>mean|variance|Squeeze|Squeeze_1)/ExponentialMovingAverage",
    re.DOTALL,
)
MOMENTS_ROLE = {"mean": "mean", "Squeeze": "mean", "variance": "variance", "Squeeze_1": "variance"}
OPTIMIZER = re.compile(
    r"(?i)(adam|adamw|adamax|nadam|sgd|momentum|rmsprop|adagrad|adadelta|ftrl|lars|lamb|optimizer|training|slots?)(_\d+)?"
)
_LIKE_BATCH_NORM = re.compile(r"(?i)batch_?norm|(^|[^a-z])bn([^a-z]|$)|bn\d*$")


def length(shape):
    """The length of a vector of this shape, or None if it is not a vector; [1, C, 1, 1] is one of C channels."""
    return None if sum(size != 1 for size in shape) > 1 else math.prod(shape)


def plain_name(name):
    """The name without the suffixes that object-based saving and Keras 2 append."""
    return name.removesuffix("/.ATTRIBUTES/VARIABLE_VALUE").removesuffix(":0")


def role_of(name):
    """(scope, role, word) of a variable's name, or None. Slots of optimizers end in other words and have no role."""
    plain = plain_name(name)
    if plain[-2:] not in _ENDINGS:
        # Graphs have thousands of names, of which nearly none is a role's.
        return None
    match = _NAME.fullmatch(plain) or _JOINED.fullmatch(plain)
    return match and (match["scope"] or "", _ROLE_AND_FAMILY[match["word"]][0], match["word"])


def family_of(word):
    """The index in `FAMILIES` of the framework that a variable's last word belongs to."""
    return _ROLE_AND_FAMILY[word][1]


def named_like_batch_norm(scope):
    """Whether the last part of a scope is a usual name of batch norms."""
    return bool(_LIKE_BATCH_NORM.search(re.split(r"[/.]", scope)[-1]))
