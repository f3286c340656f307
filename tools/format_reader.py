#!/usr/bin/env python3
"""Reads what kvault writes, from docs/format.md alone.

Nothing here is taken from the C++: a test holds the two against each other. Whatever format.md does
not name is refused by name (FormatError), never guessed. Needs numpy, libxxhash for checksums and
libzstd for packed chunks.

    format_reader.py block FILE --format 145 --side K --head-dim 128 [--equaliser E] [--out ROWS]
    format_reader.py sizes --head-dim 128
    format_reader.py rotation
    format_reader.py records PACK
    format_reader.py sessions STORE
    format_reader.py rows STORE SESSION [--out FOLDER]
    format_reader.py exported FILE

The parts follow the sections of format.md; each command is one function listed in COMMANDS.
"""

import argparse
import collections
import ctypes
import ctypes.util
import functools
import pathlib
import struct
import sys

import numpy as np


class FormatError(Exception):
    """The bytes are not what docs/format.md says."""


# ------------------------------------------------------------------------------------------------
# Sections 1 and 2: pages, blocks and their bytes
# ------------------------------------------------------------------------------------------------

PAGE = 128
RAW = {1: "f16", 2: "bf16", 3: "f32"}
CODED = {16: ("q8", 8), 17: ("tq4", 4), 18: ("tq3", 3), 19: ("tq2", 2)}
CENTRED = 128


def scheme_of(block_format):
    """(name, bits, centred) of a format byte; bits is None for raw rows."""
    if block_format in RAW:
        return RAW[block_format], None, False
    if block_format & ~CENTRED in CODED and 0 <= block_format < 256:
        name, bits = CODED[block_format & ~CENTRED]
        return name, bits, block_format >= CENTRED
    raise FormatError(f"block format {block_format} is not known")


def padded(n, to):
    return -(-n // to) * to


def planes_of(block_format, head_dim):
    """Bytes of the planes of a block, each with its padding, in order."""
    name, bits, centred = scheme_of(block_format)
    if bits is None:
        return {"rows": padded(PAGE * head_dim * (4 if name == "f32" else 2), 128)}
    wide = padded(head_dim, 32)
    planes = {"codes": padded(PAGE * wide * bits // 8, 128), "scale": 2 * PAGE}
    if centred:
        planes["mean"] = padded(2 * wide, 128)
    return planes


def block_size(block_format, head_dim):
    return sum(planes_of(block_format, head_dim).values())


def unpack(packed, bits, count):
    """The inverse of pack: uint8 [rows, bytes] to codes [rows, count]."""
    if bits == 8:
        return packed.view(np.int8).astype(np.int64)
    stored = np.ascontiguousarray(packed).view("<u4").astype(np.uint64)
    words = np.zeros((len(packed), count // 8), np.uint64)  # w[i]
    if bits == 4:
        words = stored
    elif bits == 2:
        words[:, 0::2] = stored & 0x33333333
        words[:, 1::2] = stored >> np.uint64(2) & 0x33333333
    else:
        for j in range(3):
            third = stored[:, j::3]
            words[:, j::4] = third & 0x77777777
            words[:, 3::4] |= (third >> np.uint64(3) & 0x11111111) << np.uint64(j)
    nibbles = words[:, :, None] >> (np.arange(8, dtype=np.uint64) * np.uint64(4)) & np.uint64(15)
    return nibbles.reshape(len(packed), count).astype(np.int64)


def split_planes(data, block_format, head_dim):
    """The planes of a block as uint8 arrays by name."""
    data = np.frombuffer(bytes(data), np.uint8)
    planes = planes_of(block_format, head_dim)
    if len(data) != sum(planes.values()):
        raise FormatError(f"a block of format {block_format} and head_dim {head_dim} has "
                          f"{sum(planes.values())} bytes, not {len(data)}")
    ends = np.cumsum(list(planes.values()))
    return dict(zip(planes, np.split(data, ends[:-1])))


def block_codes(plane, bits, is_value, head_dim):
    """Codes [128, head_dim] of the codes plane."""
    wide = padded(head_dim, 32)
    if is_value:  # 32 rows of [dimension][token of four]
        codes = unpack(plane.reshape(PAGE // 4, -1), bits, 4 * wide)
        codes = codes.reshape(PAGE // 4, wide, 4).transpose(0, 2, 1).reshape(PAGE, wide)
    else:
        codes = unpack(plane.reshape(PAGE, -1), bits, wide)
    return codes[:, :head_dim]


# ------------------------------------------------------------------------------------------------
# Section 3: what a coded block means
# ------------------------------------------------------------------------------------------------

TABLES = {
    4: ([0, 15, 26, 34, 41, 48, 54, 60, 67, 73, 79, 86, 93, 101, 112, 127], 0.042764),
    3: ([0, 24, 41, 56, 71, 86, 103, 127], 0.033882),
    2: ([0, 44, 83, 127], 0.023747),
}
HEAD_DIMS = {  # and the order m of P_m
    32: 1, 48: 12, 64: 1, 80: 20, 96: 12, 112: 28, 128: 1, 160: 20, 192: 12, 256: 1, 512: 1
}
SEALED = 1  # flag of a record's header
SEED = 0x6B7661756C743031
WORD = (1 << 64) - 1


def signs(head_dim):
    """The diagonal of S."""
    state, outputs = SEED, []
    for _ in range(-(-head_dim // 64)):
        state = (state + 0x9E3779B97F4A7C15) & WORD
        z = state
        z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 & WORD
        z = (z ^ (z >> 27)) * 0x94D049BB133111EB & WORD
        outputs.append(z ^ (z >> 31))
    return np.array([-1.0 if outputs[i // 64] >> (i % 64) & 1 else 1.0 for i in range(head_dim)])


def legendre(x, q):
    if x % q == 0:
        return 0
    return 1 if x % q in {i * i % q for i in range(1, q)} else -1


def paley(order):
    """P_1, P_12, P_20 or P_28."""
    if order == 1:
        return np.ones((1, 1))
    if order in (12, 20):
        q = order - 1
        p = np.ones((order, order))
        p[1:, 0] = -1
        p[1:, 1:] = [[legendre(i - j, q) if i != j else 1 for j in range(q)] for i in range(q)]
        return p
    c = np.ones((14, 14))
    c[0, 0] = 0
    c[1:, 1:] = [[legendre(i - j, 13) for j in range(13)] for i in range(13)]
    return np.kron(c, [[1, 1], [1, -1]]) + np.kron(np.eye(14), [[1, -1], [-1, -1]])


@functools.lru_cache(maxsize=None)
def hadamard(head_dim):
    """H, orthonormal."""
    if head_dim not in HEAD_DIMS:
        raise FormatError(f"there is no rotation of order {head_dim}")
    matrix = paley(HEAD_DIMS[head_dim])
    while len(matrix) < head_dim:
        matrix = np.kron(matrix, [[1, 1], [1, -1]])
    return matrix / np.sqrt(head_dim)


def f16_plane(plane):
    return plane.view("<f2").astype(np.float64)


def decode_raw(plane, name, head_dim):
    if name == "bf16":
        bits = plane.view("<u2").astype("<u4") << 16
        rows = bits.view("<f4")
    else:
        rows = plane.view("<f2" if name == "f16" else "<f4")
    return rows[:PAGE * head_dim].astype(np.float64).reshape(PAGE, head_dim)


def decode_block(data, block_format, is_value, head_dim, equaliser=None):
    """Rows [128, head_dim], float64, in the engine's domain. `equaliser` [head_dim], K only."""
    name, bits, centred = scheme_of(block_format)
    planes = split_planes(data, block_format, head_dim)
    if bits is None:
        return decode_raw(planes["rows"], name, head_dim)
    scale_bits = planes["scale"].view("<u2")
    normal = (scale_bits >= 0x0400) & (scale_bits < 0x7C00)
    if not np.all(normal | (scale_bits == 0)):
        raise FormatError("a scale is negative, subnormal, infinite or NaN")
    codes = block_codes(planes["codes"], bits, is_value, head_dim)
    if bits == 8:
        values = codes / 127
    else:
        table, step = TABLES[bits]
        values = (np.array(table) - 63.5)[codes] * (step / np.sqrt(head_dim))
    y = f16_plane(planes["scale"])[:, None] * values
    if centred:
        y = y + f16_plane(planes["mean"])[:head_dim]
    x = y @ hadamard(head_dim) * signs(head_dim)  # row by row: S H^T y
    if equaliser is not None:
        if is_value:
            raise FormatError("V has no equaliser")
        x = x / np.asarray(equaliser, np.float64)
    return x


# ------------------------------------------------------------------------------------------------
# Section 4: records
# ------------------------------------------------------------------------------------------------

ALIGNMENT = 4096
HEADER = struct.Struct("<4sHHQQ16sQQIIIIQQQQIIQQ32s32s")
Header = collections.namedtuple("Header", [
    "magic", "version", "kind", "length", "transaction", "session", "commit_number", "first_token",
    "n_token", "page_size", "table_id", "n_chunk", "rotation_seed", "meta_bytes", "payload_offset",
    "payload_bytes", "flags", "reserved", "pack_id", "checksum", "key", "parent_key"])
CHECKSUM_AT = 120
KINDS = {1: "page", 2: "tail", 3: "snapshot", 4: "commit", 5: "tombstone"}
CHUNK = struct.Struct("<BBHIQQQ")
Chunk = collections.namedtuple(
    "Chunk", "kind packing n_format layer offset size checksum formats data")
CHUNK_KINDS = {1: "segment", 2: "rows", 3: "equaliser", 4: "query energy", 5: "recurrent state"}
LIVE = struct.Struct("<BBHIQQQIIQQ")
Live = collections.namedtuple("Live", [
    "kind", "pack_kind", "reserved", "pack_number", "offset", "length", "first_token", "n_token",
    "reserved_too", "transaction", "checksum"])
LAYER = struct.Struct("<BBBBIIIII")
Layer = collections.namedtuple("Layer", "kind key_scheme value_scheme reserved n_head n_kv_head "
                                        "key_head_dim value_head_dim window")
Description = collections.namedtuple("Description", "name row_type identity layers")
Commit = collections.namedtuple(
    "Commit", "n_token n_page created committed description records attributes")
Attributes = collections.namedtuple(
    "Attributes", "is_pinned expires labels forked_from forked_at")
FULL, SLIDING, RECURRENT = 1, 2, 3


@functools.lru_cache(maxsize=None)
def xxhash():
    name = ctypes.util.find_library("xxhash")
    if name is None:
        raise FormatError("checksums need libxxhash")
    function = ctypes.CDLL(name).XXH3_64bits
    function.restype, function.argtypes = ctypes.c_uint64, [ctypes.c_char_p, ctypes.c_size_t]
    return function


def xxh3(data):
    return xxhash()(data, len(data))


@functools.lru_cache(maxsize=None)
def zstandard():
    name = ctypes.util.find_library("zstd")
    if name is None:
        raise FormatError("packed chunks need libzstd")
    library = ctypes.CDLL(name)
    for function in (library.ZSTD_decompress, library.ZSTD_findDecompressedSize):
        function.restype = ctypes.c_uint64
    return library


def unpacked(chunk, element):
    """The chunk as it was before it was packed; `element` bytes an element."""
    if chunk.packing == 0:
        return chunk
    library, size = zstandard(), ctypes.c_size_t(len(chunk.data))
    n = library.ZSTD_findDecompressedSize(chunk.data, size)
    require(len(chunk.data) < n <= 1 << 30 and n % element == 0, "a packed chunk says no size")
    planes = ctypes.create_string_buffer(n)
    require(library.ZSTD_decompress(planes, ctypes.c_size_t(n), chunk.data, size) == n,
            f"the packed {CHUNK_KINDS[chunk.kind]} of layer {chunk.layer} does not unpack")
    rows = np.frombuffer(planes.raw, np.uint8).reshape(element, n // element).T
    return chunk._replace(data=rows.tobytes())


def require(condition, text):
    if not condition:
        raise FormatError(text)


class Reader:
    """Takes fields off the front of bytes."""

    def __init__(self, data):
        self.data, self.at = data, 0

    def bytes(self, size):
        require(self.at + size <= len(self.data), f"{len(self.data)} bytes end inside a field")
        self.at += size
        return self.data[self.at - size:self.at]

    def struct(self, layout):
        return layout.unpack(self.bytes(layout.size))

    def ints(self, layout):
        return self.struct(struct.Struct("<" + layout))


def read_head(data, at=0):
    """The header of the record at `at` and its meta, checked."""
    require(at + HEADER.size <= len(data), "a record ends inside its header")
    header = Header(*HEADER.unpack_from(data, at))
    require(header.magic == b"KVR1", f"magic {header.magic} is no record's")
    versions = (1, 2) if KINDS.get(header.kind) == "commit" else (1,)
    require(header.version in versions, f"record version {header.version} is not known")
    size = HEADER.size + header.meta_bytes
    require(header.payload_offset % 256 == 0 and 0 <= header.payload_offset - size < ALIGNMENT and
            header.length == padded(header.payload_offset + header.payload_bytes, ALIGNMENT) and
            at + header.length <= len(data), f"a record of {header.length} bytes does not fit")
    head = bytearray(data[at:at + size])
    head[CHECKSUM_AT:CHECKSUM_AT + 8] = bytes(8)
    require(xxh3(bytes(head)) == header.checksum, "a header does not have its checksum")
    known = {"page size": (header.page_size, PAGE), "table": (header.table_id, 1),
             "rotation seed": (header.rotation_seed, SEED), "flags": (header.flags & ~SEALED, 0),
             "reserved word": (header.reserved, 0)}
    for name, (found, expected) in known.items():
        require(found == expected, f"{name} {found} is not known")
    require(header.kind in KINDS, f"record kind {header.kind} is not known")
    return header, bytes(head[HEADER.size:])


def require_plain(header):
    require(not header.flags & SEALED, "the record is sealed: it says nothing without its key")


def read_payload(header, meta, record):
    """(token ids, chunks) of a page, tail or snapshot, every chunk checked."""
    require_plain(header)
    reader = Reader(meta)
    token_ids = list(reader.ints(f"{header.n_token}I"))
    entries = [reader.struct(CHUNK) for _ in range(header.n_chunk)]
    payload = record[header.payload_offset:header.payload_offset + header.payload_bytes]
    chunks, end = [], 0
    for kind, packing, n_format, layer, offset, size, checksum in entries:
        require(kind in CHUNK_KINDS, f"chunk kind {kind} is not known")
        require(packing == 0 or packing == 1 and CHUNK_KINDS[kind] in ("segment", "rows"),
                f"packing {packing} of a {CHUNK_KINDS[kind]} is not known")
        require(offset % 256 == 0 and end <= offset <= offset + size <= len(payload),
                f"a chunk of {size} bytes at {offset} of {len(payload)}")
        data = payload[offset:offset + size]
        require(not any(payload[end:offset]), f"bytes before chunk offset {offset} are not zero")
        require(xxh3(data) == checksum, f"the {CHUNK_KINDS[kind]} of layer {layer} is damaged")
        end = offset + size
        formats = list(reader.bytes(n_format))
        chunks.append(
            Chunk(kind, packing, n_format, layer, offset, size, checksum, formats, data))
    require(reader.at == len(meta), f"{len(meta) - reader.at} bytes of a meta are left over")
    return token_ids, chunks


def read_description(data):
    reader = Reader(data)
    version, row_type, reserved, name_size, n_field, n_layer = reader.ints("HBBIII")
    require(version == 1 and reserved == 0, f"description version {version} is not known")
    require(row_type in RAW, f"row type {row_type} is not known")
    name, identity = reader.bytes(name_size).decode(), {}
    for _ in range(n_field):
        sizes = reader.ints("II")
        field, value = (reader.bytes(size).decode() for size in sizes)
        identity[field] = value
    layers = [Layer(*reader.struct(LAYER)) for _ in range(n_layer)]
    for layer in layers:
        require(layer.kind in (1, 2, 3, 4), f"layer kind {layer.kind} is not known")
        for scheme in (layer.key_scheme, layer.value_scheme):
            require(scheme == 0 or scheme in CODED, f"scheme {scheme} is not known")
    require(reader.at == len(data), "bytes of a description are left over")
    return Description(name, row_type, identity, layers)


def read_attributes(reader):
    flags, n_label, reserved, reserved_too, expires = reader.ints("BBHIQ")
    require(flags < 4 and reserved == 0 and reserved_too == 0, f"attribute flags {flags}")
    forked_from, (forked_at,) = reader.bytes(16), reader.ints("Q")
    labels = [reader.bytes(reader.ints("B")[0]).decode() for _ in range(n_label)]
    require(labels == sorted(set(labels)), "labels out of order")
    made_by = reader.bytes(16) if flags & 2 else None
    require(made_by is None or any(made_by), "a request without a key")
    return Attributes(bool(flags & 1), expires, labels, forked_from, forked_at)


def read_commit(version, meta):
    reader = Reader(meta)
    n_token, n_page, created, committed, size, n_record = reader.ints("QQQQII")
    description = read_description(reader.bytes(size))
    records = [Live(*reader.struct(LIVE)) for _ in range(n_record)]
    attributes = read_attributes(reader) if version >= 2 else Attributes(False, 0, [], bytes(16), 0)
    require(reader.at == len(meta), "bytes of a commit are left over")
    return Commit(n_token, n_page, created, committed, description, records, attributes)


# ------------------------------------------------------------------------------------------------
# Section 5: packs; and a session's rows from them
# ------------------------------------------------------------------------------------------------

PACK_HEADER = struct.Struct("<4sHBBIIQQQ")
PACK_KINDS = {0: "log", 1: "pages"}


def read_pack(path):
    """(bytes, pack id, [(offset, header, meta)]) of a pack file."""
    data = path.read_bytes()
    require(len(data) >= ALIGNMENT, f"{path} has no header")
    magic, version, kind, reserved, number, alignment, pack_id, checksum, _ = (
        PACK_HEADER.unpack_from(data))
    require(magic == b"KVP1", f"{path}: magic {magic} is no pack's")
    require(xxh3(data[:24] + bytes(8) + data[32:ALIGNMENT]) == checksum,
            f"{path}: the header does not have its checksum")
    require(version == 1 and reserved == 0 and alignment == ALIGNMENT and kind in PACK_KINDS,
            f"{path}: pack version {version}, kind {kind} is not known")
    require(path.name == f"{PACK_KINDS[kind]}-{number:06}.pack", f"{path} is pack {number}")
    records, at = [], ALIGNMENT
    while at < len(data):
        try:
            header, meta = read_head(data, at)
            require(header.pack_id == pack_id, "a record of another pack")
        except FormatError:
            at += ALIGNMENT
            continue
        records.append((at, header, meta))
        at += header.length
    return data, pack_id, records


def newest_commits(store):
    """{session: (header, Commit)} of the sessions that are there."""
    newest = {}
    for path in sorted((store / "packs").glob("log-*.pack")):
        for _, header, meta in read_pack(path)[2]:
            rank = header.commit_number, header.transaction
            known = newest.get(header.session)
            if KINDS[header.kind] in ("commit", "tombstone") and (not known or rank > known[0]):
                newest[header.session] = rank, header, meta
    for _, header, _ in newest.values():
        require_plain(header)
    return {session: (header, read_commit(header.version, meta))
            for session, (_, header, meta) in newest.items() if KINDS[header.kind] == "commit"}


def load_record(store, live):
    """(header, token ids, chunks) of a live record."""
    require(live.pack_kind in PACK_KINDS, f"pack kind {live.pack_kind} is not known")
    path = store / "packs" / f"{PACK_KINDS[live.pack_kind]}-{live.pack_number:06}.pack"
    with path.open("rb") as file:
        file.seek(live.offset)
        record = file.read(live.length)
    header, meta = read_head(record)
    require(header.checksum == live.checksum and header.kind == live.kind,
            f"{path} at {live.offset} holds another record")
    return (header, *read_payload(header, meta, record))


def raw_rows(data, row_type, shape):
    """Rows of the session's type as float64."""
    kinds = {"f16": "<f2", "f32": "<f4", "bf16": "<u2"}
    rows = np.frombuffer(data, kinds[RAW[row_type]])
    if RAW[row_type] == "bf16":
        rows = (rows.astype("<u4") << 16).view("<f4")
    return rows.astype(np.float64).reshape(shape)


def segment_rows(layer, chunk, equaliser):
    """K [128, kv head, K head dim] and V likewise of a segment."""
    require(len(chunk.formats) == 2 * layer.n_kv_head, "a segment without its formats")
    sides, at = ([], []), 0
    for index, block_format in enumerate(chunk.formats):
        is_value = index >= layer.n_kv_head
        head_dim = layer.value_head_dim if is_value else layer.key_head_dim
        size = block_size(block_format, head_dim)
        e = equaliser[index] if equaliser is not None and not is_value else None
        rows = decode_block(chunk.data[at:at + size], block_format, is_value, head_dim, e)
        sides[is_value].append(rows)
        at += size
    require(at == len(chunk.data), f"a segment of {len(chunk.data)} bytes has blocks of {at}")
    return [np.stack(side, axis=1) for side in sides]


class SessionRows:
    """What a session's records decode to: token ids and, layer by layer, K and V rows. Rows that
    are in a page and in a tail are taken from the tail, where they are exact; rows that are nowhere
    (they have left a sliding window) are NaN."""

    def __init__(self, commit):
        self.commit, self.n_token = commit, commit.n_token
        self.token_ids = np.zeros(self.n_token, np.uint32)
        self.equalisers, self.states = {}, {}
        self.keys, self.values = {}, {}
        for index, layer in enumerate(commit.description.layers):
            if layer.kind in (FULL, SLIDING):
                shape = self.n_token, layer.n_kv_head
                self.keys[index] = np.full((*shape, layer.key_head_dim), np.nan)
                self.values[index] = np.full((*shape, layer.value_head_dim), np.nan)

    def put(self, layer, first_token, n_token, rows):
        """`n_token` first rows of K and V, as far as they exist."""
        end = min(first_token + n_token, self.n_token)
        for target, side in zip((self.keys[layer], self.values[layer]), rows):
            target[first_token:end] = side[:end - first_token]

    def add(self, live, header, token_ids, chunks):
        end = min(live.first_token + live.n_token, self.n_token)
        self.token_ids[live.first_token:end] = token_ids[:end - live.first_token]
        row_type = self.commit.description.row_type
        element = 4 if RAW[row_type] == "f32" else 2
        for chunk in sorted(chunks, key=lambda c: -c.kind):  # the equaliser before the segments
            layer = self.commit.description.layers[chunk.layer]
            chunk = unpacked(chunk, element)
            if CHUNK_KINDS[chunk.kind] == "equaliser":
                shape = layer.n_kv_head, layer.key_head_dim
                self.equalisers[chunk.layer] = np.frombuffer(chunk.data, "<f2").reshape(shape)
            elif CHUNK_KINDS[chunk.kind] == "segment":
                rows = segment_rows(layer, chunk, self.equalisers.get(chunk.layer))
                self.put(chunk.layer, live.first_token, live.n_token, rows)
            elif CHUNK_KINDS[chunk.kind] == "rows":
                shapes = [(header.n_token, layer.n_kv_head, dim)
                          for dim in (layer.key_head_dim, layer.value_head_dim)]
                cut = np.prod(shapes[0]) * element
                parts = chunk.data[:cut], chunk.data[cut:]
                rows = [raw_rows(part, row_type, shape) for part, shape in zip(parts, shapes)]
                self.put(chunk.layer, live.first_token, live.n_token, rows)
            elif CHUNK_KINDS[chunk.kind] == "recurrent state":
                self.states[chunk.layer, live.first_token] = chunk.data


def decode_session(store, commit):
    rows = SessionRows(commit)
    order = sorted(commit.records, key=lambda live: (live.kind, live.first_token))
    require([live.first_token for live in order if KINDS[live.kind] == "page"] ==
            [PAGE * page for page in range(commit.n_page)], "pages are missing")
    for live in order:
        rows.add(live, *load_record(store, live))
    return rows


# ------------------------------------------------------------------------------------------------
# Section 6: an exported session
# ------------------------------------------------------------------------------------------------

EXPORTED_HEADER = struct.Struct("<4sHHIIQQQQ")


def read_exported_header(data, name):
    """(records, file id, offset of the commit), checked."""
    require(len(data) >= ALIGNMENT, f"{name} has no header")
    magic, version, reserved, alignment, n_record, file_id, checksum, size, commit_at = (
        EXPORTED_HEADER.unpack_from(data))
    require(magic == b"KVX1", f"{name}: magic {magic} is no exported session's")
    require(xxh3(data[:24] + bytes(8) + data[32:ALIGNMENT]) == checksum,
            f"{name}: the header does not have its checksum")
    require(version == 1 and reserved == 0 and alignment == ALIGNMENT,
            f"{name}: version {version} is not known")
    require(size == len(data) and ALIGNMENT <= commit_at < size and commit_at % ALIGNMENT == 0,
            f"{name} has {len(data)} bytes; the header says {size}, its commit at {commit_at}")
    return n_record, file_id, commit_at


def read_exported(path):
    """(commit, token ids) of an exported session, every record checked."""
    data = path.read_bytes()
    n_record, file_id, commit_at = read_exported_header(data, path.name)
    header, meta = read_head(data, commit_at)
    require(KINDS[header.kind] == "commit" and header.pack_id == file_id and
            commit_at + header.length == len(data), f"{path.name} does not end with its commit")
    commit, token_ids, end = read_commit(header.version, meta), {}, ALIGNMENT
    require(len(commit.records) == n_record, f"{len(commit.records)} records, not {n_record}")
    for live in commit.records:
        header, meta = read_head(data, live.offset)
        require(live.offset == end and header.pack_id == file_id and
                live[0] == header.kind and live.checksum == header.checksum and
                live.length == header.length and live.n_token == header.n_token,
                f"another record lies at {live.offset}")
        ids, _ = read_payload(header, meta, data[live.offset:live.offset + live.length])
        token_ids.update(enumerate(ids, header.first_token))
        end += header.length
    require(end == commit_at, f"records end at {end}, the commit begins at {commit_at}")
    require(sorted(token_ids) == list(range(commit.n_token)), "tokens are missing")
    return commit, [token_ids[token] for token in range(commit.n_token)]


# ------------------------------------------------------------------------------------------------
# Commands
# ------------------------------------------------------------------------------------------------


def command_block(commands):
    """decode one block"""
    parser = commands.add_parser("block", help=command_block.__doc__)
    parser.add_argument("file", type=pathlib.Path)
    parser.add_argument("--format", type=int, required=True, help="the format byte")
    parser.add_argument("--side", choices=["K", "V"], required=True)
    parser.add_argument("--head-dim", type=int, required=True)
    parser.add_argument("--equaliser", type=pathlib.Path, help="file of f16[head_dim]")
    parser.add_argument("--out", type=pathlib.Path, help="write f64[128][head_dim] there")

    def run(args):
        equaliser = None
        if args.equaliser:
            equaliser = f16_plane(np.frombuffer(args.equaliser.read_bytes(), np.uint8))
            if len(equaliser) != args.head_dim:
                raise FormatError(f"the equaliser has {len(equaliser)} entries")
        rows = decode_block(args.file.read_bytes(), args.format, args.side == "V", args.head_dim,
                            equaliser)
        if args.out:
            args.out.write_bytes(rows.astype("<f8").tobytes())
        print(f"rows {rows.shape}, mean square {np.mean(rows ** 2):.9g}, "
              f"first row {' '.join(f'{x:.6g}' for x in rows[0, :4])} ...")

    parser.set_defaults(run=run)


def command_sizes(commands):
    """print the bytes of every block format"""
    parser = commands.add_parser("sizes", help=command_sizes.__doc__)
    parser.add_argument("--head-dim", type=int, required=True)

    def run(args):
        for block_format in [*RAW, *CODED, *(CENTRED + scheme for scheme in CODED)]:
            name, _, centred = scheme_of(block_format)
            print(block_format, name + (" centred" if centred else ""),
                  block_size(block_format, args.head_dim))

    parser.set_defaults(run=run)


def command_rotation(commands):
    """print golden vectors: H S x of x = [1, 2, ..., D] / D"""
    parser = commands.add_parser("rotation", help=command_rotation.__doc__)

    def run(_):
        for head_dim in HEAD_DIMS:
            ramp = np.arange(1, head_dim + 1)
            y = hadamard(head_dim) @ (signs(head_dim) * (ramp / head_dim))
            first = ", ".join(f"{entry:.12g}" for entry in y[:4])
            print(f"{{{head_dim}, {{{first}}}, {np.sum(y * ramp):.12g}}},")

    parser.set_defaults(run=run)


def command_exported(commands):
    """check an exported session and list its records"""
    parser = commands.add_parser("exported", help=command_exported.__doc__)
    parser.add_argument("file", type=pathlib.Path)

    def run(args):
        commit, token_ids = read_exported(args.file)
        print(f"'{commit.description.name}': {commit.n_token} tokens, {commit.n_page} pages, "
              f"{len(commit.records)} records, first ids {token_ids[:8]}")

    parser.set_defaults(run=run)


def command_records(commands):
    """list the records of a pack file"""
    parser = commands.add_parser("records", help=command_records.__doc__)
    parser.add_argument("file", type=pathlib.Path)

    def run(args):
        data, pack_id, records = read_pack(args.file)
        print(f"{args.file.name}: {len(data)} bytes, id {pack_id:016x}")
        for at, header, meta in records:
            text = (f"{at:>10} {header.length:>9} {KINDS[header.kind]:<9} "
                    f"session {header.session.hex()} commit {header.commit_number} "
                    f"transaction {header.transaction:x}")
            if header.flags & SEALED:
                text += f": sealed for the family {meta[:16].hex()}"
            elif KINDS[header.kind] == "commit":
                commit = read_commit(header.version, meta)
                text += (f": '{commit.description.name}', {commit.n_token} tokens, "
                         f"{commit.n_page} pages, {len(commit.records)} records")
            elif KINDS[header.kind] != "tombstone":
                _, chunks = read_payload(header, meta, data[at:at + header.length])
                text += f": tokens {header.first_token} + {header.n_token}, {len(chunks)} chunks"
            print(text)

    parser.set_defaults(run=run)


def command_sessions(commands):
    """list the sessions of a store, from its packs alone"""
    parser = commands.add_parser("sessions", help=command_sessions.__doc__)
    parser.add_argument("store", type=pathlib.Path)

    def run(args):
        for session, (header, commit) in sorted(newest_commits(args.store).items()):
            print(f"{session.hex()} commit {header.commit_number}: {commit.n_token} tokens, "
                  f"{commit.n_page} pages, '{commit.description.name}'")

    parser.set_defaults(run=run)


def command_rows(commands):
    """decode a session: token ids and the K and V rows of every layer"""
    parser = commands.add_parser("rows", help=command_rows.__doc__)
    parser.add_argument("store", type=pathlib.Path)
    parser.add_argument("session", help="its name")
    parser.add_argument("--out", type=pathlib.Path,
                        help="folder for tokens.u32 and K<layer>.f64, V<layer>.f64, each "
                             "[token][kv head][dim]")

    def run(args):
        found = {commit.description.name: commit
                 for _, commit in newest_commits(args.store).values()}
        require(args.session in found, f"there is no session '{args.session}'")
        rows = decode_session(args.store, found[args.session])
        print(f"{rows.n_token} tokens")
        arrays = {"tokens.u32": rows.token_ids.astype("<u4")}
        for layer, keys in rows.keys.items():
            values = rows.values[layer]
            arrays[f"K{layer}.f64"], arrays[f"V{layer}.f64"] = keys, values
            print(f"layer {layer}: K {keys.shape} mean square {np.nanmean(keys ** 2):.9g}, "
                  f"V {values.shape} mean square {np.nanmean(values ** 2):.9g}")
        if args.out:
            args.out.mkdir(parents=True, exist_ok=True)
            for name, array in arrays.items():
                (args.out / name).write_bytes(array.tobytes())

    parser.set_defaults(run=run)


COMMANDS = [command_block, command_sizes, command_rotation, command_records, command_sessions,
            command_rows, command_exported]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for command in COMMANDS:
        command(commands)
    args = parser.parse_args()
    try:
        args.run(args)
    except (FormatError, OSError) as error:
        sys.exit(f"format_reader: {error}")


if __name__ == "__main__":
    main()
