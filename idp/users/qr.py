"""QR codes as SVG to stand in a page.

The library comes with the first code that is drawn: with Pillow, which it loads and we do not need, it
is 5 MB of every process.
"""

_BORDER = 4  # white modules around the code, which scanners need (ISO/IEC 18004)


def drawn(text: str, *, title: str) -> str:
    """The code of a text, called `title`: black on white in dark mode too, for the scanners."""
    import qrcode
    from qrcode.constants import ERROR_CORRECT_M
    from qrcode.image.svg import SvgPathImage

    code = qrcode.QRCode(error_correction=ERROR_CORRECT_M, border=_BORDER, box_size=10)
    code.add_data(text)
    image = code.make_image(image_factory=SvgPathImage)
    modules = image.path.get("d") if image.path is not None else ""
    side = code.modules_count + 2 * _BORDER
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {side} {side}" role="img"'
        f' shape-rendering="crispEdges"><title>{title}</title>'
        f'<path fill="#fff" d="M0,0H{side}V{side}H0z"/><path fill="#000" d="{modules}"/></svg>'
    )
