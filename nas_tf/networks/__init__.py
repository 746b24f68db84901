"""Keras networks: what they are built of, and how weights come into them.

* `blocks.py`: layers that both families use. `drop_path.py`: DropPath and its schedule.
* `weights.py`: weights of one network for another, layer by layer.
* `description.py`: what a trained network is, and the files that ship of it. `folder.py`: its folder, written and read.
"""
