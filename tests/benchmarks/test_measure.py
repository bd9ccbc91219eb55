"""Connections as the system lists them."""

import os
import socket
import subprocess
import sys

from benchmarks.measure import connected, connections

TABLE = """\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:ABCD 0100007F:2384 01 00000000:00000000 00:00000000 00000000     0        0 11 1 0 20 4 30 10 -1
   1: 0100007F:ABCE 0100007F:2384 06 00000000:00000000 00:00000000 00000000     0        0 12 1 0 20 4 30 10 -1
   2: 0100007F:ABCF 0100007F:2385 01 00000000:00000000 00:00000000 00000000     0        0 13 1 0 20 4 30 10 -1
   3: 0100007F:ABD0 0100007F:2384 01 00000000:00000000 00:00000000 00000000     0        0 14 1 0 20 4 30 10 -1
"""


def test_only_established_connections_to_the_port_count() -> None:
    assert connected(TABLE, 0x2384) == {"11", "14"}


CLIENT = """
import socket, sys
with socket.create_connection(("127.0.0.1", int(sys.argv[1]))):
    print("connected", flush=True)
    sys.stdin.read()
"""


def test_only_the_connections_of_the_process_count() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        other = [sys.executable, "-c", CLIENT, str(port)]
        with (
            subprocess.Popen(other, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process,
            socket.create_connection(("127.0.0.1", port)),
            socket.create_connection(("127.0.0.1", port)),
        ):
            assert process.stdout
            assert process.stdout.readline() == b"connected\n"
            assert connections(process.pid, port) == 1
            assert connections(os.getpid(), port) == 2
            assert connections(os.getpid(), port + 1) == 0
