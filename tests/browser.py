"""Debian's Chromium without a window, for tests of pages."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager

from selenium.webdriver import Chrome, ChromeOptions, ChromeService

from greenhouse.toolchain.commands import ToolchainFailed, install
from tests.missing import missing


@contextmanager
def chromium() -> Iterator[Chrome]:
    """A browser. It is installed if it is missing and may be installed."""
    if shutil.which("chromedriver") is None or shutil.which("chromium") is None:
        if os.geteuid():
            missing("no Chromium here, and only root installs it: apt-get install chromium-driver")
        try:
            install("chromium", "chromium-driver", "fonts-dejavu-core")
        except ToolchainFailed as error:
            missing(f"Chromium can't be installed: {error}")
    options = ChromeOptions()
    options.binary_location = str(shutil.which("chromium"))
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = Chrome(options=options, service=ChromeService(shutil.which("chromedriver")))
    try:
        yield driver
    finally:
        driver.quit()
