"""One module per checkpoint format, each with a `base.Format`; `opening.FORMATS` lists them."""
