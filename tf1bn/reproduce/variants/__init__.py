"""The layer in every combination of kind, data format, dtype and shape, on each device."""
