"""Keras networks: what they are built of, and how weights come into them.

* `blocks.py`: layers that both families use. `drop_path.py`: DropPath and its schedule.
* `weights.py`: weights of one network for another, layer by layer.
* `parent.py`: a trained network that others begin with. `inheritance.py`: how they do; `_inherited_unit.py`,
  `_units.py`, `_stages.py`, `_channels.py` and `_least_squares.py` are its parts.
* `description.py`: what a trained network is, and the files that ship of it. `folder.py`: its folder, written and read.
"""
