"""From images to what ships, in one go: `nas-make` and `nas_tf.make`.

* `settings.py`: what is asked for, and the defaults that follow from the images.
* `plan.py`: what there is time for. `clock.py`: the time that was spent, over all sessions.
* `job.py`: the stages, one after the other. `made.py`: what came of it, for Python.
"""
