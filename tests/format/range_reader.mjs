// Opens a range of a multipart object without reading all of it, by rule F-44 of docs/FORMAT.md.

import {
  CHUNK, HEADER, LAST_PART, Refused, computePlaintextLength, computeSegmentLength, isRegular, openChunks, openHeader,
  openLayout, sum,
} from "./reader.mjs";

const openHeaderAt = (contentKey, body, at, before) =>
  openHeader(contentKey, body.subarray(at, at + HEADER), "part", before);

/** Layout of a body of N segments: the carried one (F-42), or a regular one that the last header proves. */
function proveLayout(contentKey, body, segments) {
  const length = computePlaintextLength(body.length, segments);
  if (length === null) return openLayout(contentKey, body, segments).parts;
  const usual = openHeaderAt(contentKey, body, 0, []).length;
  for (const clients of [segments - 1, segments].filter((count) => count > 0)) {
    const rest = length - usual * (clients - 1), isTerminated = clients < segments;
    const parts = Array.from({ length: clients }, (_, i) => [i + 1, i < clients - 1 ? usual : rest]);
    if (rest < 0 || !isRegular(parts)) continue;
    if (isTerminated) parts.push([LAST_PART, 0]);
    const before = parts.slice(0, -1), at = sum(before.map(computeSegmentLength)), end = parts.at(-1);
    if (at + computeSegmentLength(end) !== body.length) continue;
    try {
      const last = openHeaderAt(contentKey, body, at, before);
      const isEnd = last.isLast && last.tail === 0 && last.isTerminator === isTerminated;
      if (isEnd && last.part === end[0] && last.length === end[1]) return parts;
    } catch (error) {
      if (!(error instanceof Refused)) throw error;
    }
  }
  throw new Refused("Irregular");
}

/** Plaintext bytes `from` to before `to` of a multipart body of N segments. */
export function readMultipartRange(contentKey, body, segments, from, to) {
  const parts = proveLayout(contentKey, body, segments), plaintext = [];
  let at = 0, begin = 0;
  for (const [i, [number, length]] of parts.entries()) {
    const end = at + computeSegmentLength([number, length]), skip = Math.max(0, from - begin), until = to - begin;
    if (skip < length && until > 0) {
      const segment = openHeaderAt(contentKey, body, at, parts.slice(0, i));
      if (segment.part !== number || segment.length !== length || segment.isLast !== (i === parts.length - 1)) {
        throw new Refused("SegmentOrder");
      }
      const first = Math.floor(skip / CHUNK), last = Math.ceil(until / CHUNK) - 1;
      const opened = openChunks(segment.key, body.subarray(at + HEADER, end), first, last);
      plaintext.push(opened.subarray(skip - first * CHUNK, until - first * CHUNK));
    }
    at = end;
    begin += length;
  }
  return Buffer.concat(plaintext);
}
