"""From a finished search to files that ship.

* `chain.py`: the steps of nas-ship, each ending in a file.
* `candidates.py`: networks trained in full. `choice.py`: which of them ships.
* `baselines.py`: published networks at the width of equal latency.
* `files.py`: a trained network as files, each run and timed; `_file_writer.py` makes each.
* `tflite_accuracy.py`: the accuracy of a TFLite file. `tflite_metadata.py`: what it says of itself:
  normalisation, labels, licence. `_flatbuffer.py`: how that is packed.
"""
