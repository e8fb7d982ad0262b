"""What the person reads in the terminal."""

import io
import sys
from typing import TextIO

import qrcode

from .provider import Code


def show_code(code: Code, screen: TextIO | None = None) -> None:
    """The address and the code to type there, and a picture of both where it can be drawn."""
    screen = screen or sys.stdout
    drawing = drawn(code.address_with_code)
    if screen.isatty() and _can_show(drawing, screen):
        print(drawing, file=screen)
    print(f"To sign in, open  {code.address}", file=screen)
    print(f"and type the code  {code.user_code}", file=screen)
    print("Only on a device of yours; nobody else needs this code.", file=screen, flush=True)


def drawn(address: str) -> str:
    """A QR code of half blocks, light on dark as terminals are."""
    code = qrcode.QRCode(border=2)
    code.add_data(address)
    text = io.StringIO()
    code.print_ascii(out=text, invert=True)
    return text.getvalue()


def _can_show(drawing: str, screen: TextIO) -> bool:
    try:
        drawing.encode(screen.encoding or "ascii")
    except UnicodeEncodeError:
        return False
    return True
