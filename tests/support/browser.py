"""A real browser (Chromium, without a window) in a namespace. It is driven over a pipe, so that the driver itself may be
elsewhere; both end with the test run."""

import pathlib
import stat

from selenium import webdriver
from selenium.common.exceptions import StaleElementReferenceException
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By

from tests.support.waiting import PATIENCE, wait_until

DESK, PHONE = (1200, 900), (390, 844)


def _script(path, command):
    path.write_text(f'#!/bin/sh\nexec {command} "$@"\n')
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return str(path)


class Browser:
    def __init__(self, namespace, folder):
        folder = pathlib.Path(folder)
        options = webdriver.ChromeOptions()
        options.binary_location = _script(
            folder / "chromium", f"ip netns exec {namespace.name} setpriv --pdeathsig KILL /usr/bin/chromium")
        for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
                         "--remote-debugging-pipe", "--disable-background-networking", "--no-first-run",
                         "--hide-scrollbars", "--lang=en", f"--user-data-dir={folder / 'profile'}"):
            options.add_argument(argument)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        driver = _script(folder / "chromedriver", "setpriv --pdeathsig KILL /usr/bin/chromedriver")
        self.driver = webdriver.Chrome(options=options, service=Service(driver))
        self.driver.set_page_load_timeout(30 * PATIENCE)
        self.look("light")

    def close(self):
        self.driver.quit()

    def look(self, scheme, size=DESK):
        width, height = size
        self._do("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        self._do("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1,
                 mobile=size == PHONE)

    def _do(self, command, **parameters):
        return self.driver.execute_cdp_cmd(command, parameters)

    def open(self, address):
        """A new visit: what an earlier one kept is gone."""
        self.driver.get("about:blank")
        self._do("Storage.clearDataForOrigin", origin=address, storageTypes="all")
        self.driver.get(address)

    def run(self, script, *arguments):
        return self.driver.execute_script(script, *arguments)

    def all(self, selector):
        return self.driver.find_elements(By.CSS_SELECTOR, selector)

    def one(self, selector):
        """The first visible one, as soon as there is one."""
        return wait_until(lambda: next((e for e in self.all(selector) if e.is_displayed()), None), what=selector)

    def button(self, text, within="body"):
        return wait_until(lambda: next((e for e in self.all(f"{within} button")
                                        if e.is_displayed() and e.text == text), None), what=f"button {text}")

    def text(self, selector="body"):
        """What somebody sees."""
        return self.run("return document.querySelector(arguments[0])?.innerText ?? ''", selector)

    def wait_text(self, text, selector="body", timeout=5.0):
        wait_until(lambda: text in self.text(selector), timeout, what=f"{text!r} in {selector}")

    def complaints(self):
        """What the browser had to say since the last time, refusals by the page's policy among it."""
        return [entry["message"] for entry in self.driver.get_log("browser") if entry["level"] == "SEVERE"]


__all__ = ["Browser", "DESK", "PHONE", "StaleElementReferenceException"]
