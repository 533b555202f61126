"""The number of dimensions of tensors in a file without shapes, by the operations that made them."""

_SAME = {
    *("Identity", "Relu", "Relu6", "Elu", "LeakyRelu", "Tanh", "Sigmoid", "BiasAdd", "Cast", "StopGradient", "Pad"),
    *("FusedBatchNorm", "FusedBatchNormV2", "FusedBatchNormV3", "PadV2", "MirrorPad", "Add", "AddV2", "Mul", "Sub"),
    *("ConcatV2", "Switch", "Merge", "Enter", "Exit", "Transpose", "Softplus", "Selu", "Maximum", "Minimum"),
}
_FOUR = {
    *("Conv2D", "Conv2DBackpropInput", "DepthwiseConv2dNative", "MaxPool", "AvgPool", "ResizeBilinear", "MaxPoolV2"),
    *("ResizeNearestNeighbor", "SpaceToDepth", "DepthToSpace", "LRN", "DecodeJpeg"),
}
_RANKS = {"MatMul": 2, "Conv3D": 5, "MaxPool3D": 5, "AvgPool3D": 5, **dict.fromkeys(_FOUR, 4)}
# So many operations are looked at.
_FURTHEST = 64


def rank_of(tensor):
    """The number of dimensions of a tensor, or None; looks at what was before it."""
    op = tensor.op
    for _ in range(_FURTHEST):
        if op.type in _RANKS:
            return _RANKS[op.type]
        if op.type == "ExpandDims" and op.inputs:
            before = rank_of_one(op.inputs[0])
            return None if before is None else before + 1
        known = op.shape(0).ndims
        if known is not None:
            return known
        if op.type not in _SAME or not op.inputs:
            return None
        # A constant beside a tensor may be of any rank.
        op = next((value.op for value in op.inputs if value.op.type != "Const"), op.inputs[0].op)
    return None


def rank_of_one(tensor):
    """The number of dimensions that the operation itself shows, or None."""
    return tensor.op.shape(0).ndims
