"""Search spaces of the NASNet family, one a file. Each file exposes `SPACE`, a `nas_tf.space.SearchSpace` that is a
frozen dataclass: its fields become flags, prefixed with the file's name; no Keras at import."""
