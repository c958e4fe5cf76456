# SPDX-License-Identifier: MIT
"""Writes the first files of the corpora; findings of the fuzzer stand beside them."""
from pathlib import Path

CORPUS = Path(__file__).resolve().parent / "corpus"
RAW, LINE, VARINT, NETSTRING, EOF, U8, U16, U32, U16LE, U32LE, FIXED, DELIMITER = range(12)
OWN, OWN_AT_END = 15, 31  # of conn and reply

ADDRESSES = {
    "port": ":9001", "any": "*:9001", "ipv4": "127.0.0.1:9001", "ipv6": "[::1]:9001",
    "mapped": "[::ffff:192.0.2.1]:80", "scope": "[fe80::1%2]:80", "interface": "[fe80::1%eth0]:1",
    "bare_ipv6": "::1", "name": "localhost", "name_port": "example.test:65535",
    "unix": "unix:/run/gate.sock", "abstract": "unix:@gate", "fd": "fd:3",
    "systemd": "systemd:gate.socket", "unclosed": "[::1", "port_over": "127.0.0.1:65536",
    "short": "1.2.3:80", "empty": "", "control": "unix:/tmp/\x01\x7f",
    "path_fits": "unix:/" + "a" * 106, "path_long": "unix:/" + "a" * 107,
    "name_long": "a" * 254 + ":1",
}

COMMAND_LINES = {
    "listen": ["-l", "127.0.0.1:0", "--listen=:1", "-l:2"],
    "durations": ["--timeout", "5", "--delay", "2.5s", "--timeout=500ms", "--delay=1m", "24h"],
    "never": ["--timeout", "never", "--delay", "never"],
    "sizes": ["--size", "64K", "--size=1G", "1M", "--size", "2147483648"],
    "numbers": ["-n", "2", "-n1000000000", "--number", "1", "--number=99999999999999999999"],
    "choice": ["--io", "epoll", "--io=io_uring", "--color", "always", "--io", "kqueue"],
    "flags": ["-oovq", "--once", "--verbose", "--json", "operand", "--quiet"],
    "help": ["--help"], "brief": ["-h"], "version": ["-V", "--json"],
    "unknown": ["--nonsense", "-z", "--", "--json"],
    "missing": ["--timeout"], "abbreviated": ["--time", "1s", "--verb", "--ver"],
    "operands": ["a", "-o", "b", "--", "-v", "c"],
    "fractions": ["--delay", "0.0105", "--delay", "1.", "--delay", ".5", "--delay=0.000000001h"],
    "framings": ["raw", "line", "u16le", "fixed:8", "fixed:0", "delimiter:\r", "delimiter:"],
    "too_many": ["-lx"] * 65,
}


def codec(number, data, body_max=100, step=2, own=b""):
    return bytes([number]) + own + bytes([body_max, 0, step]) + data


CODECS = {
    "raw": codec(RAW, b"1"), "raw_long": codec(RAW, b"1234567", body_max=2),
    "lines": codec(LINE, b"one\ntwo\r\n\n\r\r\nrest"),
    "line_long": codec(LINE, b"12345\r\n", body_max=3),
    "varint": codec(VARINT, b"\x03abc\x00\x05hello"),
    "varint_two": codec(VARINT, b"\x80\x01" + b"a" * 128, body_max=200),
    "varint_padded": codec(VARINT, b"\x83\x00abc"),
    "netstring": codec(NETSTRING, b"5:hello,0:,1:2,"),
    "netstring_zero": codec(NETSTRING, b"05:hello,"), "netstring_end": codec(NETSTRING, b"2:ab;"),
    "eof": codec(EOF, b"all of it"), "u8": codec(U8, b"\x02ab\x00\x01c"),
    "u16": codec(U16, b"\x00\x02ab\x00\x00\x00\x01c"),
    "u16_over": codec(U16, b"\xff\xffab"), "u32": codec(U32, b"\x00\x00\x00\x02ab\x00"),
    "u16le": codec(U16LE, b"\x02\x00ab\x01\x00c"), "u32le": codec(U32LE, b"\x02\x00\x00\x00ab"),
    "fixed": codec(FIXED, b"abcdefgh", own=b"\x02"),
    "delimiter": codec(DELIMITER, b"one\r\ntwo\r\n", own=b"\x01\r\n"),
    "delimiter_overlap": codec(DELIMITER, b"xaabaaby", own=b"\x02aab"),
}


def head(number, ending=2, own=b"", spans=b"\x05\x07\x03\x04\x01", inflight=4, exchanges=0):
    return (bytes([ending, 0, number]) + own + bytes([64, 16, 25, inflight]) + spans
            + bytes([exchanges]))


def say(data):
    """An event: the peer sends this."""
    return bytes([12, len(data) - 1]) + data


EXPIRE, NEXT = bytes([3, 0]), bytes([3, 6])
SEND, SENT, HALF = bytes([7]), bytes([9, 255]), bytes([9, 64])
END, FIN, STOP, RESET = bytes([0]), bytes([11, 11]), bytes([1, 2]), bytes([194])
# What handlers draw: what they do, and for an answer its length and wrap.
NOW, REJECT, DEFER, SLOW, LENT = (b"\x00\x03", b"\x00\xe3", b"\x03", b"\x30\x05", b"\x00\x0c")
LARGE = b"\x00\x07"
SETTLE = bytes([5, 0, 4])

SCRIPTS = {
    "one_shot": head(RAW) + say(b"1") + NOW + SEND + SENT,
    "one_shot_silent": head(RAW) + NEXT,
    "one_shot_large": head(RAW) + say(b"1") + LARGE + SEND + HALF + SEND + SENT + FIN + END,
    "lines": head(LINE) + say(b"a\nb\n") + NOW + LENT + SEND + SENT + END,
    "line_in_pieces": head(LINE) + say(b"a") + EXPIRE + say(b"b\n") + NOW + SEND + HALF,
    "deferred": head(LINE) + say(b"a\nb\n") + DEFER + NOW + SETTLE + SEND + SENT,
    "deferred_late": head(LINE, ending=1) + say(b"a\n") + DEFER + NEXT + SETTLE,
    "two_deferred": head(LINE) + say(b"a\nb\nc\n") + DEFER * 2 + NOW + bytes([5, 1, 4]) + SETTLE,
    "rejected": head(LINE) + say(b"a\nb\n") + REJECT + SEND + SENT + FIN + say(b"c\n") + END,
    "slow": head(LINE) + say(b"a\n") + SLOW + SEND + NEXT,
    "stop_idle": head(LINE) + say(b"a\n") + NOW + SEND + SENT + STOP + FIN + NEXT,
    "stop_deferred": head(LINE) + say(b"a\n") + DEFER + STOP + SETTLE + SEND + SENT,
    "reset_sending": head(LINE) + say(b"a\n") + LENT + SEND + RESET + SENT,
    "blocked": head(LINE, inflight=1) + say(b"a\nb\nc\n") + DEFER + END + SETTLE + NOW + NOW,
    "resumed": head(LINE, inflight=1) + say(b"a\nb\nc\n") + DEFER + SETTLE + NOW + NOW + SEND,
    "exchanges": head(LINE, exchanges=194) + say(b"a\nb\nc\n") + NOW * 2 + SEND + SENT + FIN,
    "until_eof": head(EOF) + say(b"abc") + say(b"def") + END + NOW + SEND + SENT,
    "truncated": head(U16) + say(b"\x00\x05ab") + END,
    "bad_frame": head(NETSTRING) + say(b"1:a,x") + NOW + SEND + SENT + FIN,
    "own": head(OWN) + say(b"abL") + NOW + NOW + SEND + SENT,
    "own_at_end": head(OWN_AT_END, inflight=1) + say(b"abc") + END + DEFER + SETTLE + NOW + NOW,
    "reset_ending": head(LINE) + say(b"a\n") + REJECT + SEND + SENT + bytes([11]) + RESET + FIN,
    "left_open": head(FIXED, ending=0, own=b"\x01") + say(b"abcd") + DEFER + LENT,
}


def ask(number, *calls, own=b"", draw=0, opening=b"\x00"):
    """The client of a codec, what its opening meets, and its calls."""
    return bytes([number]) + own + bytes([draw]) + opening + b"".join(calls)


def call(request, *events, room=200, timeout=7):
    return bytes([len(request), timeout, room]) + request + b"".join(events)


def tell(data):
    """The server says this."""
    return bytes([len(data)]) + data


OK, WAIT, PARTLY, BROKEN, LOST, CLOSED = (bytes([n]) for n in (0, 255, 6, 11, 240, 0))
FRESH = WAIT + OK  # nothing to read on a kept connection, until the look at it is cancelled

REPLIES = {
    "raw": ask(RAW, call(b"1", OK, tell(b"welcome "), tell(b"to server!"), CLOSED)),
    "raw_twice": ask(RAW, call(b"1", OK, tell(b"a"), CLOSED), call(b"2", OK, tell(b"b"), CLOSED),
                     opening=OK),
    "raw_silent": ask(RAW, call(b"1", OK, CLOSED)),
    "raw_over": ask(RAW, call(b"1", OK, tell(b"welcome"), room=3)),
    "raw_full": ask(RAW, call(b"1", OK, tell(b"welcome"), CLOSED, room=7)),
    "raw_late": ask(RAW, call(b"1", OK, tell(b"wel"), WAIT, OK)),
    "raw_reset": ask(RAW, call(b"1", OK, tell(b"wel"), LOST)),
    "eof": ask(EOF, call(b"all of it", OK, OK, tell(b"yes"), CLOSED)),
    "eof_not_ended": ask(EOF, call(b"all of it", OK, b"\x07")),
    "lines": ask(LINE, call(b"a", OK, OK, tell(b"one\r\n")),
                 call(b"b", FRESH, OK, OK, tell(b"tw"), tell(b"o\n"))),
    "line_refused": ask(LINE, call(b"a\nb"), call(b"a", OK, OK, tell(b"one\n"))),
    "line_ahead": ask(LINE, call(b"a", OK, OK, tell(b"one\ntwo\n")),
                      call(b"b", OK, OK, OK, OK, tell(b"three\n"))),
    "line_ahead_unseen": ask(LINE, call(b"a", OK, OK, tell(b"one\ntwo\n")),
                             call(b"b", FRESH, OK, OK, tell(b"x\n"))),
    "line_closed": ask(LINE, call(b"a", OK, OK, tell(b"one\n")),
                       call(b"b", CLOSED, OK, OK, OK, OK, tell(b"two\n"))),
    "line_over": ask(LINE, call(b"a", OK, OK, tell(b"three\n"), room=3)),
    "varint": ask(VARINT, call(b"a", OK, OK, tell(b"\x03one"))),
    "varint_bad": ask(VARINT, call(b"a", OK, OK, tell(b"\xff\xff\xff\xff\xff"))),
    "netstring": ask(NETSTRING, call(b"a", OK, OK, OK, tell(b"5:he"), tell(b"llo,"))),
    "netstring_bad": ask(NETSTRING, call(b"a", OK, OK, OK, tell(b"5:hello;"))),
    "u8": ask(U8, call(b"a", OK, OK, tell(b"\x03o"), tell(b"ne"))),
    "u16": ask(U16, call(b"a", OK, OK, tell(b"\x00\x03one"))),
    "u16_over": ask(U16, call(b"a", OK, OK, tell(b"\xff\xff"))),
    "u32": ask(U32, call(b"a", OK, OK, tell(b"\x00\x00\x00\x03one"))),
    "u16le": ask(U16LE, call(b"a", OK, OK, tell(b"\x03\x00one"))),
    "u32le": ask(U32LE, call(b"a", OK, OK, tell(b"\x03\x00\x00\x00on"), CLOSED)),
    "fixed": ask(FIXED, call(b"abc", OK, tell(b"one")), own=b"\x02"),
    "delimiter": ask(DELIMITER, call(b"a", OK, OK, tell(b"one\r"), tell(b"\n")), own=b"\x01\r\n"),
    "own": ask(OWN, call(b"a", OK, tell(b"b")), call(b"c", FRESH, OK, tell(b"L"))),
    "own_over": ask(OWN, call(b"a", OK, tell(b"Today"), room=3)),
    "sent_partly": ask(LINE, call(b"hello", PARTLY, OK, OK, tell(b"one\n"))),
    "send_broken": ask(U8, call(b"hello", OK, BROKEN, tell(b"\x01x"))),
    "not_sent": ask(LINE, call(b"hello", BROKEN)),
    "name": ask(LINE, call(b"a", OK, OK, tell(b"one\n")), draw=1, opening=b"\x02\x0a\x0b\x00"),
    "no_name": ask(LINE, draw=1, opening=b"\x0c"),
    "name_late": ask(LINE, draw=1, opening=b"\x0f\x00"),
    "refused": ask(LINE, opening=b"\x0a"), "connect_late": ask(LINE, opening=b"\x0f\x00"),
}


def write(target, seeds):
    folder = CORPUS / target
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in seeds.items():
        (folder / name).write_bytes(data)


if __name__ == "__main__":
    write("addr", {name: b"\x23" + text.encode("latin-1") for name, text in ADDRESSES.items()})
    write("args", {name: "\n".join(words).encode() for name, words in COMMAND_LINES.items()})
    write("codec", CODECS)
    write("conn", SCRIPTS)
    write("reply", REPLIES)
