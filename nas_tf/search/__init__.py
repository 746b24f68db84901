"""A search, from what was asked for to what it leaves behind.

* `settings.py`: the settings of every search. `request.py`: all that was asked for. `run.py`: the order of a run.
* `rehearsal.py`: what is known before the first trial. `loop.py`: suggest, evaluate, reward, update. `deadlines.py`:
  how long a job may take.
* `evaluation.py`: accuracy and cost of an architecture, and the jobs that ask for them. `workers/`: where jobs run.
* `records.py`: trials.sqlite (`_database.py` opens and locks it, `_rows.py` reads its rows, `_sqlite_errors.py` words
  its errors). `run_folder.py`: the folder, and a run's identity: what may not change when it goes on.
  `warm_start.py`: trials of another run.
* `progress.py`: what a running search shows. `results.py`: writes the front, its picture (drawn by
  `nas_tf.reports.search`) and the best network.
"""
