"""The parts of the Android meter: what talks to the phone and what reads its answers."""
