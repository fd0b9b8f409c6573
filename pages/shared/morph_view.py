"""The morph between two signals: a player, a filmstrip, how near every frame is to both ends, and what one takes home."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import streamlit as st

from medfuncta_core import figures
from pages.shared.components import sheet
from pages.shared.components.moving import player
from pages.shared.morph_decoding import DIFFERENCE_LIMIT, Display, decode_kept, difference_title, film_buttons, stem
from pages.shared.morph_ends import End
from pages.shared.morph_network import Network
from pages.shared.views import CHART

if TYPE_CHECKING:
    from medfuncta_core.mednf.morphs import Morph

STILLS = 7
CHART_HEIGHT = 260
ANGLE_HELP = (
    "Between the two latents, seen from the origin: 0° is the same direction, at 90° they have nothing in common. The smaller it "
    "is, the nearer to each other are the linear and the spherical path."
)
LATENT_TITLE, FADE_TITLE = "Through the latents", "Cross-fade of the values"


def show_morph(network: Network, ends: Sequence[End], display: Display) -> None:
    """Everything about the walk from one signal to another."""
    first, last = ends
    from medfuncta_core.mednf.morphs import compare_with_fade
    from medfuncta_core.mednf.paths import even_shares, walk

    shares = even_shares(display.frames)
    latents = walk(first.latent, last.latent, shares, display.path)
    identity = (first.identity, last.identity, display.path, display.frames)
    morph = compare_with_fade(latents, shares, decode_kept(network, latents, display, identity))
    _show_player(network, morph, display)
    _show_numbers(first, last, morph)
    _show_stills(network, morph)
    _show_quality(morph)
    if network.kind == "ecg":
        _show_curves(network, morph)
    _show_exports(network, first, last, morph, display)


def _show_player(network: Network, morph: Morph, display: Display) -> None:
    kind = network.kind
    ends = (morph.frames.frame(0), morph.frames.frame(-1))
    tracks = [
        {"title": title, "frames": [figures.part_url(frames.frame(at), kind, ends) for at in range(len(frames))]}
        for title, frames in ((LATENT_TITLE, morph.frames), (FADE_TITLE, morph.fade))
    ]
    if kind != "ecg":
        apart = [
            figures.difference_url(morph.frames.frame(at), morph.fade.frame(at), kind, DIFFERENCE_LIMIT)
            for at in range(len(morph.shares))
        ]
        tracks.append({"title": difference_title("Where they differ"), "frames": apart})
    captions = [_frame_words(morph, at) for at in range(len(morph.shares))]
    player(
        tracks,
        captions=captions,
        per_second=display.per_second,
        smooth=display.smooth,
        key=f"player-{kind}",
        wide=kind == "volume",
    )


def _frame_words(morph: Morph, at: int) -> str:
    to_a, to_b = (f"{value:.1f} dB" if math.isfinite(value) else "the same" for value in morph.psnr[:, at])
    return f"{morph.shares[at]:.0%} of the way from A to B · to A: {to_a} · to B: {to_b}"


def _show_numbers(first: End, last: End, morph: Morph) -> None:
    from medfuncta_core.mednf.morphs import measure_detail, quality_between
    from medfuncta_core.mednf.paths import angle_between

    middle = len(morph.shares) // 2
    detail, faded = measure_detail(morph.frames), measure_detail(morph.fade)
    ends = max((detail[0] + detail[-1]) / 2, 1e-12)
    angle, apart = angle_between(first.latent, last.latent), morph.psnr[0, -1]
    gap = quality_between(morph.frames, morph.fade)[middle]
    with st.container(horizontal=True, gap="small"):
        st.metric("A to B", f"{apart:.1f} dB" if math.isfinite(apart) else "the same", help="PSNR between the two decoded ends.")
        st.metric(
            "Angle",
            f"{angle:.0f}°" if math.isfinite(angle) else "–",
            help=ANGLE_HELP,
        )
        st.metric(
            "Detail half-way",
            f"{detail[middle] / ends:.0%}",
            help="Mean difference between neighbouring points of the middle frame, against the two ends' mean.",
        )
        st.metric(
            "Of the cross-fade",
            f"{faded[middle] / ends:.0%}",
            help="The same of the cross-fade: mixing two signals blurs whatever does not lie in the same place in both.",
        )
        st.metric(
            "Latents against fade",
            f"{gap:.1f} dB" if math.isfinite(gap) else "the same",
            help="PSNR between the two middle frames. A high number says that here the network mixes almost as an editor would.",
        )
    st.caption(
        "The cross-fade lays one signal over the other; the latents are decoded anew at every place. Half-way, they "
        f"keep {detail[middle] / ends:.0%} of the ends' detail, the cross-fade {faded[middle] / ends:.0%}."
    )


def _show_stills(network: Network, morph: Morph) -> None:
    st.markdown("**Filmstrip**")
    chosen = still_rows(len(morph.shares))
    rows = []
    for title, frames in ((LATENT_TITLE, morph.frames), (FADE_TITLE, morph.fade)):
        items = [
            {
                "src": figures.part_url(frames.frame(at), network.kind),
                "caption": f"{morph.shares[at]:.0%}",
                "alt": f"{title}, {morph.shares[at]:.0%}",
                "aspect": figures.part_aspect(frames.frame(at), network.kind),
            }
            for at in chosen
        ]
        rows.append({"heading": title, "items": items})
    sheet(rows, wrap=False, key="filmstrip")


def still_rows(frames: int) -> list[int]:
    """Frames of a filmstrip, evenly spread."""
    return sorted({round(place * (frames - 1) / (STILLS - 1)) for place in range(STILLS)})


def _show_quality(morph: Morph) -> None:
    from medfuncta_core.mednf.morphs import measure_detail

    left, right = st.columns(2, gap="medium")
    shares = [float(share) for share in morph.shares]
    curves = {
        "Latents, to A": morph.psnr[0],
        "Cross-fade, to A": morph.fade_psnr[0],
        "Latents, to B": morph.psnr[1],
        "Cross-fade, to B": morph.fade_psnr[1],
    }
    drawn = {name: [float(value) if math.isfinite(value) else None for value in values] for name, values in curves.items()}
    left.markdown(
        "**PSNR to both ends**",
        help="How near every frame is to A and to B as decoded. At an end itself it is infinite and not drawn.",
    )
    left.plotly_chart(
        figures.path_quality(shares, drawn, per_colour=2),
        key="path_psnr",
        height=CHART_HEIGHT,
        config=CHART,
        alt="PSNR to A and to B along the path",
    )  # type: ignore[arg-type]
    detail = {"Latents": measure_detail(morph.frames).tolist(), "Cross-fade": measure_detail(morph.fade).tolist()}
    right.markdown(
        "**Detail along the path**",
        help="Mean difference between neighbouring points. A cross-fade sags half-way where two edges do not lie on each other.",
    )
    figure = figures.path_quality(shares, detail, "Mean step", digits=4)
    right.plotly_chart(figure, key="path_detail", height=CHART_HEIGHT, config=CHART, alt="Detail along the path")


def _show_curves(network: Network, morph: Morph) -> None:
    st.markdown("**Beats over one another**")
    chosen = [round(share * (len(morph.shares) - 1)) for share in (0, 0.25, 0.5, 0.75, 1)]
    names = ("A", *(f"{morph.shares[at]:.0%}" for at in chosen[1:-1]), "B")
    curves = {name: morph.frames.frame(at)[0] for name, at in zip(names, chosen, strict=True)}
    rate = network.spec.sampling_rate
    figure = figures.curves_figure(
        curves, rate * (len(morph.frames.parts[0][0]) - 1) / (network.spec.shape[0] - 1) if rate else None
    )
    st.plotly_chart(figure, key="morph_curves", height=340, config=CHART, alt="ECGs at five places on the path")


def _show_exports(network: Network, first: End, last: End, morph: Morph, display: Display) -> None:
    """Files are made when they are asked for."""
    from medfuncta_core.figures import contact_sheet, film
    from medfuncta_core.mednf.morphs import morph_csv, pack_morph

    st.markdown("**Take it home**")
    with st.container(horizontal=True, gap="small", vertical_alignment="center", key="exports"):
        both = st.toggle("Cross-fade beside it", key="film_fade", help="Films and filmstrip show both.")
        tracks = [morph.frames, morph.fade] if both else [morph.frames]
        about = {"a": first.words, "b": last.words, "path": display.path, "checkpoint": network.name}
        name = stem(f"{first.words} to {last.words}")
        film_buttons(tracks, network, display, name, "export")

        def strip() -> bytes:
            rows = [film([track], network.kind, 128, only=still_rows(len(morph.shares))) for track in tracks]
            return contact_sheet([picture for row in rows for picture in row], len(rows[0]))

        makers: tuple[tuple[str, str, str, str, Callable[[], bytes | str]], ...] = (
            ("Filmstrip (.png)", ".png", "image/png", "view_column", strip),
            ("Latents and values (.npz)", ".npz", "application/octet-stream", "data_array", lambda: pack_morph(morph, about)),
            ("Curves (.csv)", ".csv", "text/csv", "show_chart", lambda: morph_csv(morph)),
        )
        for words, ending, media_type, icon, make in makers:
            st.download_button(
                words, make, f"{name}{ending}", media_type, key=f"export{ending}", on_click="ignore", icon=f":material/{icon}:"
            )
