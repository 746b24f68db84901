"""A network and images in, weights and an accuracy out.

* `recipe.py`: how: recipes as plain data. `machine.py`: on what: devices and precision.
* `input_pipeline.py`: how images are scaled and augmented: the data set names its augmentation (`augmentation.py`), and
  a recipe may add RandAugment and cutout. `optimizers.py`: Keras's, with what the papers do otherwise.
* `train.py`: one training. `evaluate.py`: loss and accuracy. `checkpoint.py`, `_clock.py`: its state, saved on the way.
* `head.py`: a classifier fitted in closed form. `teacher.py`: a network that another one learns from. `parent.py`: one
  whose weights it begins with. `unlabelled.py`: images that only a teacher labels.
* `network.py`: one network built and trained at the scale at which it ships. `read_count.py`: how often the test images
  have been read.
"""
