"""A Greengrass core device, one process for each thing: Java nucleus 2.18 or Nucleus Lite 2.6.

    python -m greenhouse.device --thing NAME --root DIR [--flavour java|lite]

Each behaviour follows the real nucleus as it was observed (`tests/greenhouse/device/conformance`),
or its public source and documentation. It refuses what isn't known, and doesn't guess.
"""
