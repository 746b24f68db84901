"""Reports for people: plain data in; text, CSV, pictures and pages out. No report knows a device, Keras or a database.

* `search.py`: the closing table of a search, its Pareto front as CSV and picture (`nas_tf.ranking` says which trials).
* `training.py`: a training's epochs as CSV and picture.
* `files.py`: the files that ship, as table and picture.
* `comparison.py`: the network that ships beside published ones; `model_card.py`: its card.
* `latencies.py`: latencies of files; `latency_table.py`: how far a table is off.
* `device.py`: a device in one line. `_picture.py`, `numbers.py`: how pictures are written and numbers printed.
"""
