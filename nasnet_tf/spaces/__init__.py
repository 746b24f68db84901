"""Search spaces of the NASNet family, one in each file.

Each file has `SPACE`, a `nas_tf.space.SearchSpace` that is a frozen dataclass (its fields become flags, prefixed with
the file's name; no Keras at import), and the family's `Scale`.
"""
