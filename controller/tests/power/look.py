#!/usr/bin/env python3
"""What OpenStack's Redfish client sees and does, for the power tests to compare with.

Reads lines of JSON from standard input and answers each with one. The first says where to connect:
{"url", "ca", "username", "password"}; then {"system"} looks, and {"system", "reset"} or
{"system", "boot"} does something and looks.
"""

import json
import sys

import sushy
from sushy import auth


def connect(settings):
    login = None
    if settings["username"]:
        login = auth.BasicAuth(settings["username"], settings["password"])
    return sushy.Sushy(settings["url"], auth=login, verify=settings["ca"] or False)


def serve(root, order):
    path = "/redfish/v1/Systems/" + order["system"]
    system = root.get_system(path)
    if "reset" in order:
        system.reset_system(sushy.ResetType(order["reset"]))
    if "boot" in order:
        system.set_system_boot_options(
            target=sushy.BootSource(order["boot"]),
            enabled=sushy.BootSourceOverrideEnabled.ONCE,
        )
    system = root.get_system(path)
    return {
        "power": system.power_state.value,
        "boot": system.boot.target.value,
        "resets": sorted(reset.value for reset in system.get_allowed_reset_system_values()),
    }


def main():
    root = connect(json.loads(sys.stdin.readline()))
    for line in sys.stdin:
        print(json.dumps(serve(root, json.loads(line))), flush=True)


if __name__ == "__main__":
    main()
