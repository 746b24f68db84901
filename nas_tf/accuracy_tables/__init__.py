"""Makes an accuracy table (`nas_tf.networks.accuracy_table`), and chooses networks by it.

* `builder.py`: repairs what may stand in the place of each block, and trains whole networks briefly. `jobs.py`: what of
  that is done in other processes. `repair.py`: one block. `prediction.py`: fits what damage to blocks means for the
  accuracy of a network.
* `choosing.py`: the exact best networks by an accuracy table and a latency table.
"""
