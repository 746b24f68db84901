"""The console scripts that both families share. A stop ends them quietly while their modules are imported, too."""

from nas_tf.stopping import console_script

detect = console_script("nas_tf.apps.detect")
make = console_script("nas_tf.apps.make")
phone = console_script("nas_tf.apps.phone")
table = console_script("nas_tf.apps.table")
ship = console_script("nas_tf.apps.ship")
predict = console_script("nas_tf.apps.predict")
report = console_script("nas_tf.apps.report")
trials = console_script("nas_tf.apps.trials")
