// Opens every vector of tests/vectors/format with reader.mjs: node tests/format/check_vectors.mjs
// Most vectors describe their bodies (docs/FORMAT.md, "Vectors"): this seals them first, then opens them.

import { createCipheriv, createHash } from "node:crypto";
import { readFileSync, readdirSync } from "node:fs";
import { isDeepStrictEqual } from "node:util";
import * as reader from "./reader.mjs";
import { CHUNK, Refused, computeChunksLength, encode, encodeLabel, encodeNonce, hkdf, join, sum } from "./reader.mjs";
import { readMultipartRange } from "./range_reader.mjs";

const FOLDER = new URL("../vectors/format/", import.meta.url);
const DOCUMENT = new URL("../../docs/FORMAT.md", import.meta.url);
const NOTHING = Buffer.alloc(0);
const hash = (bytes) => createHash("sha256").update(bytes).digest();
const decodeHex = (text) => Buffer.from(text, "hex");
const decodeBase64 = (text) => Buffer.from(text, "base64");
const demand = (holds, fault) => { if (!holds) throw new Error(fault); };

function seal(key, nonce, plaintext) {
  const cipher = createCipheriv("aes-256-gcm", key, nonce);
  return join(cipher.update(plaintext), cipher.final(), cipher.getAuthTag());
}

const sealChunks = (key, plaintext, count) => Array.from({ length: count }, (_, i) =>
  seal(key, encodeNonce(i, i === count - 1), plaintext.subarray(i * CHUNK, (i + 1) * CHUNK)));

/** One segment; `digest` is empty but for a terminator, `layout` and `checksum` are null if it has none. With
    `hasEndKey` the upload has a customer key (F-74). */
function sealSegment(contentKey, fullSalt, { flags, number, plaintext, digest = NOTHING, layout, checksum, hasEndKey }) {
  const allChunks = sum((layout ?? []).map(([, length]) => computeChunksLength(length)));
  const tail = layout ? reader.computeTailLength(layout.length, allChunks) : 0;
  const salt = fullSalt.subarray(0, checksum ? 16 : 32), isMarked = hasEndKey && (layout || (flags === 3 && !checksum));
  const allFlags = flags + (layout ? 4 : 0) + (checksum ? 8 : 0) + (isMarked ? 16 : 0);
  const lengths = join(encode(tail, 4), encode(plaintext.length, 8));
  const fields = join(encode(1, 1), encode(allFlags, 1), encode(number, 2), lengths);
  const mask = hkdf(contentKey, salt, join(encodeLabel("checksum"), fields), 32);
  const sealed = checksum ? mask.map((byte, i) => byte ^ (checksum[i] ?? 0)) : NOTHING;
  const makeHeader = (use, extra) => {
    const isEnds = isMarked && (use === "layout" || (flags === 3 && !checksum));
    const secret = isEnds ? reader.deriveEndKey(contentKey) : contentKey;
    const keys = hkdf(secret, salt, join(encodeLabel(use), fields, sealed, extra), 64);
    return { key: keys.subarray(0, 32), bytes: join(fields, salt, sealed, keys.subarray(32, checksum ? 48 : 64)) };
  };
  const header = makeHeader("part", digest), footer = makeHeader("layout", NOTHING);
  const chunks = sealChunks(header.key, plaintext, Math.ceil(plaintext.length / CHUNK));
  if (!layout) return join(header.bytes, ...chunks);
  const entries = join(...layout.flatMap(([part, length]) => [encode(part, 2), encode(length, 5)]));
  const padding = Buffer.alloc(tail - 7 * layout.length - 96);
  return join(header.bytes, ...chunks, padding, seal(footer.key, Buffer.alloc(12), entries), footer.bytes);
}

/** The segments of an honest upload. */
function sealUpload(contentKey, plaintext, { parts, terminated }, checksum, hasEndKey) {
  const layout = reader.isRegular(parts) ? null : [...parts, ...(terminated ? [[10_000, 0]] : [])], segments = [];
  const sealNext = (segment) =>
    segments.push(sealSegment(contentKey, Buffer.alloc(32, (100 + segments.length) % 256), { hasEndKey, ...segment }));
  let at = 0;
  for (const [i, [number, length]] of parts.entries()) {
    const isLast = !terminated && i === parts.length - 1, end = isLast ? { flags: 1, layout, checksum } : { flags: 0 };
    sealNext({ number, plaintext: plaintext.subarray(at, at + length), ...end });
    at += length;
  }
  const digest = hash(join(...parts.flatMap(([number, length]) => [encode(number, 2), encode(length, 8)])));
  if (terminated) sealNext({ flags: 3, number: 10_000, plaintext: NOTHING, digest, layout, checksum });
  return segments;
}

function cutPiece({ segment, bytes, from, to, flip }, segments) {
  const piece = Buffer.from(bytes === undefined ? segments[segment] : decodeBase64(bytes));
  if (flip !== undefined) piece[flip] ^= 1;
  return piece.subarray(from, to);
}

/** The honest plaintext of a vector, the checksum that it carries, and the body that its storage returns. */
function makeObject(vector) {
  const bytes = Uint8Array.from({ length: vector.plaintext_length }, (_, i) => i * 31 + Math.floor(i / 251));
  const plaintext = Buffer.from(bytes), contentKey = decodeHex(vector.content_key);
  const checksum = vector.carried_checksum ? decodeHex(vector.carried_checksum) : null;
  const key = hkdf(contentKey, NOTHING, encodeLabel("put"), 32), count = Math.max(1, Math.ceil(bytes.length / CHUNK));
  const honest = vector.layout
    ? sealUpload(contentKey, plaintext, vector.layout, checksum, vector.with_end_key) : sealChunks(key, plaintext, count);
  demand(hash(join(...honest)).equals(decodeHex(vector.body_sha256)), "body_sha256 is of another body");
  if (vector.body !== undefined) return { plaintext, checksum, body: decodeBase64(vector.body) };
  const chunks = vector.chunks?.map((i) => (i === "empty" ? Buffer.alloc(16) : honest[i]));
  const pieces = vector.pieces?.map((piece) => cutPiece(piece, honest));
  return { plaintext, checksum, body: join(...(chunks ?? pieces ?? honest)) };
}

const openEnvelope = (envelope, { realm, object_key: objectKey, least_binding: leastBinding = "none", ...keys }) =>
  reader.openEnvelope(envelope, decodeHex(keys.data_key), {
    realm, objectKey, leastBinding, customerKey: keys.customer_key ? decodeHex(keys.customer_key) : null,
  });

/** Opens ranges: each gives its slice of the plaintext or, of a refused object, some of it or a refusal; of one of
    another length, a refusal. */
function openRanges(openRange, plaintext, refusal) {
  const edges = [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, plaintext.length - 1, plaintext.length];
  for (const from of edges) {
    for (const to of edges.filter((edge) => from >= 0 && from < edge && edge <= plaintext.length)) {
      try {
        const range = openRange(from, to), end = refusal ? from + range.length : to;
        demand(refusal?.message !== "Length", `a range from ${from} to ${to} of a body of another length`);
        demand(range.equals(plaintext.subarray(from, end)), `another range from ${from} to ${to}`);
      } catch (error) {
        if (!(refusal && error instanceof Refused)) throw error;
      }
    }
  }
}

/** Opens the object whole, then in ranges; throws Refused, or an Error that names a wrong result. */
function openVector(vector) {
  const { plaintext, checksum, body } = makeObject(vector), segments = vector.claimed_parts;
  const { contentKey, isMultipart, length, attributes } = openEnvelope(vector.envelope, vector.opened_as);
  const isAnnounced = attributes.has(11) && (attributes.get(11)[0] & 0x7f) <= 10;
  let refusal = null;
  try {
    const whole = isMultipart
      ? reader.readMultipart(contentKey, body, segments)
      : { plaintext: reader.readPut(contentKey, body, length), checksum: null };
    demand(whole.plaintext.equals(plaintext), "another plaintext");
    const carried = reader.readChecksum(attributes, whole.checksum);
    demand(isAnnounced && checksum ? carried.value.equals(checksum) : carried === null, "another checksum");
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
    refusal = error;
  }
  if (vector.copied_from) {
    const source = openEnvelope(vector.copied_from.envelope, vector.copied_from);
    demand(isDeepStrictEqual(source, { contentKey, isMultipart, length, attributes }), "no copy of copied_from");
  }
  const openRange = (from, to) => isMultipart
    ? readMultipartRange(contentKey, body, segments, from, to) : reader.readPut(contentKey, body, length, from, to);
  if (segments !== null) openRanges(openRange, plaintext, refusal);
  if (refusal) throw refusal;
}

/** Reason and rules of each row of the table in docs/FORMAT.md. */
const TABLE = /^\| `(\w+)` \| .* \| (F-.*) \|$/gm;
const rows = [...readFileSync(DOCUMENT, "utf8").matchAll(TABLE)];
const rulesOf = new Map(rows.map(([, reason, rules]) => [reason, rules.split(", ")]));

/** What becomes of a vector: "ok", the reason of its refusal, or a fault of reader or document. */
function checkVector(vector) {
  const { expect, rule } = vector, isDocumented = expect === "ok" || rulesOf.get(expect)?.includes(rule);
  if (!isDocumented) return `docs/FORMAT.md has no row for ${expect} and ${rule}`;
  try {
    openVector(vector);
    return "ok";
  } catch (error) {
    return error instanceof Refused ? error.message : error.stack;
  }
}

const counts = { opened: 0, refused: 0, wrong: 0 };
for (const file of readdirSync(FOLDER).filter((name) => name.endsWith(".json")).sort()) {
  const vector = JSON.parse(readFileSync(new URL(file, FOLDER), "utf8")), result = checkVector(vector);
  counts[result !== vector.expect ? "wrong" : result === "ok" ? "opened" : "refused"] += 1;
  if (result !== vector.expect) console.error(`${file}: expected ${vector.expect} (${vector.rule}), but: ${result}`);
}
console.log(`${counts.opened} vectors opened, ${counts.refused} refused, ${counts.wrong} wrong`);
process.exitCode = counts.wrong === 0 && counts.opened > 0 && counts.refused > 0 ? 0 : 1;
