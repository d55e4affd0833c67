"""A Greengrass core device, as one process for each thing: Java nucleus 2.18 or Nucleus Lite 2.6.

    python -m greenhouse.device --thing NAME --root DIR [--flavour java|lite]

Each behaviour follows what the real nucleus was seen doing (`tests/greenhouse/device/conformance`)
or its public source and documentation; what isn't known is refused rather than guessed.
"""
