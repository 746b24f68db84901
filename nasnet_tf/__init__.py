"""Cell search: NASNet (Zoph et al. 2018, arXiv 1707.07012).

* `search.py`, `train.py`, `export.py`: the commands. `scripts.py`: what their console scripts call.
* `family.py`: the family's settings and scales, and where its defaults differ from those of `nas_tf`.
* `recipes.py`: how its networks are trained in full. `published.py`: published networks as Keras models.
* `spaces/`: search spaces, one in each file. `_keras_weights.py`: weights of `keras.applications`.
"""
