"""A connection to Redis or Valkey by RESP3 that shows what is sent, frame by frame."""

import socket


class Wire:
    def __init__(self, port, *greeting):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=20)
        self.stream = self.socket.makefile("rb")
        for command in ("HELLO 3", *greeting):
            answer = self.ask(command)
            assert not answer[-1].startswith("-"), answer

    def say(self, *commands):
        """Sends commands in one packet. A list is one command of these words."""
        packet = b""
        for command in commands:
            words = command.split() if isinstance(command, str) else command
            packet += b"*%d\r\n" % len(words)
            packet += b"".join(b"$%d\r\n%s\r\n" % (len(word), word.encode()) for word in words)
        self.socket.sendall(packet)

    def ask(self, *commands):
        """Sends commands, and returns all frames that come until they are answered."""
        self.say(*commands, "PING")
        frames = []
        while (frame := self.next()) != "PONG":
            frames.append(frame)
        return frames

    def hear(self):
        """The frames that the server has sent by now."""
        return self.ask()

    def next(self):
        """One frame, in short: `OK`, `1`, `-ERR ...`, `nil`, `[a b]`, `push invalidate [k]`."""
        line = self.stream.readline().decode().rstrip("\r\n")
        kind, rest = line[:1], line[1:]
        if kind == "_" or rest == "-1":
            return "nil"
        if kind in ("$", "="):
            text = self.stream.read(int(rest) + 2)[:-2].decode(errors="replace")
            return text if kind == "$" else text[len("txt:") :]
        if kind in "*~":
            return "[" + " ".join(self.next() for _ in range(int(rest))) + "]"
        if kind == ">":
            return "push " + " ".join(self.next() for _ in range(int(rest)))
        if kind == "%":
            return "{" + " ".join(self.next() for _ in range(2 * int(rest))) + "}"
        return line if kind == "-" else rest
