"""Server-sent events out of the bytes of a body, split anywhere (WHATWG HTML, section 9.2).

Stricter than the standard in one thing: a line that is no known field is an error, because a server that
mixes something else into its stream must not count as one that answered.
"""

from __future__ import annotations

MAX_EVENT_BYTES = 16 * 1024 * 1024

Event = tuple[bytes, bytes]
"""Name (empty for the default one) and data, several data lines joined by a line feed."""


class StreamFormatError(ValueError):
    """The bytes are no event stream; `kind` says why in one word."""

    def __init__(self, kind: str) -> None:
        super().__init__(kind)
        self.kind = kind


class EventReader:
    """Reads events as the bytes of a body come."""

    __slots__ = ("_after_return", "_at_start", "_between", "_data", "_held", "_name", "_size")

    def __init__(self) -> None:
        self._held: list[bytes] = []  # a line that has not ended yet, in pieces
        self._data: list[bytes] = []
        self._name = b""
        self._size = 0
        self._after_return = False
        self._at_start = True
        self._between = False  # nothing is open: the next byte begins a line

    def feed(self, data: bytes) -> list[Event]:
        """The events that end in *data*.

        Raises:
            StreamFormatError: a line that is no field of an event, or an event larger than MAX_EVENT_BYTES.
        """
        if (
            self._between
            and data.startswith(b"data: {")
            and data.endswith(b"\n\n")
            and data.find(b"\n") == len(data) - 2
            and b"\r" not in data
        ):  # by far the most common case: one event, whole
            return [(b"", data[6:-2])]
        events = self._lines(self._one_kind_of_line_end(data))
        self._between = not (self._held or self._data or self._name or self._after_return or self._at_start)
        return events

    def end(self) -> list[Event]:
        """The event that the end of the body ends, if one is open; a server may leave out the last empty line.

        Raises:
            StreamFormatError: the last line is no field of an event.
        """
        return self._lines(b"\n\n")

    def _one_kind_of_line_end(self, data: bytes) -> bytes:
        if self._after_return and data.startswith(b"\n"):
            data = data[1:]
            self._after_return = False
        if data:
            self._after_return = data.endswith(b"\r")
        if b"\r" in data:
            data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        return data

    def _lines(self, data: bytes) -> list[Event]:
        self._size += len(data)
        if self._size > MAX_EVENT_BYTES:
            raise StreamFormatError("event_too_long")
        first, *others = data.split(b"\n")
        if first:
            self._held.append(first)
        events: list[Event] = []
        for following in others:
            self._line(b"".join(self._held), events)
            self._held = [following] if following else []
        return events

    def _line(self, line: bytes, events: list[Event]) -> None:
        if self._at_start:
            self._at_start = False
            line = line.removeprefix(b"\xef\xbb\xbf")
        if not line:
            if self._data:
                events.append((self._name, b"\n".join(self._data)))
            self._data, self._name, self._size = [], b"", 0
            return
        if line.startswith(b":"):
            return
        field, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if field == b"data":
            self._data.append(value)
        elif field == b"event":
            self._name = value
        elif field not in (b"id", b"retry"):
            raise StreamFormatError("malformed_sse")
