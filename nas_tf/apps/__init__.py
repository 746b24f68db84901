"""Commands, one in each file.

* `search.py`, `train.py`, `export.py`: bodies of the families' own commands.
* `ship.py`, `table.py`, `phone.py`: nas-ship, nas-table, nas-phone. `_phone_check.py`: `nas-phone check`.
* `scripts.py`: what the console scripts of these three call.
"""
