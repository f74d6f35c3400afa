// Opens the objects that s3veil stores, without s3veil. Written from docs/FORMAT.md, with Node's standard
// library only. F-01 and the like are its rules; a Refused has a reason of its section "Vectors" as message.

import { createDecipheriv, createHash, createHmac, timingSafeEqual } from "node:crypto";

export const CHUNK = 65_536, TAG = 16, FIXED = 124, HEADER = 80, LAST_PART = 10_000;
const LAST = 1, TERMINATOR = 2, LAYOUT = 4, CHECKSUM = 8, END_KEY = 16, CUSTOMER = 2, SEALED_KEY = 48;
const BINDINGS = ["none", "realm+key", "realm"], WEAKEST_FIRST = ["none", "realm", "realm+key"];
const CHECKSUM_LENGTHS = { 1: 4, 2: 4, 3: 8, 4: 20, 5: 32, 6: 64, 7: 16, 8: 8, 9: 8, 10: 16 };
const ATTRIBUTE_LENGTHS = { ...CHECKSUM_LENGTHS, 11: 1 };
const NOTHING = Buffer.alloc(0), ZERO_NONCE = Buffer.alloc(12);

export class Refused extends Error {}
const demand = (holds, reason) => { if (!holds) throw new Refused(reason); };

export const join = (...buffers) => Buffer.concat(buffers);
export const encode = (number, bytes) => Buffer.from(number.toString(16).padStart(2 * bytes, "0"), "hex");
export const encodeLabel = (name) => Buffer.from(`s3veil/v1/${name}\0`);
export const encodeNonce = (chunk, isFinal) => join(encode(chunk, 11), encode(isFinal ? 1 : 0, 1));
export const sum = (numbers) => numbers.reduce((total, number) => total + number, 0);

/** HKDF-SHA256, as Node's hkdfSync takes 1,024 bytes of `info` at most, and a long object key makes more. */
export function hkdf(secret, salt, info, length) {
  const extracted = createHmac("sha256", salt).update(secret).digest();
  let output = NOTHING, block = NOTHING;
  for (let i = 1; output.length < length; i++) {
    block = createHmac("sha256", extracted).update(block).update(info).update(encode(i, 1)).digest();
    output = join(output, block);
  }
  return output.subarray(0, length);
}

/** AES-256-GCM; a tag that does not verify is refused for `reason`. */
export function unseal(key, nonce, sealed, aad, reason) {
  demand(sealed.length >= TAG, reason);
  const cipher = createDecipheriv("aes-256-gcm", key, nonce, { authTagLength: TAG });
  cipher.setAAD(aad).setAuthTag(sealed.subarray(-TAG));
  try {
    return join(cipher.update(sealed.subarray(0, -TAG)), cipher.final());
  } catch {
    throw new Refused(reason);
  }
}

export const deriveEndKey = (contentKey) => hkdf(contentKey, NOTHING, encodeLabel("end"), 32);

/** Content key, kind and plaintext length of the body, and attributes, of an envelope in base64 (F-01, F-04 to F-17,
    F-70 to F-72); `customerKey` is null if the reader has none. */
export function openEnvelope(text, dataKey, { realm, objectKey, leastBinding, customerKey = null }) {
  const bytes = Buffer.from(text, "base64"), [version, suite, binding, flags] = bytes, salt = bytes.subarray(12, 44);
  demand(bytes.toString("base64") === text, "Encoding");
  demand(bytes.length === FIXED || (bytes.length > FIXED + TAG && bytes.length <= 1536), "EnvelopeLength");
  demand(version === 1, "Version");
  demand(suite === 1, "Suite");
  demand(binding < BINDINGS.length, "UnknownBinding");
  demand(WEAKEST_FIRST.indexOf(BINDINGS[binding]) >= WEAKEST_FIRST.indexOf(leastBinding), "WeakBinding");
  demand([0, CUSTOMER, 4].includes(flags & ~1), "Flags");
  const isCustomers = (flags & CUSTOMER) > 0, fixed = isCustomers ? FIXED + SEALED_KEY : FIXED;
  demand(bytes.length === fixed || bytes.length > fixed + TAG, "EnvelopeLength");
  const length = Number(bytes.readBigUInt64BE(4)), isMultipart = (flags & 1) === 1;
  demand(isMultipart ? length === 0 : length < 2 ** 40, "PlaintextLength");
  const names = [binding === 0 ? "" : realm, binding === 1 ? objectKey : ""].map((name) => Buffer.from(name));
  const bound = names.flatMap((name) => [encode(name.length, 4), name]);
  demand(customerKey !== null || !isCustomers, "CustomerKeyMissing");
  demand(customerKey === null || isCustomers, "CustomerKeySurplus");
  const derive = (secret, label, size) =>
    hkdf(secret, salt, join(encodeLabel(label), bytes.subarray(0, 12), ...bound), size);
  const [clear, wrapped, sealed] = [[0, 76], [76, FIXED], [fixed]].map((range) => bytes.subarray(...range));
  demand(dataKey.length === 32, "Commitment");
  const endKey = isCustomers ? unseal(derive(dataKey, "end-key", 32), ZERO_NONCE, bytes.subarray(FIXED, fixed),
    bytes.subarray(0, FIXED), "Commitment") : null;
  const keys = isCustomers ? derive(join(dataKey, customerKey), "customer", 64) : derive(dataKey, "envelope", 64);
  const reason = isCustomers ? "CustomerKeyWrong" : "Commitment";
  demand(timingSafeEqual(keys.subarray(32), bytes.subarray(44, 76)), reason);
  const contentKey = unseal(keys.subarray(0, 32), ZERO_NONCE, wrapped, clear, "EnvelopeTag"), attributes = new Map();
  demand(endKey === null || timingSafeEqual(endKey, deriveEndKey(contentKey)), "EnvelopeTag");
  if (sealed.length > 0) {
    const key = hkdf(contentKey, salt, encodeLabel("attributes"), 32);
    let rest = unseal(key, ZERO_NONCE, sealed, bytes.subarray(0, fixed), "EnvelopeTag");
    for (let before = 0; rest.length > 0; before = rest[0], rest = rest.subarray(2 + rest[1])) {
      const [tag, length] = rest;
      demand(rest.length >= 2 + length && tag > before && length === (ATTRIBUTE_LENGTHS[tag] ?? length), "Attributes");
      attributes.set(tag, rest.subarray(2, 2 + length));
    }
  }
  return { contentKey, isMultipart, length, attributes };
}

/** Plaintext of chunks `first` to `last` of those in `sealed` (F-21, F-22, F-25, F-26). */
export function openChunks(key, sealed, first = 0, last = Infinity) {
  const final = Math.max(1, Math.ceil(sealed.length / (CHUNK + TAG))) - 1, plaintext = [];
  for (let i = first; i <= Math.min(last, final); i++) {
    const chunk = sealed.subarray(i * (CHUNK + TAG), (i + 1) * (CHUNK + TAG));
    plaintext.push(unseal(key, encodeNonce(i, i === final), chunk, NOTHING, "ChunkTag"));
  }
  return join(...plaintext);
}

/** Plaintext bytes `from` to before `to` of the body of one PUT, of which the envelope says `length` (F-20 to F-27). */
export function readPut(contentKey, body, length, from = 0, to = Infinity) {
  const key = hkdf(contentKey, NOTHING, encodeLabel("put"), 32);
  demand(body.length === Math.max(TAG, computeChunksLength(length)), "Length");
  const first = Math.floor(from / CHUNK), plaintext = openChunks(key, body, first, Math.ceil(to / CHUNK) - 1);
  return plaintext.subarray(from - first * CHUNK, to - first * CHUNK);
}

/** A header (use "part") behind the segments `before`, or a footer (use "layout"): F-31, F-32, F-36, F-41. */
export function openHeader(contentKey, header, use, before = []) {
  demand(header.length === HEADER, "BodyLength");
  const fields = header.subarray(0, 16), flags = fields[1] & ~(CHECKSUM | END_KEY);
  const [hasChecksum, hasEndKey] = [CHECKSUM, END_KEY].map((flag) => (fields[1] & flag) > 0);
  const part = fields.readUInt16BE(2), tail = fields.readUInt32BE(4), length = Number(fields.readBigUInt64BE(8));
  const [isLast, isTerminator, hasLayout] = [LAST, TERMINATOR, LAYOUT].map((flag) => (flags & flag) > 0);
  demand(fields[0] === 1 && [0, 1, 3, 5, 7].includes(flags) && (isLast || !hasChecksum), "SegmentHeader");
  demand(!hasEndKey || hasLayout || (isTerminator && !hasChecksum), "SegmentHeader");
  demand(part >= 1 && part <= LAST_PART && length < 2 ** 40 && (isLast || length > 0), "SegmentHeader");
  demand(hasLayout ? tail >= 103 && tail <= 135_632 : tail === 0, "SegmentHeader");
  demand(!isTerminator || (part === LAST_PART && length === 0), "SegmentHeader");
  demand(!isTerminator || use === "layout" || before.length > 0, "SegmentOrder");
  const [salt, sealed, commitment] = (hasChecksum ? [[16, 32], [32, 64], [64]] : [[16, 48], [48, 48], [48]])
    .map((range) => header.subarray(...range));
  const listed = before.map(([number, size]) => join(encode(number, 2), encode(size, 8)));
  const digest = createHash("sha256").update(join(...listed)).digest();
  const info = join(encodeLabel(use), fields, sealed, isTerminator && use === "part" ? digest : NOTHING);
  const isEnds = hasEndKey && (use === "layout" || (isTerminator && !hasChecksum));
  const keys = hkdf(isEnds ? deriveEndKey(contentKey) : contentKey, salt, info, 64);
  demand(timingSafeEqual(keys.subarray(32, 32 + commitment.length), commitment), "SegmentCommitment");
  const mask = hkdf(contentKey, salt, join(encodeLabel("checksum"), fields), 32);
  const checksum = hasChecksum ? mask.map((byte, i) => byte ^ sealed[i]) : null, committed = join(fields, salt, sealed);
  return { key: keys.subarray(0, 32), part, tail, length, isLast, isTerminator, checksum, committed };
}

export const computeChunksLength = (plaintext) => plaintext + TAG * Math.ceil(plaintext / CHUNK);
export const computeSegmentLength = ([, length]) => HEADER + computeChunksLength(length);

/** Tail length of a layout of N segments that hold so many bytes of chunks (F-39, F-40). */
export function computeTailLength(segments, chunks) {
  const least = 7 * segments + TAG + HEADER, r = (chunks + least) % (CHUNK + TAG);
  return r >= 1 && r <= TAG ? least : least + (CHUNK + TAG + 1 - r) % (CHUNK + TAG);
}

/** Plaintext length of a body of N segments; null if its layout has to be read (F-38). */
export function computePlaintextLength(stored, segments) {
  const chunks = stored - HEADER * segments, r = chunks % (CHUNK + TAG);
  demand(chunks >= 0 && segments >= 1 && segments <= LAST_PART, "Length");
  return r >= 1 && r <= TAG ? null : CHUNK * Math.floor(chunks / (CHUNK + TAG)) + Math.max(0, r - TAG);
}

/** Whether the client's parts, [[number, length], ...], are regular; "ok" or the reason why not (F-37). */
function checkRegular(parts) {
  if (parts.some(([number], i) => number !== i + 1)) return "SegmentOrder";
  return parts.slice(0, -1).every(([, length]) => length === parts[0][1] && length % CHUNK === 0) ? "ok" : "Irregular";
}
export const isRegular = (parts) => checkRegular(parts) === "ok";

/** Layout of an object of N segments, from the end of its body, and the footer behind it (F-41, F-42). */
export function openLayout(contentKey, body, segments) {
  const tail = body.subarray(-(7 * segments + TAG + HEADER)), parts = [];
  const footer = openHeader(contentKey, tail.subarray(-HEADER), "layout");
  const entries = unseal(footer.key, ZERO_NONCE, tail.subarray(0, -HEADER), NOTHING, "LayoutTag");
  for (let at = 0; at < entries.length; at += 7) parts.push([entries.readUIntBE(at, 2), entries.readUIntBE(at + 2, 5)]);
  const all = sum(parts.map(computeSegmentLength)), [part, length] = parts.at(-1);
  demand(parts.every(([number], i) => i === 0 || number > parts[i - 1][0]), "Layout");
  demand(part === footer.part && length === footer.length && all + footer.tail === body.length, "Layout");
  demand(footer.tail === computeTailLength(segments, all - HEADER * segments), "Layout");
  demand(!isRegular(footer.isTerminator ? parts.slice(0, -1) : parts), "Layout");
  return { parts, footer };
}

/** Plaintext and checksum field of a multipart body of N segments; N is null if it is not claimed (F-43). */
export function readMultipart(contentKey, body, segments) {
  const mustBeRegular = segments !== null && computePlaintextLength(body.length, segments) !== null;
  const parts = [], plaintext = [];
  for (let at = 0; ;) {
    demand(at < body.length && parts.length !== (segments ?? LAST_PART), "MissingLast");
    const segment = openHeader(contentKey, body.subarray(at, at + HEADER), "part", parts);
    demand(segment.part > (parts.at(-1)?.[0] ?? 0), "SegmentOrder");
    const clients = segment.isTerminator ? [...parts] : [...parts, [segment.part, segment.length]];
    const reason = mustBeRegular || (segment.isLast && segment.tail === 0) ? checkRegular(clients) : "ok";
    demand(reason === "ok", reason);
    parts.push([segment.part, segment.length]);
    const end = at + computeSegmentLength(parts.at(-1));
    demand(end + segment.tail <= body.length, "BodyLength");
    if (segment.length > 0) plaintext.push(openChunks(segment.key, body.subarray(at + HEADER, end)));
    at = end;
    if (!segment.isLast) continue;
    demand(end + segment.tail === body.length && parts.length === (segments ?? parts.length), "BodyLength");
    if (segment.tail > 0) {
      const { parts: listed, footer } = openLayout(contentKey, body, parts.length);
      demand(String(listed) === String(parts) && footer.committed.equals(segment.committed), "Layout");
      demand(body.subarray(end, -(7 * parts.length + TAG + HEADER)).every((byte) => byte === 0), "Layout");
    }
    return { plaintext: join(...plaintext), checksum: segment.checksum };
  }
}

/** The object's checksum in the field of its last segment; null if there is none or none announced (F-54). */
export function readChecksum(attributes, field) {
  const [announced] = attributes.get(11) ?? [], tag = announced & 0x7f, length = CHECKSUM_LENGTHS[tag];
  if (length === undefined || field === null) return null;
  demand(length <= field.length && field.subarray(length).every((byte) => byte === 0), "Checksum");
  return { tag, isOfAllBytes: announced > 0x7f, value: field.subarray(0, length) };
}
