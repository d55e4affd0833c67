"""The names that everything else agrees on; this module imports nothing of the program.

A component's name and a topic are read on devices, a tag in the account: to change one is to leave
behind what the old one marks.
"""

from __future__ import annotations

SERVICE = "com.ml.xgboost"
CONSUMER = "com.ml.consumer"
CHECK = "com.ml.check"
COMPONENTS = (SERVICE, CONSUMER, CHECK)  # a release has one version of each

REQUEST_TOPIC = "local/inference"  # edge/inference/protocol.py has the same
ANSWER_TOPIC = "local/result"

ENGINES = ("evaluator", "xgboost")  # edge/inference/settings.py has the same; the first is default
ARCHITECTURES = ("amd64", "aarch64")  # the words that Greengrass has for them

PROJECT_TAG, STACK_TAG = "edge-inference:project", "edge-inference:stack"
