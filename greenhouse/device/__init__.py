"""A Greengrass core device of the Java nucleus' kind (2.18), as one process for each thing.

    python -m greenhouse.device --thing NAME --root DIR

Each behaviour follows what the real nucleus was seen doing (`tests/greenhouse/device/conformance`)
or its public source and documentation; what isn't known is refused rather than guessed.
"""
