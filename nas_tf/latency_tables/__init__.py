"""Makes a latency table, which `nas_tf.devices.table` reads.

* `builder.py`: times every unit of a space, and whole networks. `composition.py`: fits how units add up.
"""
