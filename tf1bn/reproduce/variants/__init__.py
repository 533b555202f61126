"""Every variant of the layer (fused or composed, NHWC or NCHW, float32 or float16), run and checked on CPU and GPU."""
