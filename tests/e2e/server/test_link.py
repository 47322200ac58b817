"""The link: a real server process, real sockets, hostile peers."""

from __future__ import annotations

import random
import signal
import socket
import struct
import subprocess
import sys
import time

import msgspec
import psycopg
import pytest
from tests import postgres
from tests.server_process import (
    NODE,
    SHOP_ID,
    PlayedAgent,
    ServerProcess,
    a_container,
    a_health,
    a_waiting_plan,
    an_alert,
    running_server,
    tell_story,
    wait_for,
)

from shipwall.adapters.link import Link
from shipwall.model.alert import Silence
from shipwall.model.errors import RemoteError
from shipwall.model.wire import (
    Ack,
    AlertRaised,
    Answer,
    Command,
    CommandResult,
    Hello,
    Query,
    SilenceSet,
    parse_message,
    render_frame,
)


def raw(server: ServerProcess) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.settimeout(10)
    connection.connect(str(server.instance.link_socket))
    return connection


def heard_until_end(connection: socket.socket) -> bytes:
    data = b""
    try:
        while part := connection.recv(65536):
            data += part
    except ConnectionResetError:
        pass
    return data


def test_what_is_acknowledged_is_stored(server: ServerProcess) -> None:
    with Link(server.instance.link_socket, "agent") as link:
        for number in range(1, 41):
            link.send(AlertRaised(number=number, alert=an_alert(f"ack-{number}", "counted", number)))
        last = 0
        while last < 40:
            answer = link.receive()
            if isinstance(answer, Ack):
                assert answer.of > last
                last = answer.of
                assert len(server.ask("alerts", {"rule": "counted"})) >= last
    assert last == 40


@pytest.mark.parametrize(
    "bytes_sent",
    [
        struct.pack(">I", 0xFFFFFFFF), struct.pack(">I", 3) + b"abc", struct.pack(">I", 1) + b"\xc1", b"GET / HTTP/1.1\r\n\r\n",
        render_frame(Query(what="alerts")), render_frame(Hello(role="king", node="n", version="1")),
        render_frame(Hello(role="cli", node="", version="1")), render_frame(Hello(role="cli", node="n", version="1", protocol=99)),
        render_frame(Hello(role="cli", node="n", version="1")) + render_frame(CommandResult(id="x", done=True, detail="")),
        render_frame(Hello(role="agent", node="n2", version="1")) + render_frame(Command(id="1", action="freeze", target="x", actor="")),
        render_frame(Hello(role="agent", node="n2", version="1"))
        + render_frame(AlertRaised(number=1, alert=an_alert("bad", "r", 2**63))),
        struct.pack(">I", 8_000_000) + b"\x91" * 100_000,
    ],
)  # fmt: skip
def test_a_hostile_peer_ends_only_itself(server: ServerProcess, bytes_sent: bytes) -> None:
    with Link(server.instance.link_socket, "cli") as honest, raw(server) as hostile:
        hostile.sendall(bytes_sent)
        hostile.shutdown(socket.SHUT_WR)
        heard_until_end(hostile)
        assert isinstance(honest.ask(Query(what="nodes")), Answer)


def test_random_bytes_after_a_greeting_end_only_that_peer(server: ServerProcess) -> None:
    dice = random.Random(8)
    for _ in range(20):
        with raw(server) as hostile:
            body = dice.randbytes(dice.randrange(1, 400))
            hostile.sendall(render_frame(Hello(role="agent", node="dice", version="1")) + struct.pack(">I", len(body)) + body)
            hostile.shutdown(socket.SHUT_WR)
            heard_until_end(hostile)
    assert server.ask("alerts", {"node": "dice"}) == []


def test_a_peer_that_does_not_read_blocks_nobody(server: ServerProcess, agent: PlayedAgent) -> None:
    """It asks for a lot and reads nothing; others are answered meanwhile, and the server stays alive."""
    tell_story(agent, time.time_ns())
    with raw(server) as lazy:
        lazy.sendall(render_frame(Hello(role="cli", node="n", version="1")))
        lazy.setblocking(False)
        query = render_frame(Query(what="health", limit=10_000))
        try:
            for _ in range(5000):
                lazy.send(query)
        except BlockingIOError:
            pass
        began = time.monotonic()
        assert server.ask("containers")
        agent.say(a_health(time.time_ns(), 1))
        assert time.monotonic() - began < 5


@pytest.mark.root
def test_only_root_and_the_server_itself_may_speak(server: ServerProcess) -> None:
    assert server.instance.link_socket.stat().st_mode & 0o777 == 0o660
    program = (
        "import socket,sys;s=socket.socket(socket.AF_UNIX);\n"
        "try: s.connect(sys.argv[1]); s.settimeout(5); print(len(s.recv(10)))\n"
        "except OSError as e: print(type(e).__name__)"
    )
    server.instance.link_socket.chmod(0o666)  # even where the mode lets somebody through, the kernel's word about him counts
    try:
        done = subprocess.run(
            ["/usr/bin/python3", "-c", program, str(server.instance.link_socket)],
            user=65534, group=65534, extra_groups=[], capture_output=True, text=True, timeout=20, check=False,
        )  # fmt: skip
    finally:
        server.instance.link_socket.chmod(0o660)
    assert done.stdout.strip() in {"0", "ConnectionResetError"}, done
    assert "peer-refused uid=65534" in server.log.read_text()


@pytest.mark.root
def test_a_login_link_is_for_root_alone(server: ServerProcess) -> None:
    from shipwall.adapters.unprivileged import SERVER_ID

    body = render_frame(Hello(role="cli", node="n", version="1")) + render_frame(Query(what="login-link"))
    program = (
        f"import socket,sys;s=socket.socket(socket.AF_UNIX);s.connect(sys.argv[1]);s.settimeout(5);s.sendall({body!r});"
        "sys.stdout.buffer.write(s.recv(65536))"
    )
    done = subprocess.run(
        ["/usr/bin/python3", "-c", program, str(server.instance.link_socket)],
        user=SERVER_ID, group=SERVER_ID, extra_groups=[], capture_output=True, timeout=20, check=True,
    )  # fmt: skip
    answer = parse_message(done.stdout[4:])
    assert isinstance(answer, Answer)
    assert answer.rows == ()
    assert "for root only" in answer.error


def test_a_command_reaches_the_agent_and_its_answer_comes_back(server: ServerProcess, agent: PlayedAgent) -> None:
    agent.say(a_container(SHOP_ID, "shop", now_ns=time.time_ns()))
    with server.cli() as link:
        result = link.ask(Command(id="mine", action="freeze", target="shop", actor="alice", reason="odd traffic"))
    assert result == CommandResult(id="mine", done=True, detail="shop is frozen")
    assert (agent.commands[-1].action, agent.commands[-1].target) == ("freeze", SHOP_ID)
    assert agent.commands[-1].actor.endswith("(alice)")
    row = server.ask("commands")[-1]
    assert (row["state"], row["reason"], row["actor"]) == ("done", "odd traffic", agent.commands[-1].actor)
    assert [row["action"] for row in server.ask("audit")][-2:] == ["freeze", "freeze: done"]
    assert server.ask("containers", {"id": SHOP_ID})[0]["state"] == "frozen"


def test_a_plan_that_waits_is_approved_by_its_node(server: ServerProcess, agent: PlayedAgent) -> None:
    agent.say(a_container(SHOP_ID, "shop", now_ns=time.time_ns()), a_waiting_plan("p-waits", time.time_ns()))
    with server.cli() as link:
        done = link.ask(Command(id="1", action="approve", target="", actor="alice", reason="seen", plan="p-waits"))
        unknown = link.ask(Command(id="2", action="approve", target="", actor="", reason="seen", plan="p-none"))
        wrong = link.ask(Command(id="3", action="freeze", target="", actor="", reason="seen", plan="p-waits"))
    assert done == CommandResult(id="1", done=True, detail="approve p-waits")
    (command,) = agent.commands
    assert (command.action, command.plan, command.target) == ("approve", "p-waits", SHOP_ID)
    assert [row["action"] for row in server.ask("audit")][-2:] == ["approve", "approve: done"]
    assert isinstance(unknown, Answer)
    assert "does not wait for approval" in unknown.error
    assert isinstance(wrong, Answer)
    assert "one of approve, reject" in wrong.error


@pytest.mark.parametrize(
    ("action", "target", "reason", "said"),
    [
        ("explode", "shop", "because", "is not known"), ("freeze", "nothing-of-that-name", "because", "is not known here"),
        ("freeze", SHOP_ID, "", "must have 3 to"), ("freeze", SHOP_ID, "x" * 2000, "must have 3 to"),
    ],
)  # fmt: skip
def test_commands_that_cannot_be(
    server: ServerProcess, agent: PlayedAgent, action: str, target: str, reason: str, said: str
) -> None:
    agent.say(a_container(SHOP_ID, "shop", now_ns=time.time_ns()))
    with server.cli() as link:
        answer = link.ask(Command(id="1", action=action, target=target, actor="", reason=reason))
    assert isinstance(answer, Answer)
    assert said in answer.error
    assert agent.commands == []


def test_a_command_to_an_absent_or_leaving_agent_says_so(server: ServerProcess) -> None:
    with PlayedAgent(server.instance.link_socket) as agent:
        agent.say(a_container(SHOP_ID, "shop", now_ns=time.time_ns()))
        agent.answering = False
        with server.cli() as link:
            link.send(Command(id="1", action="thaw", target="shop", actor="", reason="because"))
            wait_for(lambda: bool(agent.commands))
            agent.close()
            answer = link.receive()
            assert isinstance(answer, Answer)
            assert "went away" in answer.error
    wait_for(lambda: not server.ask("nodes", {"node": NODE})[0]["connected"])
    with server.cli() as link:
        answer = link.ask(Command(id="1", action="thaw", target="shop", actor="", reason="because"))
    assert isinstance(answer, Answer)
    assert "is not connected" in answer.error
    assert server.ask("commands")[-1]["state"] == "unanswered"


def test_an_agent_cannot_answer_for_another(server: ServerProcess, agent: PlayedAgent) -> None:
    agent.say(a_container(SHOP_ID, "shop", now_ns=time.time_ns()))
    agent.answering = False
    with raw(server) as other, server.cli() as link:
        other.sendall(render_frame(Hello(role="agent", node="elsewhere", version="1")))
        link.send(Command(id="1", action="thaw", target="shop", actor="", reason="because"))
        wait_for(lambda: bool(agent.commands))
        other.sendall(render_frame(CommandResult(id=agent.commands[-1].id, done=True, detail="forged")))
        agent._link.send(CommandResult(id=agent.commands[-1].id, done=False, detail="could not"))
        answer = link.receive()
    assert answer == CommandResult(id="1", done=False, detail="could not")


def test_silences_are_kept_pushed_and_ended(server: ServerProcess, agent: PlayedAgent) -> None:
    end_ns = time.time_ns() + 10**12
    wanted = Silence(id="", rule="noisy", container_name="shop", reason="load test", actor="bob", created_ns=0, until_ns=end_ns)
    with server.cli() as link:
        answer = link.ask(SilenceSet(number=1, silence=wanted))
        assert isinstance(answer, SilenceSet)
        silence = answer.silence
        assert silence.actor.endswith("(bob)")
        wait_for(lambda: [pushed.silence for pushed in agent.silences] == [silence])
        with PlayedAgent(server.instance.link_socket) as later:  # one that comes later is told what holds
            wait_for(lambda: [pushed.silence for pushed in later.silences] == [silence])
            ended = link.ask(SilenceSet(number=2, silence=msgspec.structs.replace(silence, until_ns=0)))
            assert isinstance(ended, SilenceSet)
            assert ended.silence.until_ns <= time.time_ns()
            wait_for(lambda: later.silences[-1].silence == ended.silence)
        for bad in ({"rule": ""}, {"reason": ""}, {"until_ns": 2**62}):
            refused = link.ask(SilenceSet(number=3, silence=msgspec.structs.replace(wanted, **bad)))
            assert isinstance(refused, Answer)
            assert refused.error
    assert len(server.ask("silences")) == 1


def test_queries_that_cannot_be_answered_say_why(server: ServerProcess) -> None:
    with server.cli() as link:
        for query, said in (
            (Query(what="passwords"), "is not kept here"), (Query(what="alerts", where={"nonsense": "1"}), "has no field"),
        ):  # fmt: skip
            answer = link.ask(query)
            assert isinstance(answer, Answer)
            assert said in answer.error
        assert isinstance(link.ask(Query(what="alerts", limit=-5)), Answer)
        assert isinstance(link.ask(Query(what="alerts", limit=2**62)), Answer)


def test_an_answer_too_long_for_a_frame_is_an_error_not_an_end(server: ServerProcess, agent: PlayedAgent) -> None:
    agent.say(*(AlertRaised(alert=an_alert(f"long-{i}", "long", i, output="x" * 1_000_000)) for i in range(9)))
    with server.cli() as link:
        answer = link.ask(Query(what="alerts", where={"rule": "long"}))
        assert isinstance(answer, Answer)
        assert "over the limit" in answer.error
        again = link.ask(Query(what="alerts", where={"rule": "long"}, limit=2))
        assert isinstance(again, Answer)
        assert len(again.rows) == 2


def test_it_stops_cleanly_and_forgets_nothing() -> None:
    with running_server() as server:
        with PlayedAgent(server.instance.link_socket) as agent:
            agent.say(AlertRaised(alert=an_alert("kept", "r", 5)))
            server.process.send_signal(signal.SIGTERM)
            assert server.process.wait(10) == 0
        assert not (server.instance.run / "console.json").exists()
        assert not server.instance.link_socket.exists()
        assert server.log.read_text().splitlines()[-1].endswith("stopped")
        with pytest.raises(RemoteError, match="shipwall up"):
            server.cli()


def test_a_second_server_is_refused_and_a_dead_ones_socket_replaced(server: ServerProcess) -> None:
    second = subprocess.run(
        [sys.executable, "-m", "shipwall.server", "--state", str(server.instance.state), "--as-root"],
        capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip
    assert second.returncode == 8, second.stderr
    assert "another server listens there" in second.stderr
    with running_server() as killed:
        killed.process.kill()
        killed.process.wait()
        assert killed.instance.link_socket.exists()
        revived = subprocess.Popen(
            [sys.executable, "-m", "shipwall.server", "--state", str(killed.instance.state), "--as-root"], stderr=subprocess.PIPE, text=True
        )  # fmt: skip
        try:
            assert revived.stderr is not None
            wait_for(lambda: "serving" in revived.stderr.readline())
            assert killed.ask("nodes") == []
        finally:
            revived.terminate()
            revived.communicate(timeout=10)
        assert revived.returncode == 0


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--database", "mysql://x/y", "--as-root"], 3, "is not supported"),
        (["--database", "postgresql://u:sesame@h/d", "--as-root"], 3, "holds a password"),
        (["--port", "70000", "--as-root"], 3, "is not a port"), (["--origin", "http://x", "--as-root"], 3, "is not an https origin"),
        (["--database", "sqlite:////proc/none/x.db", "--as-root"], 8, "database /proc/none/x.db"),
    ],
)  # fmt: skip
def test_what_it_cannot_start_with_is_one_line(tmp_path: object, arguments: list[str], code: int, said: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "shipwall.server", "--state", str(tmp_path), *arguments],
        capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip
    lines = [line for line in done.stderr.splitlines() if line.startswith("shipwall server:")]
    assert (done.returncode, len(lines)) == (code, 1), done.stderr
    assert said in lines[0]
    assert "sesame" not in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.root
def test_root_is_refused_unless_asked(tmp_path: object) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "shipwall.server", "--state", str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 3
    assert "would run as root" in done.stderr


def test_a_database_that_goes_away_costs_time_but_no_message() -> None:
    """A PostgreSQL that refuses: nothing is acknowledged; when it takes rows again, everything is there."""
    try:
        database = postgres.running()
        url = database.__enter__()
    except postgres.MissingError as missing:
        pytest.skip(str(missing))
    try:
        with running_server(environment={"SHIPWALL_DATABASE": url}) as server, PlayedAgent(server.instance.link_socket) as agent:
            agent.say(AlertRaised(alert=an_alert("before", "r", 5)))
            with psycopg.connect(url, autocommit=True) as admin:
                admin.execute("ALTER TABLE alerts RENAME TO away")
                agent._number += 1
                agent._link.send(AlertRaised(number=agent._number, alert=an_alert("during", "r", 6)))
                wait_for(lambda: "cannot-keep" in server.log.read_text())
                assert agent.acknowledged < agent._number
                admin.execute("ALTER TABLE away RENAME TO alerts")
            wait_for(lambda: agent.acknowledged == agent._number)
            assert [row["id"] for row in server.ask("alerts")] == ["before", "during"]
            assert "keeps-again" in server.log.read_text()
    finally:
        database.__exit__(None, None, None)


def test_memory_stays_under_the_goal(server: ServerProcess, agent: PlayedAgent) -> None:
    for batch in range(10):
        agent.say(*(AlertRaised(alert=an_alert(f"m{batch}-{i}", "memory", batch * 1000 + i)) for i in range(200)))
    server.ask("alerts", limit=1000)
    assert server.rss_bytes() < 150 << 20
