"""The names, ports, files and the order of attacks of one telling; shuffled ones show that nothing depends on them."""

from __future__ import annotations

import random

import msgspec

ATTACKS = ("shell", "shadow", "dropped-file", "reverse-shell")


class Scenario(msgspec.Struct, frozen=True, kw_only=True):
    """One telling. `secret` stands in the service's environment and on its heap; `dropped` is the intruder's file below `plugins`."""

    development: str = "dev/shop"
    production: str = "prod/shop"
    base: str = "base/debian"
    container: str = "shop"
    plugins: str = "/var/lib/shop/plugins"
    dropped: str = "update-check"
    listener_port: int = 4444
    secret: str
    attacks: tuple[str, ...] = ATTACKS


def make_scenario(secret: str, shuffle: int | None = None) -> Scenario:
    """The usual telling, or the one that `shuffle` (a seed) makes."""
    if shuffle is None:
        return Scenario(secret=secret)
    chance = random.Random(shuffle)  # noqa: S311  # names, not secrets

    def word(length: int = 6) -> str:
        return "".join(chance.choices("abcdefghijklmnopqrstuvwxyz", k=length))

    team, service = word(), word()
    return Scenario(
        development=f"{team}-dev/{service}",
        production=f"{team}-prod/{service}",
        base=f"{team}-base/{word()}",
        container=f"{service}-{word(3)}",
        plugins=f"/var/lib/{service}/{word()}",
        dropped=word(9),
        listener_port=chance.randrange(20_000, 50_000),
        secret=secret,
        attacks=tuple(chance.sample(ATTACKS, len(ATTACKS))),
    )
