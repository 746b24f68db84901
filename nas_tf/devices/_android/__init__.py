"""What the Android meter is made of: it talks to phones, reads their answers and judges whether a latency counts."""
