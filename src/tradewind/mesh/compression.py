"""Compression at the edge: text above a size, for clients that ask for it; brotli where they take both."""

from __future__ import annotations

from tradewind.mesh.envoy_json import Json, any_of, extension

FILTERS = ("tradewind.compressor.brotli", "tradewind.compressor.gzip")
LEAST_BYTES = 1024
"""Below it the answer fits into one packet anyway."""
MEDIA_TYPES = r"(application/(problem\+)?json|text/(html|plain|css|csv|javascript)|image/svg\+xml)( *;.*)?"
"""Never `text/event-stream`: a compressor holds back what a stream has to say now."""

_COMPRESSOR = "envoy.extensions.filters.http.compressor.v3.Compressor"
_LIBRARIES = {
    FILTERS[0]: extension("brotli", "envoy.extensions.compression.brotli.compressor.v3.Brotli", quality=4),
    FILTERS[1]: extension(
        "gzip", "envoy.extensions.compression.gzip.compressor.v3.Gzip", compression_level="COMPRESSION_LEVEL_3"
    ),
}


def compressors() -> list[Json]:
    """The HTTP filters, in the order in which an encoding is chosen when a client likes several alike."""
    return [
        extension(
            name,
            _COMPRESSOR,
            compressor_library=_LIBRARIES[name],
            choose_first=name == FILTERS[0],
            response_direction_config={
                "common_config": {
                    "min_content_length": LEAST_BYTES,
                    "content_type_matcher": {"safe_regex": {"regex": MEDIA_TYPES}},
                },
                # Other bytes, so no longer the same strong tag; `IfMatch` knows the weak one for the same version.
                "weaken_etag_on_compress": True,
            },
        )
        for name in FILTERS
    ]


def uncompressed() -> Json:
    """The per-route configuration of a route whose answers stay as they are."""
    return {name: any_of(f"{_COMPRESSOR}PerRoute", disabled=True) for name in FILTERS}
