"""Platform-aware search: MnasNet (Tan et al. 2019, arXiv 1807.11626).

* `search.py`, `train.py`, `export.py`: the commands. `scripts.py`: what their console scripts call.
* `family.py`: the family's settings and scales, and where its defaults differ from those of `nas_tf`.
* `recipes.py`: how its networks are trained in full. `published.py`: published networks as Keras models.
  `pretrained.py`: the same with their ImageNet weights.
  `_parents.py`: trained networks that others begin with.
* `spaces/`: search spaces, one in each file. `_networks.py`: the published networks by name.
"""
