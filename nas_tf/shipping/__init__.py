"""From a finished search to files that ship.

* `chain.py`: the steps of nas-ship, each ending in a file. `finish.py`: the last of them.
* `contest.py`: how the network that ships is found. `candidates.py`: networks trained in full.
* `race.py`: a search's networks against those that could be imported. `entrants.py`: who is in it. `imports.py`: which
  published networks with weights meet the target. `tries.py`: how each is trained. `verdict.py`: who of them ships.
* `choice.py`: which candidate ships where nothing is raced. `baselines.py`: published networks at the width of equal
  latency.
* `files.py`: a trained network as files, each run and timed; `_file_writer.py` makes each.
* `tflite_accuracy.py`: the accuracy of a TFLite file. `tflite_metadata.py`: what it says of itself:
  normalisation, labels, licence. `_flatbuffer.py`: how that is packed.
"""
