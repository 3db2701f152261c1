"""Films as files: animated WebP and GIF and strips of stills by Pillow alone, MP4 with the extra `video`."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from fqi.errors import UserError
from fqi.files import replacing, write_bytes
from fqi.nest import Array

KINDS = (".webp", ".gif", ".png", ".mp4")
STILLS = 8  # of a strip
_EVERY = 40  # milliseconds of a picture


def save(path: Path, pictures: Sequence[Array]) -> None:
    """Write a film in the format that the file's name asks for; .png is a strip of stills."""
    kind = path.suffix.lower()
    if kind not in KINDS:
        raise UserError(f"{path}: expected a file that ends in {', '.join(KINDS[:-1])} or {KINDS[-1]}")
    if kind == ".mp4":
        _movie(path, pictures)
    elif kind == ".png":
        write_bytes(path, strip(pictures, "PNG"))
    else:
        write_bytes(path, animated(pictures, kind[1:].upper(), width=None, most=None))


def animated(pictures: Sequence[Array], kind: str = "WEBP", width: int | None = 300, most: int | None = 80) -> bytes:
    """An animation of at most so many pictures, evenly spread, that takes as long as the whole would."""
    chosen = list(pictures) if most is None else thinned(pictures, most)
    frames = [_narrow(picture, width) for picture in chosen]
    pace = round(_EVERY * len(pictures) / len(chosen))
    buffer = io.BytesIO()
    more = {"quality": 45, "method": 2} if kind == "WEBP" else {}
    frames[0].save(buffer, kind, save_all=True, append_images=frames[1:], duration=pace, loop=0, **more)
    return buffer.getvalue()


def strip(pictures: Sequence[Array], kind: str = "WEBP", width: int = 180) -> bytes:
    """Stills side by side, the first and the last among them."""
    stills = [_narrow(picture, width) for picture in thinned(pictures, STILLS)]
    gap = 4
    whole = Image.new("RGB", (sum(s.width + gap for s in stills) - gap, stills[0].height), "white")
    for place, still in enumerate(stills):
        whole.paste(still, (place * (stills[0].width + gap), 0))
    buffer = io.BytesIO()
    whole.save(buffer, kind, **({"quality": 55} if kind == "WEBP" else {}))
    return buffer.getvalue()


def thinned(pictures: Sequence[Array], most: int) -> list[Array]:
    """So many of them, evenly, the first and the last among them."""
    places = np.linspace(0, len(pictures) - 1, min(most, len(pictures))).round().astype(int)
    return [pictures[i] for i in np.unique(places)]


def _narrow(picture: Array, width: int | None) -> Image.Image:
    image = Image.fromarray(picture)
    if width is None or image.width <= width:
        return image
    return image.resize((width, max(1, round(image.height * width / image.width))), Image.Resampling.BILINEAR)


def _movie(path: Path, pictures: Sequence[Array]) -> None:
    try:
        import imageio_ffmpeg
    except ImportError:
        raise UserError(f'{path}: MP4 needs imageio-ffmpeg: pip install "fqi[video]", or name a .webp file') from None
    even = [picture[: picture.shape[0] // 2 * 2, : picture.shape[1] // 2 * 2] for picture in pictures]
    height, width = even[0].shape[:2]
    with replacing(path) as draft:
        whole = draft.with_suffix(".mp4")
        writer = imageio_ffmpeg.write_frames(str(whole), (width, height), fps=1000 / _EVERY, macro_block_size=2)
        writer.send(None)
        for picture in even:
            writer.send(np.ascontiguousarray(picture))
        writer.close()
        whole.replace(draft)
